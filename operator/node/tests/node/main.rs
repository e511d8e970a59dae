//! The agent on nodes with a real containerd of each release: what it leaves there, whatever kills it and whenever.
//!
//! Needs root, `WHERRY_RIG` with the releases (`e2e/rig/fetch.sh containerd`), and `WHERRY_PROGRAMS` with the
//! programs of a release (`make programs`).

mod full;
mod image;
mod owners;
mod rig;
mod truth;
mod undone;

use std::time::{Duration, Instant};

use rig::{Mini, RELEASES, Tree};
use wherry_report::{Outcome, Report};

/// As an administrator's of each release: his settings, and a comment.
fn configuration(release: &str) -> &'static str {
    match release {
        "1.7" => {
            r#"version = 2
# of the platform team
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "wherry.test/pause:1"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
        }
        _ => {
            r#"version = 3
# of the platform team
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "wherry.test/pause:1"
"#
        }
    }
}

fn node(release: &'static str) -> Mini {
    Mini::start(release, configuration(release))
}

fn is(report: &Report, outcome: Outcome) {
    assert_eq!(report.outcome, outcome, "{report:#?}");
}

/// The whole life of an installation on one node.
fn life(release: &'static str) {
    let node = node(release);
    let before = node.tree();

    is(&node.agent(&["plan"]), Outcome::Planned);
    assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "a plan changes nothing");

    let first = node.agent(&["apply"]);
    is(&first, Outcome::Ready);
    let proof = first.proof.expect("a proof");
    assert!(proof.handler_listed && proof.container_ran, "{proof:?}");
    assert!(first.last_transaction.expect("a change").restarted);
    is(&node.agent(&["verify"]), Outcome::Ready);

    let pid = node.daemon();
    let again = node.agent(&["apply"]);
    is(&again, Outcome::Ready);
    assert!(!again.last_transaction.expect("a run").restarted);

    // Other programs come without a restart, and the ones before stay for as long as they may be wanted back.
    node.other_programs();
    is(&node.agent(&["verify"]), Outcome::Drifted);
    is(&node.agent(&["apply"]), Outcome::Ready);
    assert_eq!(node.revisions(), 2);
    is(&node.agent(&["apply"]), Outcome::Ready);
    assert_eq!(node.revisions(), 1);
    assert_eq!(node.daemon(), pid, "containerd was restarted for nothing");

    // Somebody writes his file anew.
    node.write("etc/containerd/config.toml", configuration(release));
    is(&node.agent(&["verify"]), Outcome::Drifted);
    is(&node.agent(&["apply"]), Outcome::Ready);

    is(&node.agent(&["remove"]), Outcome::Removed);
    assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "something is left");
    is(&node.agent(&["remove"]), Outcome::Removed);
    assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "something is left");
}

#[test]
fn containerd_1_7_is_changed_proved_upgraded_repaired_and_left_as_it_was() {
    life("1.7");
}

#[test]
fn containerd_2_1_is_changed_proved_upgraded_repaired_and_left_as_it_was() {
    life("2.1");
}

#[test]
fn containerd_2_4_is_changed_proved_upgraded_repaired_and_left_as_it_was() {
    life("2.4");
}

#[test]
fn containerd_1_7_without_a_file_gets_one_and_loses_it_again() {
    const CONFIG: &str = "etc/containerd/config.toml";
    let node = Mini::with("1.7", None);
    let before = node.tree();
    assert!(!node.path("etc/containerd").exists());

    let plan = node.agent(&["plan"]);
    is(&plan, Outcome::Planned);
    assert_eq!(plan.runtime.expect("a runtime").config_version, 0);
    is(&node.agent(&["verify"]), Outcome::Drifted);
    is(&node.agent(&["remove"]), Outcome::Removed);
    assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "nothing was there");

    // It is started on a file of ours, and again on none.
    let report = node.agent(&["apply", "--smoke", "wherry.test/none:1"]);
    is(&report, Outcome::Reverted);
    assert!(report.message.starts_with("no container runs under the"), "{}", report.message);
    assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "something is left");

    // A pod takes a setting here for as long as it runs, as the rig need not have the right to go below a score.
    is(&node.agent(&["apply", "--no-restart"]), Outcome::PendingRestart);
    let ours = node.read(CONFIG);
    let setting = "[plugins.\"io.containerd.grpc.v1.cri\"]\nrestrict_oom_score_adj = true\n";
    node.write(CONFIG, &ours.replace("version = 2\n", &format!("version = 2\n{setting}")));
    node.restart();
    is(&node.agent(&["apply", "--no-restart"]), Outcome::Ready);
    is(&node.agent(&["verify"]), Outcome::Ready);
    node.write(CONFIG, &ours);
    is(&node.agent(&["remove"]), Outcome::Removed);
    assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "something is left");
}

