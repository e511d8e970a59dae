//! What holds in every fleet, whatever happens, and whenever the operator dies.

use proptest::prelude::*;
use wherry_operator_core::crd::{self, Mode, Observation, OnFailure, Pace, Share, Spread, Window};
use wherry_operator_core::plan::{Action, Node, Order, Plan};
use wherry_report::Outcome;

use crate::world::{World, calm, rolls_back, spec};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Time(i64),
    /// The operator dies after so many of its writes.
    Crash(usize),
    Reboot(usize),
    Reimage(usize),
    Ready(usize, bool),
    Hold(usize, bool),
    Select(usize, bool),
    Unlucky(usize),
    /// Another spec, and the nodes on which it fails.
    Change(u64, usize),
    Pace(Pace),
    /// The administrator gives the target up, or takes that back.
    GiveUp(bool),
    /// Somebody takes the shim off the node.
    Meddle(usize),
    /// The administrator wants what was rejected to be tried once more.
    Retry,
    Mode(Mode),
}

fn event() -> impl Strategy<Value = Event> {
    let node = 0..40_usize;
    prop_oneof![
        6 => (1..30_i64).prop_map(Event::Time),
        4 => (0..12_usize).prop_map(Event::Crash),
        1 => node.clone().prop_map(Event::Reboot),
        1 => node.clone().prop_map(Event::Reimage),
        2 => (node.clone(), any::<bool>()).prop_map(|(node, ready)| Event::Ready(node, ready)),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, held)| Event::Hold(node, held)),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, wanted)| Event::Select(node, wanted)),
        1 => node.clone().prop_map(Event::Unlucky),
        1 => (1..4_u64, prop_oneof![Just(0), Just(usize::MAX), Just(4), Just(1)])
            .prop_map(|(number, bits)| Event::Change(number, bits)),
        1 => prop_oneof![Just(Pace::Paused), Just(Pace::Running)].prop_map(Event::Pace),
        1 => any::<bool>().prop_map(Event::GiveUp),
        1 => node.prop_map(Event::Meddle),
        1 => Just(Event::Retry),
        1 => prop_oneof![
            3 => Just(Mode::Managed), 1 => Just(Mode::Plan), 1 => Just(Mode::VerifyOnly),
        ].prop_map(Event::Mode),
    ]
}

fn share() -> impl Strategy<Value = Share> {
    prop_oneof![(1..8_u32).prop_map(Share::Count), (1..=60_u8).prop_map(Share::Percent)]
}

fn world() -> impl Strategy<Value = World> {
    let on_failure = prop_oneof![
        Just(OnFailure::Pause),
        Just(OnFailure::RollbackFailed),
        Just(OnFailure::RollbackAll)
    ];
    let limits = (share(), share(), proptest::option::of(share()), 1..60_u32);
    (1..40_usize, 1..4_usize, limits, on_failure, any::<bool>()).prop_map(
        |(nodes, zones, (unavailable, budget, spread, parallel), on_failure, nights)| {
            let mut world = World::new(nodes, zones);
            let interval = std::time::Duration::from_secs(4 * 3600).into();
            world.shim.spec.drift.verify_interval = interval;
            let rollout = &mut world.shim.spec.rollout;
            (rollout.max_unavailable, rollout.failure_budget) = (unavailable, budget);
            (rollout.max_parallel, rollout.on_failure) = (parallel, on_failure);
            rollout.spread =
                spread.map(|max_per_domain| Spread { topology_key: "zone".into(), max_per_domain });
            if nights {
                let duration = std::time::Duration::from_secs(3 * 3600).into();
                let cron = "0 2 * * *".into();
                rollout.windows = vec![Window { cron, duration, time_zone: "UTC".into() }];
            }
            world
        },
    )
}

