//! What a containerd runs on is what it has read, which need not be what its files say.

use wherry_report::{Command, Outcome, RestartPolicy};

use crate::owners::order;
use crate::rig::{Mini, RELEASES};
use crate::{configuration, is, node};

/// Options that the shim takes.
const GOOD: &str = "NoNewKeyring = true\n";
const NONE: &[String] = &[];

#[test]
fn options_that_change_are_loaded_before_they_are_proved() {
    for release in RELEASES {
        let node = node(release);
        let of = |options| order("a", Command::Apply, options, RestartPolicy::Auto);
        is(&node.order(&of("")), Outcome::Ready);

        let pid = node.daemon();
        let report = node.order(&of(GOOD));
        is(&report, Outcome::Ready);
        assert!(report.last_transaction.expect("a change").restarted, "containerd {release}");
        assert_ne!(node.daemon(), pid, "containerd {release} has not read them");
        let pid = node.daemon();
        is(&node.order(&of(GOOD)), Outcome::Ready);
        assert_eq!(node.daemon(), pid, "containerd {release} was restarted for nothing");

        let with = node.tree();
        let report = node.order(&of("nonsense = true\n"));
        is(&report, Outcome::Reverted);
        assert!(report.message.contains("nonsense"), "{}", report.message);
        assert_eq!(with.difference(&node.tree()), NONE, "containerd {release}");
        is(&node.order(&order("a", Command::Verify, GOOD, RestartPolicy::Auto)), Outcome::Ready);
    }
}

/// The file that has our handler, with another program in it.
fn drift(node: &Mini, file: &str) -> String {
    let right = node.read(file);
    let wrong = right.replace("/opt/wherry/current/", "/usr/local/bin/");
    assert_ne!(right, wrong);
    node.write(file, &wrong);
    right
}

#[test]
fn a_handler_that_somebody_changed_is_repaired() {
    for (release, file) in
        [("1.7", "etc/containerd/config.toml"), ("2.4", "etc/containerd/wherry.d/50-wherry.toml")]
    {
        let node = node(release);
        is(&node.agent(&["apply"]), Outcome::Ready);
        let right = drift(&node, file);
        node.restart();
        is(&node.agent(&["verify"]), Outcome::Drifted);
        is(&node.agent(&["apply"]), Outcome::Ready);
        assert_eq!(node.read(file), right);

        // Whoever puts the file right and does not restart containerd has repaired nothing.
        drift(&node, file);
        node.restart();
        node.write(file, &right);
        let report = node.agent(&["verify"]);
        is(&report, Outcome::Drifted);
        assert!(report.message.contains("/usr/local/bin/"), "{}", report.message);
        let report = node.agent(&["apply"]);
        is(&report, Outcome::Ready);
        assert!(report.last_transaction.expect("a change").restarted, "containerd {release}");
        is(&node.agent(&["verify"]), Outcome::Ready);
    }
}

#[test]
fn nobody_restarts_containerd_who_is_not_to() {
    let node = node("2.1");
    let (before, pid) = (node.tree(), node.daemon());
    let of = |command, options| order("a", command, options, RestartPolicy::Never);
    is(&node.order(&of(Command::Apply, "")), Outcome::PendingRestart);
    // Another revision takes the place of one that waits, with its own options.
    is(&node.order(&of(Command::Apply, GOOD)), Outcome::PendingRestart);
    assert!(node.dump().contains(GOOD.split([' ', '=']).next().expect("a key")));
    // And a removal takes it away, of which containerd knew nothing.
    is(&node.order(&of(Command::Remove, GOOD)), Outcome::Removed);
    assert_eq!(before.difference(&node.tree()), NONE, "something is left");
    assert_eq!(node.daemon(), pid, "containerd was restarted");

    // What waits is taken over by the order for the same only.
    is(&node.order(&of(Command::Apply, "")), Outcome::PendingRestart);
    node.restart();
    let pid = node.daemon();
    let report = node.order(&of(Command::Apply, GOOD));
    is(&report, Outcome::PendingRestart);
    assert_eq!(node.daemon(), pid, "containerd was restarted");
    node.restart();
    is(&node.order(&of(Command::Apply, GOOD)), Outcome::Ready);

    // Nor after a proof that failed.
    let node = self::node("2.1");
    let smoke = ["apply", "--no-restart", "--smoke", "wherry.test/none:1"];
    is(&node.agent(&smoke), Outcome::PendingRestart);
    node.restart();
    let pid = node.daemon();
    let report = node.agent(&smoke);
    is(&report, Outcome::Reverted);
    assert!(report.message.contains("started again by somebody else"), "{}", report.message);
    assert_eq!(node.daemon(), pid, "containerd was restarted");
}

#[test]
fn what_is_left_without_our_folder_or_our_record_is_found() {
    for release in RELEASES {
        let node = node(release);
        let before = node.tree();
        is(&node.agent(&["apply"]), Outcome::Ready);
        node.run(&["rm", "-r", "/opt/wherry"]);
        is(&node.agent(&["remove"]), Outcome::Removed);
        let left = before.difference(&node.tree());
        // 1.x has the handlers named which it has of its own, and nobody remembers that they were not.
        assert_eq!(left, NONE, "containerd {release}: without a folder");
        assert!(!node.dump().contains("io.containerd.wherry"), "containerd {release}");

        is(&node.agent(&["apply"]), Outcome::Ready);
        node.run(&["rm", "/opt/wherry/installed.json"]);
        is(&node.agent(&["apply"]), Outcome::Ready);
        is(&node.agent(&["remove"]), Outcome::Removed);
        assert_eq!(before.difference(&node.tree()), NONE, "containerd {release}: without a record");
    }
}

#[test]
fn programs_that_cannot_be_run_any_more_are_brought_again() {
    let node = node("2.1");
    is(&node.agent(&["apply"]), Outcome::Ready);
    node.run(&["chmod", "644", "/opt/wherry/current/containerd-shim-wherry-v1"]);
    is(&node.agent(&["verify"]), Outcome::Drifted);
    is(&node.agent(&["apply"]), Outcome::Ready);
}

#[test]
fn a_disk_that_is_full_is_not_filled_for_nothing() {
    let node = node("2.1");
    node.run(&["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", "/opt"]);
    let before = node.tree();
    let report = node.agent(&["apply"]);
    is(&report, Outcome::Failed);
    assert!(report.message.contains("No space left"), "{}", report.message);
    assert_eq!(before.difference(&node.tree()), NONE, "something is left");
}

#[test]
fn a_pattern_of_imports_that_takes_only_some_names_does_not_take_ours() {
    let imports = "imports = [\"/etc/containerd/conf.d/nvidia-*.toml\"]\n";
    let node = Mini::start("2.1", &(imports.to_owned() + configuration("2.1")));
    is(&node.agent(&["apply"]), Outcome::Ready);
    is(&node.agent(&["remove"]), Outcome::Removed);
}
