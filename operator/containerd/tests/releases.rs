//! What the releases of containerd make of several files, by their own `config dump`: first what they make of files
//! as people write them, which is why [`wherry_containerd::way`] is as it is; then what they make of ours.
//!
//! `WHERRY_RIG` has the releases (`e2e/rig/fetch.sh containerd`).
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // The crate is pure; the releases are not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::{Expect, expect};
use wherry_containerd::{
    Change, Distribution, Effective, File, Node, Own, Release, Wanted, install, remove,
};

const RELEASES: [(&str, &str); 3] = [
    ("1.7", "debian/trixie/root/usr/bin"),
    ("2.1", "debian/sid/root/usr/bin"),
    ("2.4", "containerd-2.4"),
];

fn containerd(place: &str) -> PathBuf {
    let rig = std::env::var_os("WHERRY_RIG").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/wherry/rig")
    });
    let program = rig.join(place).join("containerd");
    assert!(program.exists(), "{} is missing: run e2e/rig/fetch.sh containerd", program.display());
    program
}

fn dump(place: &str, main: &Path) -> Output {
    let mut command = Command::new(containerd(place));
    command.arg("--config").arg(main).args(["config", "dump"]).output().expect("containerd")
}

fn effective(place: &str, main: &Path) -> Effective {
    let output = dump(place, main);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Effective::read(&String::from_utf8_lossy(&output.stdout)).expect("TOML")
}

// --- Files as people write them.

const V2: &str = r#"version = 2
imports = ["DIR/d/*.toml"]
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.example/pause:3"
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "/etc/cni/other"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = true
"#;

const V3: &str = r#"version = 3
imports = ["DIR/d/*.toml"]
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "registry.example/pause:3"
[plugins."io.containerd.cri.v1.runtime".cni]
conf_dir = "/etc/cni/other"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = true
"#;

fn handler(plugin: &str, name: &str) -> String {
    format!(
        "[plugins.\"{plugin}\".containerd.runtimes.{name}]\nruntime_type = \"io.containerd.{name}.v1\"\n"
    )
}

const CRI_1: &str = "io.containerd.grpc.v1.cri";
const CRI_2: &str = "io.containerd.cri.v1.runtime";

/// What each release makes of a main file and files in `d` beside it: which handlers are there, and which of the main
/// file's other settings are lost.
fn check(main: &str, drop_ins: &[(&str, String)], expected: Expect) {
    let told = RELEASES.map(|(release, place)| {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("d")).expect("a folder");
        for (name, text) in drop_ins {
            fs::write(folder.path().join("d").join(name), text).expect("a file");
        }
        let file = folder.path().join("config.toml");
        let main = main.replace("DIR", &folder.path().display().to_string());
        fs::write(&file, main).expect("a file");
        let output = dump(place, &file);
        format!("{release}: {}\n", made_of(&output))
    });
    expected.assert_eq(&told.concat());
}