impl Event {
    fn happen(&self, world: &mut World) {
        let count = world.machines.len();
        let now = world.now;
        let at = |node: &usize| *node % count;
        match self {
            Event::Time(minutes) => world.pass(*minutes),
            Event::Crash(_) => world.pass(1),
            Event::Reboot(node) => world.machines[at(node)].reboot(),
            Event::Reimage(node) => world.machines[at(node)].reimage(),
            Event::Ready(node, ready) => world.machines[at(node)].set_ready(*ready, now),
            Event::Hold(node, held) => world.machines[at(node)].node.held = *held,
            Event::Select(node, wanted) => world.machines[at(node)].node.selected = *wanted,
            Event::Unlucky(node) => world.machines[at(node)].unlucky = true,
            Event::Change(number, bits) => {
                world.shim.spec.artifact = spec(*number).artifact;
                let target = world.target();
                world.bad.entry(target).or_insert(*bits);
            }
            Event::Pace(pace) => world.shim.spec.rollout.pace = *pace,
            Event::GiveUp(true) => world.annotate(crd::GIVEN_UP, &world.target()),
            Event::GiveUp(false) => {
                world.annotate(crd::GIVEN_UP, "");
                world.annotate(crd::RETRY, &now.to_string());
            }
            Event::Meddle(node) => world.machines[at(node)].installed = None,
            Event::Retry => world.annotate(crd::RETRY, &now.to_string()),
            Event::Mode(mode) => world.shim.spec.mode = *mode,
        }
    }
}

/// Every order of the plan is allowed, each with those before it.
fn allowed(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let mut world = world.clone();
    for action in &plan.actions {
        if let Action::Order { node, order } = action {
            order_is_allowed(&world, &plan.status, node, order)?;
            let limited =
                Plan { actions: vec![action.clone()], status: world.status(), refused: None };
            world.carry_out(&limited, usize::MAX);
            if order.action.disrupts() {
                room_is_kept(&world)?;
            }
        }
    }
    Ok(())
}

fn order_is_allowed(
    world: &World,
    status: &crd::WasmShimStatus,
    name: &str,
    order: &Order,
) -> Result<(), TestCaseError> {
    let rollout = &world.shim.spec.rollout;
    let machine = world.machines.iter().find(|it| it.node.name == name).expect("a node");
    prop_assert!(rollout.pace == Pace::Running, "paused");
    prop_assert!(!machine.node.held, "a hold is held");
    prop_assert!(machine.node.ready, "a node that is not ready is left alone");
    prop_assert!(machine.job.is_none() && machine.under_way().is_none(), "one thing at a time");
    let last_good = status.last_good_revision.as_ref() == Some(&order.revision);
    if order.action == crd::Action::Install {
        prop_assert!(
            !given_up(world) || order.revision != world.target(),
            "what was given up goes nowhere"
        );
    }
    let rejected = status.rejected.as_ref().map(|it| it.revision.as_str());
    if order.action == crd::Action::Install {
        prop_assert!(machine.node.selected && world.shim.metadata.deletion_timestamp.is_none());
        prop_assert!(rejected != Some(order.revision.as_str()), "a rejected revision goes nowhere");
    }
    if order.action == crd::Action::Remove {
        prop_assert!(!machine.node.proved, "pods may still come to {name}");
    }
    if order.action.disrupts() && !rollout.windows.is_empty() {
        let hour = world.now.to_zoned(jiff::tz::TimeZone::UTC).hour();
        prop_assert!(
            (2..5).contains(&hour) || (rejected.is_some() && last_good),
            "at {}",
            world.now
        );
    }
    Ok(())
}

/// So many nodes at once and no more.
fn room_is_kept(world: &World) -> Result<(), TestCaseError> {
    let rollout = &world.shim.spec.rollout;
    let deleting = world.shim.metadata.deletion_timestamp.is_some();
    let selected = world.machines.iter().filter(|it| it.node.selected).count();
    let lost = |node: &Node| !deleting && node.selected && !node.ready;
    let unavailable = world.machines.iter().filter(|it| it.disrupted() || lost(&it.node)).count();
    let limit = rollout.max_unavailable.of(selected);
    prop_assert!(unavailable <= limit, "{unavailable} nodes of {selected} at once, not {limit}");
    let under_way = world.machines.iter().filter(|it| it.under_way().is_some()).count();
    prop_assert!(under_way <= rollout.max_parallel as usize);
    Ok(())
}

