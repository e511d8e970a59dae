//! Whatever the order: each call is answered once, events keep their order, nothing stays behind.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::World;
use crate::lifecycle::*;

/// Everything that can happen next in this world.
fn choices(world: &World) -> Vec<fn(&mut World)> {
    let mut all: Vec<fn(&mut World)> = vec![
        |w| drop(w.called(Call::Create { id: "c".into(), creation: Creation::default() })),
        |w| drop(w.task(TaskCall::Start)),
        |w| drop(w.task(TaskCall::Wait)),
        |w| drop(w.task(TaskCall::Delete)),
        |w| drop(w.task(TaskCall::Kill { signal: 9, all: false })),
        |w| drop(w.task(TaskCall::Pause)),
        |w| drop(w.task(TaskCall::Resume)),
        |w| drop(w.task(TaskCall::Exec { exec: "e".into(), stdio: Stdio::default() })),
        |w| drop(w.exec("e", ExecCall::Start)),
        |w| drop(w.exec("e", ExecCall::Wait)),
        |w| drop(w.exec("e", ExecCall::Delete)),
        |w| drop(w.called(Call::Shutdown)),
    ];
    let of_pod: [fn(&mut World); 5] = [
        |w| drop(w.pod(PodCall::Create)),
        |w| drop(w.pod(PodCall::Start)),
        |w| drop(w.pod(PodCall::Wait)),
        |w| drop(w.pod(PodCall::Stop)),
        |w| drop(w.pod(PodCall::Shutdown)),
    ];
    all.extend(of_pod.iter().filter(|_| world.has_pods));
    all.extend(under_way(world));
    all
}

/// What has been set going and comes about sooner or later.
fn under_way(world: &World) -> Vec<fn(&mut World)> {
    let mut all: Vec<fn(&mut World)> = vec![];
    let mut when = |there: bool, what: fn(&mut World)| {
        if there {
            all.push(what);
        }
    };
    // A guest on its way may end at any time; Ready can't come of one that has.
    let dead = world.held.contains(&Step::Guest) && !world.guest;
    when(world.step.is_some() && !(dead && world.aborted), |w| drop(w.done()));
    when(world.step.is_some(), |w| drop(w.failed(None)));
    when(world.guest, |w| drop(w.exited(Ended::Signal(9), false)));
    when(world.guest, |w| drop(w.exited(Ended::Signal(9), true)));
    when(world.guest, |w| drop(w.reported(Report::Oom)));
    when(world.undoing.is_some(), |w| drop(w.undone()));
    when(world.releasing, |w| drop(w.released(None)));
    when(world.releasing, |w| drop(w.released(Some("exec format error"))));
    when(world.poststart, |w| {
        w.poststart = false;
        w.reported(Report::Poststarted { failure: None });
    });
    when(world.draining, |w| {
        w.draining = false;
        w.reported(Report::Drained);
    });
    when(world.deadline, |w| {
        w.deadline = false;
        w.reported(Report::DrainDeadline);
    });
    when(!world.freezing.is_empty(), |w| {
        let ticket = w.freezing.remove(0);
        w.reported(Report::Frozen { ticket, failure: None });
    });
    when(!world.thawing.is_empty(), |w| {
        let ticket = w.thawing.remove(0);
        w.reported(Report::Thawed { ticket, failure: None });
    });
    when(!world.starting_execs.is_empty(), |w| {
        let exec = w.starting_execs.remove(0);
        w.execs.push(exec.clone());
        w.reported(Report::ExecStarted { exec, pid: 8 });
    });
    when(!world.starting_execs.is_empty(), |w| {
        let exec = w.starting_execs.remove(0);
        let why = Denied::new(Code::NotFound, "no such program");
        w.reported(Report::ExecFailed { exec, why });
    });
    when(world.letting_go, |w| drop(w.of_pod(PodReport::LetGone { at: Time::default() })));
    when(world.holding, |w| drop(w.of_pod(PodReport::Held { pid: 5, at: Time::default() })));
    when(world.holding, |w| {
        let why = Denied::new(Code::FailedPrecondition, "no such namespace");
        w.of_pod(PodReport::HoldFailed { why });
    });
    when(!world.execs.is_empty(), |w| {
        let exec = w.execs.remove(0);
        let exit = super::world::exit(Ended::Code(0));
        w.reported(Report::ExecExited { exec, exit });
    });
    all
}

/// Lets everything end that is under way, ends the task, and looks at what was said.
fn conclude(world: &mut World) {
    for _ in 0..64 {
        while let Some(next) = under_way(world).first() {
            next(world);
        }
        if world.ledger.is_empty() {
            break;
        }
        world.task(TaskCall::Kill { signal: 9, all: false });
        world.task(TaskCall::Delete);
        world.pod(PodCall::Shutdown);
    }
    assert!(world.ledger.is_empty(), "the task does not go: {:?}", world.ledger);
    assert_eq!(world.held, [], "steps are not undone");
    assert!(!world.guest, "a guest is left");
    assert!(world.execs.is_empty(), "an exec is left");
    assert_eq!((world.holding, world.held_by), (false, None), "a pod is held");
    answered_once(world);
    for life in lives(&world.log) {
        in_order(&life);
    }
}

