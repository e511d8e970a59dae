//! A node is one `WasmShim`'s, and what a person has set up is the person's.

use wherry_report::{Command, Handler, Method, Order, Outcome, Restart, RestartPolicy, WhenInUse};

use crate::rig::Mini;
use crate::{configuration, is, node};

/// An order of this `WasmShim`, with these options of its handler.
pub(crate) fn order(shim: &str, command: Command, options: &str, policy: RestartPolicy) -> Order {
    Order {
        command,
        transaction: format!("{shim}-1"),
        node: "n1".into(),
        machine_id: None,
        shim: shim.into(),
        revision: format!("{shim}-{}", options.len()),
        handlers: vec![Handler { name: "wherry".into(), options: options.into() }],
        restart: Restart { policy, guard_timeout_s: 180 },
        when_in_use: WhenInUse::Block,
    }
}

#[test]
fn what_another_wasm_shim_has_installed_stays() {
    let node = node("2.1");
    let before = node.tree();
    let of = |shim, command| order(shim, command, "", RestartPolicy::Auto);
    is(&node.order(&of("a", Command::Apply)), Outcome::Ready);
    let (with, pid) = (node.tree(), node.daemon());
    for command in [Command::Plan, Command::Apply, Command::Verify] {
        let report = node.order(&of("b", command));
        is(&report, Outcome::Failed);
        assert!(report.message.contains("the WasmShim a has its shim"), "{}", report.message);
    }
    // Nothing of b's is there, and b's removal has nothing to wait for.
    let report = node.order(&of("b", Command::Remove));
    is(&report, Outcome::Removed);
    assert!(report.message.contains("the WasmShim a has its shim"), "{}", report.message);
    assert_eq!(with.difference(&node.tree()), Vec::<String>::new(), "something was changed");
    assert_eq!(node.daemon(), pid, "containerd was restarted");
    is(&node.order(&of("a", Command::Verify)), Outcome::Ready);
    is(&node.order(&of("a", Command::Remove)), Outcome::Removed);
    assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "something is left");
}

/// As by the words of `deploy/manual/README.md`, with the programs where this node has some.
fn by_hand(release: &'static str) -> (Mini, &'static str) {
    let section = |plugin: &str| {
        format!(
            "[plugins.\"{plugin}\".containerd.runtimes.wherry]\n\
             runtime_type = \"io.containerd.wherry.v1\"\npod_annotations = [\"wherry.dev/*\"]\n\
             runtime_path = \"/programs/containerd-shim-wherry-v1\"\n"
        )
    };
    let main = "/etc/containerd/config.toml";
    if release == "1.7" {
        let text = configuration(release).to_owned() + &section("io.containerd.grpc.v1.cri");
        return (Mini::start(release, &text), main);
    }
    let file = "/etc/containerd/conf.d/wherry.toml";
    let text = format!("imports = [\"{file}\"]\n{}", configuration(release));
    let node = node(release);
    node.folder("etc/containerd/conf.d");
    node.write(main, &text);
    node.write(file, &section("io.containerd.cri.v1.runtime"));
    node.restart();
    (node, file)
}

#[test]
fn a_node_that_was_set_up_by_hand_is_left_to_whom_has_done_it() {
    for release in ["1.7", "2.1", "2.4"] {
        let (node, file) = by_hand(release);
        let (before, pid) = (node.tree(), node.daemon());
        let report = node.agent(&["apply"]);
        is(&report, Outcome::Failed);
        let told = format!("{file}: it has a handler wherry that somebody else has set up");
        assert!(report.message.starts_with(&told), "{}", report.message);
        is(&node.agent(&["remove"]), Outcome::Removed);
        assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "containerd {release}");
        assert_eq!(node.daemon(), pid, "containerd {release} was restarted");
        // It can be looked after, though.
        let report = node.agent(&["verify"]);
        is(&report, Outcome::Ready);
        assert!(report.message.contains(file), "{}", report.message);
        assert_eq!(report.installed.map(|it| it.method), Some(Method::External));
    }
}

/// Somebody adds a handler of the same name beside ours, and ours goes.
#[test]
fn a_name_that_somebody_elses_file_has_too_is_not_waited_for() {
    let node = Mini::start(
        "2.1",
        &format!("imports = [\"/etc/containerd/conf.d/*.toml\"]\n{}", configuration("2.1")),
    );
    node.folder("etc/containerd/conf.d");
    is(&node.agent(&["apply"]), Outcome::Ready);
    let theirs = "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.wherry]\n\
                  runtime_type = \"io.containerd.wherry.v1\"\n";
    node.write("etc/containerd/conf.d/99-theirs.toml", theirs);
    is(&node.agent(&["remove"]), Outcome::Removed);
    assert_eq!(node.read("etc/containerd/conf.d/99-theirs.toml"), theirs);
    assert!(!node.path("opt/wherry").exists());
}