/// Nobody new gets a revision whose wave has failed more often than it may.
fn budget_is_kept(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let target = world.target();
    let status = world.status();
    if status.last_good_revision.as_ref() == Some(&target) || status.retry != plan.status.retry {
        return Ok(());
    }
    let since = status.retry.as_ref().map(|retry| retry.since.0);
    for wave in &world.shim.spec.rollout.waves {
        let of_wave = world.machines.iter().filter(|it| {
            it.node.selected
                && it
                    .node
                    .decided
                    .as_ref()
                    .is_some_and(|last| last.revision == target && last.wave == wave.name)
        });
        let failed = of_wave.clone().filter(|it| {
            it.node.observed.as_ref().is_some_and(|seen| {
                seen.revision == target
                    && seen.machine_id == it.node.machine_id
                    && matches!(seen.outcome, Outcome::Failed | Outcome::Reverted)
                    && since.is_none_or(|since| seen.at.0 > since)
            })
        });
        let orders = plan.actions.iter().any(|action| match action {
            Action::Order { order, .. } => {
                order.revision == target && order.action == crd::Action::Install
            }
            _ => false,
        });
        let budget = world.shim.spec.rollout.failure_budget.of(of_wave.count());
        prop_assert!(failed.count() <= budget || !orders, "the budget of {} is spent", wave.name);
    }
    Ok(())
}

/// Who has the target in a wave before this one, or at all, has had it brought there in this try and told of it. But
/// for those that nobody can reach, or who let no agent in.
fn is_tried(
    world: &World,
    status: &crd::WasmShimStatus,
    before: usize,
) -> Result<(), TestCaseError> {
    let (target, waves) = (world.target(), &world.shim.spec.rollout.waves);
    let since = status.retry.as_ref().map(|retry| retry.since.0);
    for machine in &world.machines {
        let node = &machine.node;
        let Some(last) = node.decided.as_ref().filter(|last| last.revision == target) else {
            continue;
        };
        let wave = waves.iter().position(|wave| wave.name == last.wave);
        let is_meant = wave.is_some_and(|wave| wave < before) && node.selected;
        let is_known = node.observed.as_ref().is_none_or(|it| it.machine_id == node.machine_id);
        if !is_meant || !is_known || node.held || !node.ready {
            continue;
        }
        // One that was set up anew in the midst of a look has drifted, which is mended or told of.
        let looked = |it: &Observation| it.action == crd::Action::Verify;
        let drifted = node.observed.as_ref().is_some_and(looked);
        let tried = machine.tried.as_ref().is_some_and(|tried| {
            tried.revision == target
                && (tried.machine_id == node.machine_id || drifted)
                && (!tried.failed || since.is_none_or(|since| tried.at > since))
        });
        prop_assert!(tried, "{machine:?} was not tried since {since:?}");
    }
    Ok(())
}

fn waves_are_kept(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let (target, was) = (world.target(), world.status());
    let is_good =
        |status: &crd::WasmShimStatus| status.last_good_revision.as_ref() == Some(&target);
    if is_good(&was) {
        return Ok(());
    }
    let waves = &world.shim.spec.rollout.waves;
    if is_good(&plan.status) {
        is_tried(world, &plan.status, waves.len())?;
    }
    for action in &plan.actions {
        let Action::Order { node, order } = action else { continue };
        let wave = waves.iter().position(|wave| wave.name == order.wave);
        // Who has it already is made as it was at any time.
        let machine = world.machines.iter().find(|it| it.node.name == *node).expect("a node");
        let has = machine.tried.as_ref().is_some_and(|it| it.revision == target && !it.failed);
        if let Some(wave) = wave.filter(|_| order.revision == target && !has) {
            is_tried(world, &plan.status, wave)?;
        }
    }
    Ok(())
}