fn made_of(output: &Output) -> String {
    if !output.status.success() {
        return "does not start".into();
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let effective = Effective::read(&text).expect("TOML");
    let names: BTreeSet<&String> = effective.cri().expect("CRI").handlers.keys().collect();
    let kept = [
        ("pause", "registry.example/pause:3"),
        ("CNI", "/etc/cni/other"),
        ("cgroups", "SystemdCgroup = true"),
    ];
    let lost = kept.iter().filter(|(_, text_of)| !text.contains(text_of)).map(|(name, _)| *name);
    let lost: Vec<&str> = lost.collect();
    format!(
        "{names:?} {}",
        if lost.is_empty() { "all kept".into() } else { format!("LOST {lost:?}") }
    )
}

#[test]
fn a_drop_in_without_a_header() {
    check(
        V2,
        &[("50.toml", handler(CRI_1, "wasm"))],
        expect![[r#"
        1.7: {"wasm"} LOST ["pause", "CNI", "cgroups"]
        2.1: {"runc", "wasm"} all kept
        2.4: {"runc", "wasm"} all kept
    "#]],
    );
    check(
        V3,
        &[("50.toml", handler(CRI_2, "wasm"))],
        expect![[r#"
        1.7: does not start
        2.1: {"runc", "wasm"} all kept
        2.4: {"runc", "wasm"} all kept
    "#]],
    );
}

#[test]
fn a_drop_in_with_the_header_of_the_main_file() {
    let text = |version, plugin| format!("version = {version}\n{}", handler(plugin, "wasm"));
    check(
        V2,
        &[("50.toml", text(2, CRI_1))],
        expect![[r#"
        1.7: {"wasm"} LOST ["pause", "CNI", "cgroups"]
        2.1: {"runc", "wasm"} all kept
        2.4: {"runc", "wasm"} all kept
    "#]],
    );
    check(
        V3,
        &[("50.toml", text(3, CRI_2))],
        expect![[r#"
        1.7: does not start
        2.1: {"runc", "wasm"} all kept
        2.4: {"runc", "wasm"} all kept
    "#]],
    );
}

#[test]
fn a_drop_in_of_another_version_than_the_main_file() {
    let text = |version, plugin| format!("version = {version}\n{}", handler(plugin, "wasm"));
    check(
        V2,
        &[("50.toml", text(3, CRI_2))],
        expect![[r#"
        1.7: does not start
        2.1: {"runc", "wasm"} LOST ["pause", "CNI", "cgroups"]
        2.4: {"runc", "wasm"} all kept
    "#]],
    );
    check(
        V3,
        &[("50.toml", text(2, CRI_1))],
        expect![[r#"
        1.7: {"wasm"} LOST ["pause", "CNI", "cgroups"]
        2.1: {"runc"} all kept
        2.4: {"runc", "wasm"} all kept
    "#]],
    );
}

#[test]
fn a_drop_in_with_the_name_of_another_version() {
    check(
        V2,
        &[("50.toml", handler(CRI_2, "wasm"))],
        expect![[r#"
        1.7: {"runc"} all kept
        2.1: {"runc", "wasm"} LOST ["cgroups"]
        2.4: {"runc", "wasm"} all kept
    "#]],
    );
    check(
        V3,
        &[("50.toml", handler(CRI_1, "wasm"))],
        expect![[r#"
        1.7: does not start
        2.1: {"runc"} all kept
        2.4: {"runc", "wasm"} all kept
    "#]],
    );
}

#[test]
fn two_drop_ins() {
    let both =
        |plugin| [("50.toml", handler(plugin, "wasm")), ("99.toml", handler(plugin, "nvidia"))];
    check(
        V2,
        &both(CRI_1),
        expect![[r#"
        1.7: {"nvidia"} LOST ["pause", "CNI", "cgroups"]
        2.1: {"nvidia", "runc", "wasm"} all kept
        2.4: {"nvidia", "runc", "wasm"} all kept
    "#]],
    );
    check(
        V3,
        &both(CRI_2),
        expect![[r#"
        1.7: does not start
        2.1: {"nvidia", "runc", "wasm"} all kept
        2.4: {"nvidia", "runc", "wasm"} all kept
    "#]],
    );
}

#[test]
fn an_import_of_a_file_that_is_not_there() {
    check(
        &V2.replace("*.toml", "gone.toml"),
        &[],
        expect![[r#"
        1.7: does not start
        2.1: {"runc"} all kept
        2.4: {"runc"} all kept
    "#]],
    );
    check(
        &V2.replace("*.toml", "gone-*.toml"),
        &[],
        expect![[r#"
        1.7: {"runc"} all kept
        2.1: {"runc"} all kept
        2.4: {"runc"} all kept
    "#]],
    );
}

/// It is in what 2.4 says that it imports, and no file of it is read.
#[test]
fn the_folder_that_nobody_names() {
    let told = RELEASES.map(|(release, place)| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.toml");
        fs::write(&file, "version = 2\n").expect("a file");
        format!(
            "{release}: {:?}\n",
            effective(place, &file).imports().last().is_some_and(|it| it.contains("conf.d"))
        )
    });
    expect![[r#"
        1.7: false
        2.1: false
        2.4: true
    "#]]
    .assert_eq(&told.concat());
}

#[test]
fn a_main_file_of_the_first_version() {
    let main = "imports = [\"DIR/d/*.toml\"]\n";
    check(
        main,
        &[("50.toml", handler(CRI_1, "wasm"))],
        expect![[r#"
        1.7: {"runc"} LOST ["pause", "CNI", "cgroups"]
        2.1: {"runc"} LOST ["pause", "CNI", "cgroups"]
        2.4: {"runc", "wasm"} LOST ["pause", "CNI", "cgroups"]
    "#]],
    );
    check(
        main,
        &[("50.toml", handler(CRI_2, "wasm"))],
        expect![[r#"
        1.7: {"runc"} LOST ["pause", "CNI", "cgroups"]
        2.1: {"runc", "wasm"} LOST ["pause", "CNI", "cgroups"]
        2.4: {"runc", "wasm"} LOST ["pause", "CNI", "cgroups"]
    "#]],
    );
}

// --- Ours.

const WANTED: Wanted<'_> = Wanted {
    name: "wherry",
    program: "/opt/wherry/current/containerd-shim-wherry-v1",
    options: "[log]\naccess = true\n",
};

/// A layout: the main file, and others beside it.
type Layout = (&'static str, String, Vec<(&'static str, String)>);

fn layouts(release: &str) -> Vec<Layout> {
    let nvidia = |plugin: &str| vec![("d/99-nvidia.toml", handler(plugin, "nvidia"))];
    let plain = |text: &str| text.replace("imports = [\"DIR/d/*.toml\"]\n", "");
    let dead = || vec![("d/dead.toml", "this is no TOML".to_owned())];
    let mut all = vec![
        ("a main file of version 2", V2.to_owned(), vec![]),
        ("one that imports nothing", plain(V2), dead()),
        ("a handler in a file beside it", V2.to_owned(), nvidia(CRI_1)),
        ("no word of CRI", "version = 2\n[metrics]\naddress = \"127.0.0.1:1\"\n".into(), vec![]),
        ("nothing but its version", "version = 2\n".into(), vec![]),
    ];
    if release != "1.7" {
        all.extend([
            ("a main file of version 3", V3.to_owned(), vec![]),
            ("one of version 3 that imports nothing", plain(V3), dead()),
            ("version 3, a handler in a file beside it", V3.to_owned(), nvidia(CRI_2)),
            ("nothing at all", String::new(), vec![]),
        ]);
    }
    if release == "2.4" {
        all.push(("a main file of version 4", V3.replace("version = 3", "version = 4"), vec![]));
    }
    all
}

/// The node that these files are.
fn node(release: &str, place: &str, folder: &Path) -> Node {
    let main = folder.join("config.toml");
    let effective = effective(place, &main);
    let mut paths = vec![main.clone()];
    let mut at = 0;
    while let Some(path) = paths.get(at).cloned() {
        for import in
            wherry_containerd::imports_of(&fs::read_to_string(path).expect("text")).expect("TOML")
        {
            match import.strip_suffix("/*.toml") {
                Some(parent) => {
                    let found = fs::read_dir(parent).into_iter().flatten().flatten();
                    let mut found: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
                    found.sort();
                    paths.extend(found);
                }
                None => paths.push(import.into()),
            }
        }
        at += 1;
    }
    let file = |path: PathBuf| File { text: fs::read_to_string(&path).ok(), path };
    Node {
        distribution: Distribution::Plain,
        release: Release::of(&format!("containerd {release}.0")).expect("a release"),
        files: paths.into_iter().map(file).collect(),
        templates: Vec::new(),
        effective,
        own: Own { program: WANTED.program.to_owned(), handlers: Vec::new() },
    }
}

fn write(changes: &[Change]) {
    for Change { path, text } in changes {
        match text {
            Some(text) => {
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, text).expect("a file");
            }
            None => fs::remove_file(path).expect("it was there"),
        }
    }
}

/// Each file that is there, by its path.
fn files(folder: &Path) -> BTreeSet<(PathBuf, String)> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => drop(all.insert((path.clone(), fs::read_to_string(path).expect("text")))),
        }
    }
    all
}

fn is_there(effective: &Effective) -> bool {
    effective.cri().is_some_and(|cri| cri.handlers.contains_key("wherry"))
}

fn adds_and_removes(release: &str, place: &str, (name, main, others): Layout) {
    let told = format!("containerd {release}, {name}");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::create_dir(folder.join("d")).expect("a folder");
    let main = main.replace("DIR", &folder.display().to_string());
    fs::write(folder.join("config.toml"), main).expect("a file");
    for (path, text) in others {
        fs::write(folder.join(path), text).expect("a file");
    }
    let before = node(release, place, folder);
    let bytes = files(folder);

    let plan = install(&before, &[WANTED]).unwrap_or_else(|why| panic!("{told}: {why}"));
    let trial = tempfile::tempdir().expect("a folder");
    for (path, text) in plan.in_folder(trial.path()).expect("a candidate") {
        fs::write(path, text).expect("a file");
    }
    let tried = effective(place, &trial.path().join("00.toml"));
    assert_eq!(before.effective.differences(&tried, &["wherry"]), [], "{told}: tried");
    assert!(is_there(&tried), "{told}: tried, and passed over");

    // After each single change: as before, or as wanted.
    for change in &plan.changes {
        write(std::slice::from_ref(change));
        let now = node(release, place, folder).effective;
        assert_eq!(before.effective.differences(&now, &["wherry"]), [], "{told}");
    }
    let after = node(release, place, folder);
    assert!(is_there(&after.effective), "{told}: passed over");
    assert_eq!(tried.differences(&after.effective, &[]), [], "{told}: it is not what was tried");

    let plan = remove(&after).unwrap_or_else(|why| panic!("{told}: {why}"));
    for change in &plan.changes {
        write(std::slice::from_ref(change));
        let now = node(release, place, folder).effective;
        assert_eq!(before.effective.differences(&now, &["wherry"]), [], "{told}");
    }
    let now = node(release, place, folder).effective;
    assert_eq!(before.effective.differences(&now, &[]), [], "{told}: still there");
    // Handlers that had to be named for 1.x stay named.
    if release != "1.7" || name.contains("main file") {
        assert_eq!(files(folder), bytes, "{told}");
    }
}

#[test]
fn no_setting_of_anybody_else_is_lost() {
    for (release, place) in RELEASES {
        for layout in layouts(release) {
            adds_and_removes(release, place, layout);
        }
    }
}

#[test]
fn what_would_lose_a_setting_is_seen() {
    for (release, place) in RELEASES {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.toml");
        let text = V2.replace("imports = [\"DIR/d/*.toml\"]\n", "");
        fs::write(&file, &text).expect("a file");
        let before = effective(place, &file);
        fs::write(&file, text.replace("SystemdCgroup = true", "SystemdCgroup = false"))
            .expect("a file");
        let lost = before.differences(&effective(place, &file), &["wherry"]);
        assert_eq!(lost.len(), 1, "containerd {release}: {lost:?}");
        assert!(lost[0].setting.ends_with("runc.options.SystemdCgroup"), "{lost:?}");
    }
}
