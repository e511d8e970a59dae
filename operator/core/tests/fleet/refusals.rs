//! What cannot be done, and what says nothing: nobody acts on either.

use expect_test::expect;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelectorRequirement, Time};
use wherry_operator_core::crd::{Period, RolloutPhase, Share, Window};
use wherry_operator_core::plan::{Action, Refusal, conditions};

use crate::world::{World, spec};

fn installed(count: usize) -> World {
    let mut world = World::new(count, 2);
    (0..200).for_each(|_| world.step());
    assert_eq!(world.status().nodes.summary, format!("{count}/{count}"));
    world
}

fn hour() -> Period {
    std::time::Duration::from_secs(3600).into()
}

fn never() -> Window {
    Window { cron: "0 25 * * *".into(), duration: hour(), time_zone: "UTC".into() }
}

/// One typing error once took Wherry off a whole fleet, and called it complete.
#[test]
fn a_selector_that_cannot_be_read_takes_nothing_off() {
    let mut world = installed(4);
    let before = world.status();
    world.shim.spec.nodes.selector.match_expressions = Some(vec![LabelSelectorRequirement {
        key: "pool".into(),
        operator: "in".into(),
        values: Some(vec!["a".into()]),
    }]);
    world.shim.metadata.generation = Some(2);
    world.machines.iter_mut().for_each(|it| it.node.selected = false);
    world.log.clear();
    for _ in 0..60 {
        let plan = world.look();
        assert_eq!(plan.actions, []);
        assert!(matches!(plan.refused, Some(Refusal::Selector(_))));
        world.carry_out(&plan, usize::MAX);
        world.pass(1);
    }
    assert_eq!(world.log, [""; 0]);
    let status = world.status();
    assert_eq!(status.phase, RolloutPhase::Refused);
    assert_eq!((status.nodes, status.observed_generation), (before.nodes, 2));
    assert!(world.machines.iter().all(|it| it.node.proved && it.installed.is_some()));
    // And who is deleted goes.
    world.delete();
    (0..60).for_each(|_| world.step());
    assert!(world.released);
}

#[test]
fn a_window_that_cannot_be_read_gives_no_order_and_keeps_nobody_from_being_deleted() {
    let mut world = World::new(2, 1);
    world.shim.spec.rollout.windows = vec![never()];
    (0..10).for_each(|_| world.step());
    assert_eq!((world.log.len(), world.status().phase), (0, RolloutPhase::Refused));
    let mut world = installed(2);
    world.shim.spec.rollout.windows = vec![never()];
    world.delete();
    (0..60).for_each(|_| world.step());
    assert!(world.released);
}

#[test]
fn a_runtime_class_that_is_not_taken_gives_no_order_and_facts_are_followed() {
    let mut world = World::new(2, 1);
    (0..2).for_each(|_| world.step());
    assert!(world.machines[0].job.is_some());
    world.class = Some("it is there".into());
    (0..20).for_each(|_| world.step());
    assert!(world.machines[0].node.proved, "an order that was given comes to its end");
    assert_eq!((world.log.len(), world.status().phase), (1, RolloutPhase::Refused));
    world.class = None;
    (0..40).for_each(|_| world.step());
    assert_eq!(world.status().phase, RolloutPhase::Complete);
}

#[test]
fn a_refusal_is_a_condition_with_its_sentence() {
    let mut world = World::new(1, 1);
    world.shim.spec.rollout.windows = vec![never()];
    let plan = world.look();
    let all = conditions(&plan.status, plan.refused.as_ref(), &[], &Time(world.now));
    let told: String = all
        .iter()
        .map(|it| format!("{}={} {}: {}\n", it.type_, it.status, it.reason, it.message))
        .collect();
    expect![[r#"
        Accepted=False BadWindow: rollout.windows: "0 25 * * *" in the time zone "UTC" is none
        Available=False Refused: 0/1 ready
        Progressing=False Refused: 0 nodes at work
        Degraded=False Refused: 0 failed, 0 drifted
        RolledBack=False Refused: 
    "#]]
    .assert_eq(&told);
}

/// A canary that was booked to the last once rolled a good release back.
#[test]
fn a_node_that_lets_no_agent_in_says_nothing_of_a_revision() {
    let mut world = installed(6);
    world.shim.spec = spec(2);
    world.machines[0].booked = true;
    world.log.clear();
    (0..60).for_each(|_| world.step());
    let status = world.status();
    assert_eq!((status.phase, status.rejected), (RolloutPhase::Progressing, None));
    assert_eq!(
        status.failures[0].message.split(": ").last(),
        Some("its agent was not let onto the node")
    );
    // It is tried again, and nobody else is before it was.
    assert!(world.log.len() > 2 && world.log.iter().all(|line| line.contains("n0 Install")));
    world.machines[0].booked = false;
    (0..120).for_each(|_| world.step());
    assert_eq!(world.status().phase, RolloutPhase::Complete);
    assert_eq!(world.status().last_good_revision, Some(world.target()));
}

#[test]
fn a_wave_is_over_without_a_few_nodes_that_let_no_agent_in() {
    let mut world = installed(6);
    world.shim.spec = spec(2);
    world.shim.spec.rollout.max_unavailable = Share::Count(6);
    world.machines[5].booked = true;
    (0..120).for_each(|_| world.step());
    let status = world.status();
    assert_eq!((status.nodes.ready, status.nodes.failed), (5, 1));
    assert_eq!(status.last_good_revision, Some(world.target()));
}

/// `restart.policy: Never` once made a revision the last good one that no node had loaded.
#[test]
fn a_revision_that_waits_for_restarts_is_neither_complete_nor_good() {
    let mut world = installed(3);
    let good = world.status().last_good_revision;
    world.shim.spec = spec(2);
    world.machines[2].pending = true;
    (0..120).for_each(|_| world.step());
    let status = world.status();
    assert_eq!(status.phase, RolloutPhase::AwaitingRestart);
    assert_eq!((status.nodes.ready, status.nodes.pending_restart), (2, 1));
    assert_eq!(status.last_good_revision, good);
    // Its administrator restarts containerd, here with the node.
    world.machines[2].pending = false;
    world.machines[2].reboot();
    (0..20).for_each(|_| world.step());
    assert_eq!(world.status().phase, RolloutPhase::Complete);
    assert_eq!(world.status().last_good_revision, Some(world.target()));
}

#[test]
fn who_is_removed_is_told_what_it_waits_for() {
    let mut world = installed(7);
    world.delete();
    world.shim.spec.rollout.max_unavailable = Share::Count(7);
    world.machines[0].node.held = true;
    world.machines[1].busy = true;
    let now = world.now;
    world.machines[2].set_ready(false, now);
    (0..8).for_each(|_| world.step());
    let told = world.status().waits.join("\n");
    expect![[r#"
        containers run by it: n1
        held by the annotation wherry.dev/hold: n0
        not ready: n2"#]]
    .assert_eq(&told);
    let mut world = installed(7);
    world.delete();
    world.shim.spec.rollout.windows =
        vec![Window { cron: "0 2 1 1 *".into(), duration: hour(), time_zone: "UTC".into() }];
    (0..8).for_each(|_| world.step());
    assert_eq!(
        world.status().waits,
        ["no window of spec.rollout.windows is open: n0, n1, n2, n3, n4 and 2 more"]
    );
    assert!(world.look().actions.iter().all(|it| !matches!(it, Action::Order { .. })));
}