/// Kills the agent at each of its steps in turn. After each: what containerd would read is as before or as wanted;
/// and what was begun is undone by the guard, or finished by the next run.
fn killed(release: &'static str) {
    let node = node(release);
    let (before, old) = (node.tree(), node.dump());
    is(&node.agent(&["apply"]), Outcome::Ready);
    let new = node.dump();
    is(&node.agent(&["remove"]), Outcome::Removed);
    assert_ne!(old, new);

    let mut steps = 0;
    for step in 1.. {
        if !node.killed_at(step, &["apply"]) {
            break;
        }
        steps = step;
        let now = node.dump();
        assert!(now == old || now == new, "killed at step {step}: between");
        // What is proved is finished, whoever comes; what nobody has begun, or somebody has finished, stays.
        let wanted = match node.stage().as_deref() {
            None => now,
            Some("Proven") => new.clone(),
            Some(_) => old.clone(),
        };
        if step % 4 == 0 {
            is(&node.agent(&["apply"]), Outcome::Ready);
            assert_eq!(node.dump(), new, "killed at step {step}, and applied again");
        } else {
            node.guard();
            assert_eq!(node.dump(), wanted, "killed at step {step}, and looked after");
            let wrong = before.within("etc").difference(&node.tree().within("etc"));
            assert!(
                wanted == new || wrong.is_empty(),
                "killed at step {step}, and undone: {wrong:?}"
            );
        }
        // Programs that were staged and are nowhere named may be left.
        if !before.difference(&node.tree()).is_empty() {
            is(&node.agent(&["remove"]), Outcome::Removed);
        }
        let wrong = before.difference(&node.tree());
        assert_eq!(wrong, Vec::<String>::new(), "killed at step {step}, and removed");
    }
    assert!(steps > 20, "{steps} steps are not all");
    eprintln!("containerd {release}: killed at {steps} steps");
}

#[test]
fn an_agent_that_is_killed_leaves_containerd_1_7_as_before_or_as_wanted() {
    killed("1.7");
}

#[test]
fn an_agent_that_is_killed_leaves_containerd_2_4_as_before_or_as_wanted() {
    killed("2.4");
}

#[test]
fn a_removal_that_is_killed_is_finished_by_the_next() {
    let node = node("2.1");
    let (before, old) = (node.tree(), node.dump());
    is(&node.agent(&["apply"]), Outcome::Ready);
    let new = node.dump();
    for step in 1.. {
        let killed = node.killed_at(step, &["remove"]);
        let now = node.dump();
        assert!(now == old || now == new, "killed at step {step}: between");
        is(&node.agent(&["remove"]), Outcome::Removed);
        let wrong = before.difference(&node.tree());
        assert_eq!(wrong, Vec::<String>::new(), "killed at step {step}, and removed");
        if !killed {
            assert!(step > 10, "{step} steps are not all");
            break;
        }
        is(&node.agent(&["apply"]), Outcome::Ready);
    }
}

