//! A disk that is full when what was begun has to be undone, or finished.

use wherry_report::Outcome;

use crate::rig::Mini;
use crate::{is, node};

/// A node whose configuration, and whose folder of ours, stand on small disks of their own.
fn small(release: &'static str) -> Mini {
    let node = node(release);
    let main = node.read("etc/containerd/config.toml");
    for (folder, size) in [("/etc/containerd", "size=256k"), ("/opt", "size=300m")] {
        node.run(&["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder]);
    }
    node.write("etc/containerd/config.toml", &main);
    // It makes folders of its own in the new ones.
    node.restart();
    node
}

fn fill(node: &Mini) {
    for folder in ["/etc/containerd", "/opt"] {
        let script = format!("cat /dev/zero >{folder}/fill; ! echo 1 >{folder}/more");
        node.run(&["sh", "-c", &script]);
    }
}

fn empty(node: &Mini) {
    node.run(&["rm", "/etc/containerd/fill", "/etc/containerd/more", "/opt/fill", "/opt/more"]);
}

/// Has an agent killed at a step after which this holds.
pub(crate) fn killed_when(node: &Mini, holds: impl Fn(&Mini) -> bool) {
    for step in 1.. {
        assert!(node.killed_at(step, &["apply"]), "it never came so far");
        if holds(node) {
            return;
        }
        node.guard();
    }
}

#[test]
fn a_guard_puts_files_back_on_a_disk_that_is_full() {
    // In one the file is edited, in the other a line of it.
    for release in ["1.7", "2.1"] {
        let node = small(release);
        let (before, old) = (node.tree(), node.dump());
        killed_when(&node, |node| node.dump() != old);
        fill(&node);
        node.guard();
        assert_eq!(node.dump(), old);
        empty(&node);
        let wrong = before.within("etc").difference(&node.tree().within("etc"));
        assert_eq!(wrong, Vec::<String>::new());
        is(&node.agent(&["apply"]), Outcome::Ready);
    }
}

#[test]
fn what_is_proved_is_finished_on_a_disk_that_is_full() {
    let node = small("2.1");
    let before = node.tree();
    killed_when(&node, |node| node.stage().as_deref() == Some("Proven"));
    fill(&node);
    node.guard();
    assert_eq!(node.stage(), None);
    empty(&node);
    is(&node.agent(&["verify"]), Outcome::Ready);
    is(&node.agent(&["remove"]), Outcome::Removed);
    assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "something is left");
}
