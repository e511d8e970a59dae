//! Rollouts as people read them.

use expect_test::{Expect, expect};
use wherry_operator_core::crd::{self, Mode, OnFailure, Pace, Period, Share, Spread, Window};
use wherry_report::WhenInUse;

use crate::world::{World, spec};

fn minutes(minutes: u64) -> Period {
    std::time::Duration::from_secs(60 * minutes).into()
}

/// What was ordered in this time, with revisions as `a`, `b` and so on.
fn check(world: &mut World, time: usize, expected: Expect) {
    world.log.clear();
    for _ in 0..time {
        world.step();
    }
    let phase = world.status();
    let mut told = world.log.join("\n");
    for (number, letter) in (1..).zip(["a", "b", "c"]) {
        let (revision, _) = crd::revision_of("wherry", &spec(number));
        told = told.replace(&revision, letter);
    }
    let wave = phase.wave.map(|wave| wave.name).unwrap_or_default();
    let end = format!("{:?} {wave} {}", phase.phase, phase.nodes.summary);
    expected.assert_eq(&format!("{told}\n{}\n", end.trim_start()));
}

fn installed(count: usize) -> World {
    let mut world = World::new(count, 2);
    for _ in 0..200 {
        world.step();
    }
    assert_eq!(world.status().nodes.summary, format!("{count}/{count}"));
    world
}