fn settle(world: &mut World, minutes: usize) -> Result<(), TestCaseError> {
    for _ in 0..minutes {
        let plan = world.look();
        allowed(world, &plan)?;
        budget_is_kept(world, &plan)?;
        waves_are_kept(world, &plan)?;
        world.carry_out(&plan, usize::MAX);
        world.pass(5);
    }
    Ok(())
}

fn given_up(world: &World) -> bool {
    let annotations = world.shim.metadata.annotations.clone().unwrap_or_default();
    annotations.get(crd::GIVEN_UP) == Some(&world.target())
}

fn converged(world: &World) -> Result<(), TestCaseError> {
    let status = world.status();
    let target = world.target();
    for machine in &world.machines {
        let node = &machine.node;
        prop_assert!(machine.under_way().is_none() || node.observed.is_some(), "{machine:?}");
        if !node.selected {
            prop_assert!(machine.installed.is_none() && !node.proved, "{machine:?}");
            continue;
        }
        let seen = node.observed.as_ref();
        let at_target = seen.is_some_and(|seen| seen.revision == target);
        match &status.rejected {
            None if world.bad.get(&target).is_none_or(|bits| *bits == 0) => {
                prop_assert!(at_target && node.proved, "{machine:?} {status:?}");
                prop_assert_eq!(machine.installed.as_ref(), Some(&target));
            }
            // Where the good one works, every node is back at it.
            Some(rejected) if given_up(world) && status.last_good_revision.is_some() => {
                prop_assert_ne!(status.last_good_revision.as_ref(), Some(&rejected.revision));
                let good = status.last_good_revision.as_ref().expect("it is");
                if world.bad.get(good).is_none_or(|bits| *bits == 0) {
                    prop_assert_eq!(machine.installed.as_ref(), Some(good), "{:?}", status);
                    prop_assert!(node.proved, "{machine:?} {status:?}");
                }
            }
            Some(_) if rolls_back(world) && status.last_good_revision.is_some() => {
                let bad = seen.is_some_and(|seen| seen.outcome == Outcome::Reverted);
                prop_assert!(!(at_target && bad), "{machine:?} {status:?}");
            }
            _ => {}
        }
    }
    Ok(())
}

proptest! {

    #[test]
    fn a_rollout_keeps_its_word(mut world in world(), events in proptest::collection::vec(event(), 0..60)) {
        for event in &events {
            event.happen(&mut world);
            let plan = world.look();
            allowed(&world, &plan)?;
            budget_is_kept(&world, &plan)?;
            waves_are_kept(&world, &plan)?;
            let steps = if let Event::Crash(steps) = event { *steps } else { usize::MAX };
            world.carry_out(&plan, steps);
        }
        calm(&mut world);
        world.shim.spec.rollout.windows.clear();
        settle(&mut world, 250)?;
        converged(&world)?;
        world.delete();
        settle(&mut world, 150)?;
        prop_assert!(world.released, "{:?}", world.status());
    }

    /// Who decides on what is not true any more gives no second order, and makes no second Job.
    #[test]
    fn two_who_decide_do_not_add_up(mut world in world(), events in proptest::collection::vec(event(), 1..40)) {
        let mut old = world.look();
        for event in &events {
            event.happen(&mut world);
            let plan = world.look();
            let orders = |plan: &Plan| Plan {
                refused: None,
                actions: plan.actions.iter().filter(|it| matches!(it, Action::Order { .. })).cloned().collect(),
                status: plan.status.clone(),
            };
            // The other one's status is refused by the object's version; its orders are not.
            let late = Plan { status: plan.status.clone(), ..orders(&old) };
            world.carry_out(&plan, usize::MAX);
            let before: Vec<_> = world.machines.iter().map(|it| it.node.decided.clone()).collect();
            world.carry_out(&late, usize::MAX);
            for (machine, before) in world.machines.iter().zip(before) {
                let busy = machine.job.is_some();
                prop_assert!(!busy || machine.node.decided == before);
            }
            old = plan;
        }
    }
}