#[test]
fn a_guard_puts_back_what_a_dead_agent_has_not_proved() {
    let node = node("2.4");
    let before = node.tree();
    // A step between the change and the proof, which are eight apart.
    let old = node.dump();
    for step in (1..).step_by(6) {
        assert!(node.killed_at(step, &["apply", "--guard", "3"]), "it was never changed");
        if node.dump() != old {
            break;
        }
        node.guard();
    }
    let end = Instant::now() + Duration::from_secs(60);
    while before.within("etc").difference(&node.tree().within("etc")) != Vec::<String>::new() {
        assert!(Instant::now() < end, "no guard came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_restart_for_what_another_run_has_left_is_told() {
    let node = node("2.1");
    full::killed_when(&node, |node| node.stage().as_deref() == Some("Restarted"));
    let pid = node.daemon();
    let report = node.agent(&["remove"]);
    is(&report, Outcome::Removed);
    assert_ne!(node.daemon(), pid);
    let cost = report.last_transaction.expect("a cost");
    assert!(cost.restarted && cost.cri_down_ms > 0, "{cost:?}");
}

#[test]
fn what_cannot_be_proved_is_put_back() {
    for release in RELEASES {
        let node = node(release);
        let before = node.tree();
        let report = node.agent(&["apply", "--smoke", "wherry.test/none:1"]);
        is(&report, Outcome::Reverted);
        assert!(report.message.contains("none:1"), "{}", report.message);
        assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "something is left");
    }
}

#[test]
fn a_restart_that_is_left_to_others_is_waited_for() {
    let node = node("2.1");
    let (before, pid) = (node.tree(), node.daemon());
    is(&node.agent(&["apply", "--no-restart"]), Outcome::PendingRestart);
    is(&node.agent(&["verify"]), Outcome::PendingRestart);
    is(&node.agent(&["apply", "--no-restart"]), Outcome::PendingRestart);
    assert_eq!(node.daemon(), pid, "containerd was restarted");
    node.restart();
    is(&node.agent(&["apply", "--no-restart"]), Outcome::Ready);
    is(&node.agent(&["verify"]), Outcome::Ready);

    let pid = node.daemon();
    is(&node.agent(&["remove", "--no-restart"]), Outcome::PendingRestart);
    assert_eq!(node.daemon(), pid, "containerd was restarted");
    assert_eq!(node.revisions(), 1, "containerd has the handler still, and no programs for it");
    node.restart();
    is(&node.agent(&["remove", "--no-restart"]), Outcome::Removed);
    assert_eq!(before.difference(&node.tree()), Vec::<String>::new(), "something is left");
}

#[test]
fn programs_are_not_taken_away_from_containers() {
    let node = node("2.4");
    is(&node.agent(&["apply"]), Outcome::Ready);
    let with = node.tree();
    // As containerd writes it down when it starts a shim.
    let bundle = "run/containerd/io.containerd.runtime.v2.task/k8s.io/c1";
    node.folder(bundle);
    let shim = "/opt/wherry/current/containerd-shim-wherry-v1";
    node.write(&format!("{bundle}/shim-binary-path"), shim);
    let pod = r#"{"annotations":{"io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-name":"cart"}}"#;
    node.write(&format!("{bundle}/config.json"), pod);
    let report = node.agent(&["remove"]);
    is(&report, Outcome::InUse);
    assert_eq!((report.in_use[0].id.as_str(), report.in_use[0].pod.as_str()), ("c1", "shop/cart"));
    assert_eq!(with.difference(&node.tree()), Vec::<String>::new(), "something was changed");
    is(&node.agent(&["remove", "--force"]), Outcome::Removed);
}

#[test]
fn a_node_is_entered_from_a_container_of_a_job() {
    let node = node("2.1");
    is(&node.agent(&["apply"]), Outcome::Ready);
    let report = node.agent_from_outside(&["verify"]);
    is(&report, Outcome::Ready);
    assert!(report.proof.expect("a proof").container_ran);
}

#[test]
fn a_configuration_that_containerd_would_not_start_on_is_not_tried_on_the_node() {
    let node = node("2.1");
    // It runs on what it has read; what it would read now has a default handler that is none.
    let text = configuration("2.1").to_owned()
        + "[plugins.\"io.containerd.cri.v1.runtime\".containerd]\ndefault_runtime_name = \"gone\"\n";
    node.write("etc/containerd/config.toml", &text);
    let (before, pid) = (node.tree(), node.daemon());
    let report = node.agent(&["apply"]);
    is(&report, Outcome::Failed);
    assert!(report.message.contains("does not start"), "{}", report.message);
    assert_eq!(node.daemon(), pid, "containerd was restarted");
    let wrong = before.within("etc").difference(&node.tree().within("etc"));
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_report_fits_into_a_termination_message() {
    let node = node("2.1");
    let report = node.agent(&["plan"]);
    assert!(report.message().len() <= wherry_report::LIMIT);
    assert_eq!(Report::parse(&node.read("report")).expect("a report"), report);
    let runtime = report.runtime.expect("a runtime");
    assert_eq!((runtime.config_version, runtime.distribution.as_str()), (3, "plain"));
}

#[test]
fn a_tree_tells_what_differs() {
    let (a, b) = (Tree::of([("x", "1"), ("y", "1")]), Tree::of([("x", "2"), ("z", "1")]));
    assert_eq!(a.difference(&b), ["x", "y", "z"]);
}
