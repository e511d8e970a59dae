//! Nodes of each kind, in `tests/nodes`: a text with the files of one as they were, the golden text beside it with
//! what would be done. `UPDATE_EXPECT=1` writes the golden ones anew.

#![allow(clippy::disallowed_methods)] // The crate is pure; fixtures are files.

use std::fmt::Write;
use std::path::Path;

use expect_test::expect_file;
use wherry_containerd::{
    Change, Distribution, Effective, File, Node, Own, Release, Seen, Wanted, install, remove,
};

const WANTED: Wanted<'_> = Wanted {
    name: "wherry",
    program: "/opt/wherry/current/containerd-shim-wherry-v1",
    options: "[log]\naccess = true\n",
};

/// `release`, `os-release` and `main` in the first lines; then files, each below a line `== path`. `dump` is what
/// containerd prints, `absent` has the main file not exist.
fn node(text: &str) -> Node {
    let mut parts = text.split("\n== ");
    let head = parts.next().unwrap_or_default();
    let told = |key: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key} in {head}")).trim().to_owned()
    };
    let main = told("main ");
    let os_release = format!("ID={}", told("id "));
    let (mut files, mut templates, mut dump) = (Vec::new(), Vec::new(), String::new());
    for part in parts {
        let (name, content) = part.split_once('\n').unwrap_or((part, ""));
        // The line break before the next mark is the file's own.
        let file = File { path: name.into(), text: Some(format!("{content}\n")) };
        match name {
            "dump" => dump = content.to_owned(),
            name if name.contains("tmpl") || name.contains("template") => templates.push(file),
            _ => files.push(file),
        }
    }
    if files.first().is_none_or(|file| file.path != Path::new(&main)) {
        files.insert(0, File { path: main.clone().into(), text: None });
    }
    Node {
        distribution: Distribution::of(&Seen { os_release: &os_release, main: Path::new(&main) }),
        release: Release::of(&format!("containerd {}", told("release "))).expect("a release"),
        files,
        templates,
        effective: Effective::read(&dump).expect("a dump"),
        own: Own { program: WANTED.program.to_owned(), handlers: Vec::new() },
    }
}

fn after(node: &Node, changes: &[Change]) -> Node {
    let mut node = node.clone();
    for change in changes {
        let is_template =
            ["tmpl", "template"].iter().any(|end| change.path.to_string_lossy().contains(end));
        let files = if is_template { &mut node.templates } else { &mut node.files };
        match files.iter_mut().find(|file| file.path == change.path) {
            Some(file) => file.text.clone_from(&change.text),
            None => files.push(File { path: change.path.clone(), text: change.text.clone() }),
        }
    }
    let main = node.files[0].path.clone();
    node.files.retain(|file| file.text.is_some() || file.path == main);
    node
}

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nodes");
    let text = std::fs::read_to_string(folder.join(format!("{name}.txt"))).expect("the fixture");
    let node = node(&text);
    let mut told = format!("{}\n", node.distribution);
    match install(&node, &[WANTED]) {
        Err(refusal) => writeln!(told, "refused: {refusal}").expect("text"),
        Ok(plan) => {
            writeln!(told, "{:?}", plan.way).expect("text");
            for change in &plan.changes {
                let text = change.text.as_deref().unwrap_or("(gone)");
                write!(told, "== {}\n{text}", change.path.display()).expect("text");
            }
            for file in &plan.candidate {
                writeln!(told, "-- tries {}", file.path.display()).expect("text");
            }
            nothing(&node);
            undone(&node, &plan.changes);
            again(&node, &plan.changes);
        }
    }
    expect_file![folder.join(format!("{name}.out"))].assert_eq(&told);
}

/// A removal from a node that has nothing of ours changes nothing: no file is made, either.
fn nothing(node: &Node) {
    for change in remove(node).expect("a removal").changes {
        let mut all = node.files.iter().chain(&node.templates);
        let now = all.find(|file| file.path == change.path).and_then(|file| file.text.as_ref());
        assert_eq!(now, change.text.as_ref(), "{}", change.path.display());
    }
}

/// Whatever the install did is undone, to the byte, with no memory of what was before. A file that the install has
/// made is made no more than without effect: that it was not there is for a memory to know.
fn undone(node: &Node, changes: &[Change]) {
    let with = after(node, changes);
    let plan = remove(&with).expect("a removal");
    let without = after(&with, &plan.changes);
    for before in node.files.iter().chain(&node.templates).filter(|file| file.text.is_some()) {
        let all = || without.files.iter().chain(&without.templates);
        let now = all().find(|file| file.path == before.path).expect("still there");
        assert_eq!(now.text, before.text, "{}", before.path.display());
    }
}

/// A second install changes nothing.
fn again(node: &Node, changes: &[Change]) {
    let with = after(node, changes);
    let plan = install(&with, &[WANTED]).expect("a second time");
    for change in &plan.changes {
        let all = || with.files.iter().chain(&with.templates);
        let now = all().find(|file| file.path == change.path).map(|file| &file.text);
        assert_eq!(now, Some(&change.text), "{}", change.path.display());
    }
}

macro_rules! nodes {
    ($($test:ident $file:literal;)*) => {
        $(#[test] fn $test() { check($file); })*

        #[test]
        fn every_fixture_is_a_case() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nodes");
            let found = std::fs::read_dir(folder).expect("a folder").flatten();
            let texts = found.filter(|entry| entry.path().extension().is_some_and(|e| e == "txt"));
            assert_eq!(texts.count(), [$($file),*].len());
        }
    };
}

nodes! {
    containerd_1_7_of_kubeadm_is_edited_in_place "kubeadm-1.7";
    containerd_1_7_without_a_file_keeps_its_own_handlers "no-file-1.7";
    containerd_1_7_whose_section_is_another_files "nvidia-1.7";
    containerd_1_7_with_a_file_of_the_first_version_is_refused "first-version-1.7";
    containerd_1_7_with_handlers_in_braces "inline-1.7";
    a_handler_of_somebody_else_is_not_replaced "taken-1.7";
    a_handler_that_was_set_up_by_hand_is_not_replaced "by-hand-1.7";
    a_handler_in_a_file_of_somebody_else_is_not_merged_with_ours "by-hand-2.1";
    a_pattern_that_takes_only_some_names_is_no_folder_for_ours "some-names-2.1";
    containerd_2_1_gets_an_import "kubeadm-2.1";
    containerd_2_1_under_a_file_of_version_2_gets_the_old_name "upgraded-2.1";
    containerd_2_1_without_a_file "no-file-2.1";
    containerd_2_4_names_a_folder_that_it_does_not_read "no-file-2.4";
    containerd_2_4_with_its_defaults_written_down_reads_it "defaults-2.4";
    containerd_2_4_of_eks "eks-2.4";
    a_node_without_cri_is_refused "docker-2.1";
    k3s_of_containerd_1_7_has_a_template "k3s-1.7";
    k3s_whose_administrator_has_a_template "k3s-own-1.7";
    k3s_of_containerd_2_has_a_template_of_its_own "k3s-2.0";
    rke2_that_reads_drop_ins "rke2-2.1";
    k0s_has_a_folder "k0s-1.7";
    microk8s_has_a_template "microk8s-1.7";
    gke_is_only_looked_at "cos";
    talos_is_only_looked_at "talos";
    bottlerocket_is_only_looked_at "bottlerocket";
}
