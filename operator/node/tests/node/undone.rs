//! An undo that does not come to its end, and the same work again.

use wherry_report::Outcome;

use crate::rig::Mini;
use crate::{is, node};

/// Restarts containerd as often as it is [let](allow), and fails from then on, with the daemon as it is.
const FLAKY: &str = r#"#!/bin/sh
left=$(cat /run/left)
[ "$left" -gt 0 ] || exit 1
echo $((left - 1)) >/run/left
exec /restart
"#;

fn flaky(release: &'static str) -> Mini {
    let node = node(release);
    node.write("flaky", FLAKY);
    node.run(&["chmod", "755", "/flaky"]);
    node
}

fn allow(node: &Mini, restarts: u32) {
    node.write("run/left", &restarts.to_string());
}

/// Has this work fail, and its undo at a restart, which leaves the files as they were and the journal at this stage.
fn fails(node: &Mini, restarts: u32, words: &[&str], stage: &str) {
    let before = node.dump();
    allow(node, restarts);
    let report = node.agent(&[&["--restart-with", "/flaky"], words].concat());
    is(&report, Outcome::Failed);
    assert!(report.message.contains("putting back what was before failed"), "{}", report.message);
    assert_eq!(node.dump(), before);
    assert_eq!(node.stage().as_deref(), Some(stage));
}

#[test]
fn what_an_undo_took_back_is_brought_again() {
    // In one the file is edited, in the other a line of it.
    for release in ["1.7", "2.1"] {
        let node = flaky(release);
        let before = node.tree();
        for (restarts, words, stage) in [
            (0, &["apply"][..], "Committed"),
            // Here containerd has what its files do not say any more.
            (1, &["apply", "--smoke", "wherry.test/none:1"], "Restarted"),
        ] {
            fails(&node, restarts, words, stage);
            is(&node.agent(&["apply"]), Outcome::Ready);
            is(&node.agent(&["verify"]), Outcome::Ready);

            fails(&node, 0, &["remove"], "Committed");
            is(&node.agent(&["remove"]), Outcome::Removed);
            let wrong = before.difference(&node.tree());
            assert_eq!(wrong, Vec::<String>::new(), "containerd {release}: something is left");
        }
    }
}

#[test]
fn a_guard_restarts_containerd_after_an_undo_that_could_not() {
    let node = flaky("2.1");
    let before = node.tree();
    fails(&node, 1, &["apply", "--smoke", "wherry.test/none:1"], "Restarted");
    let pid = node.daemon();
    node.write("flaky", "#!/bin/sh\nexec /restart\n");
    node.guard();
    assert_ne!(node.daemon(), pid, "containerd has what its files do not say");
    let wrong = before.within("etc").difference(&node.tree().within("etc"));
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn an_undo_that_is_killed_is_no_end_of_the_work() {
    let node = node("2.4");
    is(&node.agent(&["apply"]), Outcome::Ready);
    let new = node.dump();
    is(&node.agent(&["remove"]), Outcome::Removed);
    let unproved = ["apply", "--smoke", "wherry.test/none:1"];
    let mut undone = 0;
    for step in 1.. {
        if let Some(output) = node.killed_or(step, &unproved) {
            assert_eq!(output.status.code(), Some(i32::from(Outcome::Reverted.exit_code())));
            break;
        }
        if undone == 0 && node.stage().as_deref() != Some("Restarted") {
            continue;
        }
        undone += 1;
        is(&node.agent(&["apply"]), Outcome::Ready);
        assert_eq!(node.dump(), new, "killed at step {step}, and applied again");
        is(&node.agent(&["verify"]), Outcome::Ready);
        is(&node.agent(&["remove"]), Outcome::Removed);
    }
    assert!(undone > 10, "{undone} steps are not all");
}