fn answered_once(world: &World) {
    let mut answers = BTreeMap::<Ticket, u32>::new();
    for effect in &world.log {
        if let Effect::Reply { ticket, .. }
        | Effect::ReplyPids { ticket, .. }
        | Effect::ReplyStats { ticket, .. }
        | Effect::ReplyUpdate { ticket, .. }
        | Effect::ReplyResize { ticket, .. }
        | Effect::ReplyPodStats { ticket } = effect
        {
            *answers.entry(*ticket).or_default() += 1;
        }
    }
    for ticket in 1..=world.tickets {
        assert_eq!(answers.get(&ticket), Some(&1), "answers to call {ticket} in {:?}", world.log);
    }
}

/// The notices of each task that had the id, one after the other.
fn lives(log: &[Effect]) -> Vec<Vec<&Notice>> {
    let mut lives = vec![];
    for effect in log {
        let Effect::Publish { notice } = effect else { continue };
        if matches!(notice, Notice::Create { .. }) {
            lives.push(vec![]);
        }
        lives
            .last_mut()
            .expect("a task is created before anything else is told of it")
            .push(notice);
    }
    lives
}

fn in_order(life: &[&Notice]) {
    let at = |what: fn(&Notice) -> bool| -> Vec<usize> {
        (0..life.len()).filter(|i| what(life[*i])).collect()
    };
    let exits = at(|n| matches!(n, Notice::Exit { key, .. } if key.exec.is_none()));
    let starts = at(|n| matches!(n, Notice::Start { .. }));
    let ooms = at(|n| matches!(n, Notice::Oom { .. }));
    let started = at(|n| matches!(n, Notice::ExecStarted { .. }));
    let ended = at(|n| matches!(n, Notice::Exit { key, .. } if key.exec.is_some()));
    let deleted = at(|n| matches!(n, Notice::Delete { .. }));
    assert_eq!(exits.len(), 1, "one exit: {life:?}");
    assert_eq!(started.len(), ended.len(), "an exit for each exec: {life:?}");
    assert!(started.iter().zip(&ended).all(|(start, end)| start < end), "{life:?}");
    assert!(starts.len() <= 1 && ooms.len() <= 1, "{life:?}");
    assert!(starts.iter().chain(&ooms).chain(&ended).all(|at| *at < exits[0]), "{life:?}");
    assert_eq!(deleted, [life.len() - 1], "deleted once and last: {life:?}");
}

/// Whether that was the end: the shutdown of a sandbox is, whatever is left of its pod. containerd cleans up after each
/// task whose shim is gone.
fn left(world: &mut World) -> bool {
    let left = std::mem::replace(&mut world.left, false);
    assert!(!left || world.shut_down || world.ledger.is_empty(), "left with tasks");
    left && world.shut_down
}

fn explore(world: &World, depth: u32, seen: &mut u64) {
    *seen += 1;
    conclude(&mut world.clone());
    if depth == 0 {
        return;
    }
    for choice in choices(world) {
        let mut next = world.clone();
        choice(&mut next);
        if left(&mut next) {
            continue;
        }
        explore(&next, depth - 1, seen);
    }
}

#[test]
fn all_short_orders_keep_the_rules() {
    let mut seen = 0;
    let mut created = World::default();
    created.called(Call::Create { id: "c".into(), creation: Creation::default() });
    for ready in 0..=6 {
        let mut world = created.clone();
        (0..ready).for_each(|_| drop(world.done()));
        explore(&world, 3, &mut seen);
    }
    let mut running = created;
    (0..6).for_each(|_| drop(running.done()));
    running.task(TaskCall::Start);
    explore(&running, 3, &mut seen);
    running.released(None);
    explore(&running, 4, &mut seen);
    assert!(seen > 50_000, "{seen} orders are too few to mean anything");
}

#[test]
fn all_short_orders_of_a_sandbox_keep_the_rules() {
    let mut seen = 0;
    explore(&World { has_pods: true, ..World::default() }, 3, &mut seen);
    assert!(seen > 2_000, "{seen} orders are too few to mean anything");
}

proptest! {
    #[test]
    fn long_orders_keep_the_rules(picks in prop::collection::vec(any::<u16>(), 0..120)) {
        let mut world = World { has_pods: true, ..World::default() };
        for pick in picks {
            let all = choices(&world);
            all[usize::from(pick) % all.len()](&mut world);
            if left(&mut world) {
                return Ok(());
            }
        }
        conclude(&mut world);
    }
}