#[test]
fn a_canary_then_a_few_then_the_rest() {
    let mut world = World::new(6, 2);
    world.shim.spec.rollout.max_unavailable = Share::Count(2);
    check(
        &mut world,
        45,
        expect![[r#"
        00:00 n0 Install a canary
        00:12 n1 Install a rest
        00:12 n2 Install a rest
        00:14 n3 Install a rest
        00:14 n4 Install a rest
        00:16 n5 Install a rest
        Complete  6/6
    "#]],
    );
}

#[test]
fn a_bad_revision_stops_at_the_canary_and_is_rolled_back() {
    let mut world = installed(6);
    world.shim.spec = spec(2);
    world.bad.insert(world.target(), usize::MAX);
    check(
        &mut world,
        60,
        expect![[r#"
        03:20 n0 Install b canary
        03:23 n0 Install a
        RolledBack  6/6
    "#]],
    );
}

#[test]
fn a_revision_that_fails_on_some_goes_back_where_it_failed() {
    let mut world = installed(8);
    world.shim.spec = spec(2);
    world.shim.spec.rollout.failure_budget = Share::Count(1);
    world.shim.spec.rollout.max_unavailable = Share::Count(4);
    // Every node but for the first three.
    world.bad.insert(world.target(), 4 | 8);
    check(
        &mut world,
        60,
        expect![[r#"
        03:20 n0 Install b canary
        03:32 n1 Install b rest
        03:32 n2 Install b rest
        03:32 n3 Install b rest
        03:32 n4 Install b rest
        03:35 n3 Install a
        03:35 n4 Install a
        RolledBack  8/8
    "#]],
    );
}

#[test]
fn all_nodes_go_back_if_that_is_asked_for() {
    let mut world = installed(8);
    world.shim.spec = spec(2);
    world.shim.spec.rollout.failure_budget = Share::Count(1);
    world.shim.spec.rollout.max_unavailable = Share::Count(4);
    world.shim.spec.rollout.on_failure = OnFailure::RollbackAll;
    world.bad.insert(world.target(), 4 | 8);
    check(
        &mut world,
        60,
        expect![[r#"
        03:20 n0 Install b canary
        03:32 n1 Install b rest
        03:32 n2 Install b rest
        03:32 n3 Install b rest
        03:32 n4 Install b rest
        03:35 n0 Install a
        03:35 n1 Install a
        03:35 n2 Install a
        03:35 n3 Install a
        03:37 n4 Install a
        RolledBack  8/8
    "#]],
    );
}

#[test]
fn what_an_administrator_gives_up_goes_back_everywhere_even_where_it_was_good() {
    let mut world = installed(4);
    world.shim.spec = spec(2);
    world.shim.spec.rollout.max_unavailable = Share::Count(2);
    world.shim.spec.rollout.on_failure = OnFailure::Pause;
    for _ in 0..60 {
        world.step();
    }
    assert_eq!(world.status().last_good_revision, Some(world.target()));
    let target = world.target();
    world.annotate(crd::GIVEN_UP, &target);
    check(
        &mut world,
        20,
        expect![[r#"
            04:21 n0 Install a
            04:21 n1 Install a
            04:23 n2 Install a
            04:23 n3 Install a
            RolledBack  4/4
        "#]],
    );
    assert_eq!(world.status().previous_good_revision, None);
    // It is let on again by the same waves as anything new.
    world.annotate(crd::GIVEN_UP, "");
    world.annotate(crd::RETRY, "now");
    check(
        &mut world,
        60,
        expect![[r#"
            04:40 n0 Install b canary
            04:52 n1 Install b rest
            04:52 n2 Install b rest
            04:54 n3 Install b rest
            Complete  4/4
        "#]],
    );
}

#[test]
fn a_zone_is_not_taken_at_once() {
    let mut world = World::new(6, 2);
    let rollout = &mut world.shim.spec.rollout;
    rollout.waves.drain(..2);
    rollout.max_unavailable = Share::Count(6);
    let (topology_key, max_per_domain) = ("zone".into(), Share::Count(1));
    rollout.spread = Some(Spread { topology_key, max_per_domain });
    check(
        &mut world,
        3,
        expect![[r#"
        00:00 n0 Install a rest
        00:00 n1 Install a rest
        00:02 n2 Install a rest
        00:02 n3 Install a rest
        Progressing rest 2/6
    "#]],
    );
}

#[test]
fn nodes_are_changed_in_windows_only() {
    let mut world = World::new(2, 1);
    let window =
        Window { cron: "30 0 * * *".into(), duration: minutes(5), time_zone: "UTC".into() };
    world.shim.spec.rollout.windows = vec![window];
    check(
        &mut world,
        30,
        expect![[r#"

        AwaitingWindow canary 0/2
    "#]],
    );
    check(
        &mut world,
        10,
        expect![[r#"
        00:30 n0 Install a canary
        Soaking canary 1/2
    "#]],
    );
}

#[test]
fn who_waits_is_told_so() {
    let mut world = World::new(2, 1);
    world.shim.spec.rollout.pace = Pace::Paused;
    check(
        &mut world,
        5,
        expect![[r#"

        Paused canary 0/2
    "#]],
    );
    world.shim.spec.rollout.pace = Pace::Running;
    world.shim.spec.rollout.approval = crd::Approval::Manual;
    check(
        &mut world,
        5,
        expect![[r#"

        AwaitingApproval canary 0/2
    "#]],
    );
    let target = world.target();
    world.annotate(crd::APPROVED, &target);
    world.machines[0].node.held = true;
    check(
        &mut world,
        5,
        expect![[r#"
        00:10 n1 Install a canary
        Soaking canary 1/2
    "#]],
    );
}

#[test]
fn a_node_that_was_booted_is_looked_at_and_one_that_was_set_up_anew_begins_again() {
    let mut world = installed(3);
    world.machines[0].reboot();
    world.machines[1].reimage();
    world.machines[2].installed = None;
    world.machines[2].reboot();
    check(
        &mut world,
        20,
        expect![[r#"
            03:20 n1 Install a rest
            03:20 n0 Verify a canary
            03:20 n2 Verify a rest
            03:22 n2 Install a rest
            Complete  3/3
        "#]],
    );
}

#[test]
fn nothing_is_taken_from_under_containers() {
    let mut world = installed(2);
    world.delete();
    world.machines[1].busy = true;
    check(
        &mut world,
        10,
        expect![[r#"
        03:21 n0 Remove a
        03:23 n1 Remove a
        03:26 n1 Remove a
        03:29 n1 Remove a
        Removing  0/0
    "#]],
    );
    assert!(!world.released && world.machines[1].installed.is_some());
    world.shim.spec.uninstall.when_in_use = WhenInUse::Drain;
    check(
        &mut world,
        10,
        expect![[r#"
        03:32 n1 Remove a
        Removing  0/0
    "#]],
    );
    assert!(world.released);
}

/// What there is on such nodes is another's.
#[test]
fn nothing_is_taken_from_nodes_that_were_only_looked_at() {
    for mode in [Mode::Plan, Mode::VerifyOnly] {
        let mut world = World::new(2, 2);
        world.shim.spec.mode = mode;
        (0..10).for_each(|_| world.step());
        assert!(world.machines.iter().all(|machine| machine.node.decided.is_some()));
        world.log.clear();
        world.delete();
        (0..10).for_each(|_| world.step());
        assert_eq!(world.log, Vec::<String>::new(), "{mode:?}");
        assert!(world.released && world.machines.iter().all(|it| it.node.decided.is_none()));
    }
}

/// Where something may be, it is taken off, whatever was asked for last.
#[test]
fn a_shim_that_was_installed_goes_although_a_plan_was_asked_for_last() {
    let mut world = installed(1);
    world.shim.spec.mode = Mode::Plan;
    (0..10).for_each(|_| world.step());
    world.delete();
    (0..10).for_each(|_| world.step());
    assert!(world.log.last().is_some_and(|line| line.contains("Remove")), "{:?}", world.log);
    assert!(world.released);
}

/// Its canary was taken for settled once, by what it had come to before.
#[test]
fn what_is_tried_once_more_begins_with_who_failed() {
    let mut world = World::new(3, 1);
    let rollout = &mut world.shim.spec.rollout;
    rollout.max_unavailable = Share::Percent(100);
    rollout.waves[1].nodes = Share::Percent(100);
    world.bad.insert(world.target(), usize::MAX);
    check(
        &mut world,
        20,
        expect![[r#"
        00:00 n0 Install a canary
        RolledBack  0/3
    "#]],
    );
    world.annotate(crd::RETRY, "now");
    check(
        &mut world,
        20,
        expect![[r#"
        00:21 n0 Install a canary
        RolledBack  0/3
    "#]],
    );
    assert_eq!(world.status().last_good_revision, None);
}

/// What a plan has seen of a node is not what an install comes to there.
#[test]
fn a_plan_is_no_canary() {
    for mode in [Mode::Plan, Mode::VerifyOnly] {
        let mut world = World::new(3, 1);
        world.shim.spec.rollout.max_unavailable = Share::Percent(100);
        world.shim.spec.mode = mode;
        (0..40).for_each(|_| world.step());
        world.shim.spec.mode = Mode::Managed;
        world.bad.insert(world.target(), usize::MAX);
        world.log.clear();
        (0..40).for_each(|_| world.step());
        assert_eq!(world.log.len(), 1, "{mode:?}: {:?}", world.log);
        assert_eq!(world.status().last_good_revision, None);
    }
}

/// A typing error in the digest.
#[test]
fn what_cannot_be_pulled_is_nowhere_and_goes_at_once() {
    let mut world = World::new(2, 1);
    world.lose_image();
    check(
        &mut world,
        10,
        expect![[r#"
        00:00 n0 Install a canary
        00:04 n0 Install a canary
        Progressing canary 0/2
    "#]],
    );
    assert!(world.status().rejected.is_none(), "it was never tried");
    world.log.clear();
    world.delete();
    (0..10).for_each(|_| world.step());
    assert!(world.released && world.log.is_empty(), "{:?}", world.log);
}

#[test]
fn a_mended_spec_follows_one_that_could_not_be_pulled() {
    let mut world = installed(2);
    world.shim.spec = spec(2);
    world.lose_image();
    check(
        &mut world,
        10,
        expect![[r#"
        03:20 n0 Install b canary
        03:24 n0 Install b canary
        Progressing canary 0/2
    "#]],
    );
    world.shim.spec = spec(3);
    check(
        &mut world,
        40,
        expect![[r#"
        03:30 n0 Install c canary
        03:42 n1 Install c rest
        Complete  2/2
    "#]],
    );
}

/// The image of the last order may be one that nobody can have.
#[test]
fn a_shim_is_taken_off_by_whatever_agent_can_be_had() {
    let mut world = installed(1);
    let first = world.target();
    world.shim.spec = spec(2);
    let target = world.target();
    world.machines[0].missing.push(target);
    (0..10).for_each(|_| world.step());
    world.delete();
    let mut without = world.clone();
    check(
        &mut world,
        10,
        expect![[r#"
        03:31 n0 Remove a
        Removing  0/0
    "#]],
    );
    assert!(world.released);
    // The image that ran there is gone as well, and a mended one can be had.
    without.machines[0].missing.push(first);
    without.shim.spec = spec(3);
    check(
        &mut without,
        20,
        expect![[r#"
        03:31 n0 Remove a
        03:35 n0 Remove c
        Removing  0/0
    "#]],
    );
    assert!(without.released);
}
