//! What each call does in each state, and where it may be refused: containerd's contract, one call at a time.

use super::{EXECS, Verb};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    Gone,
    Created,
    Running,
    Paused,
    Stopped,
}

/// A state that a container and its execs may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct World {
    pub task: Life,
    pub execs: [Life; EXECS],
}

impl World {
    pub(super) const NOTHING: World = World { task: Life::Gone, execs: [Life::Gone; EXECS] };

    pub(super) fn with(self, task: Life) -> World {
        World { task, ..self }
    }

    pub(super) fn with_exec(mut self, exec: usize, life: Life) -> World {
        self.execs[exec] = life;
        self
    }
}

/// What was answered, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// With the exit code, if it has stopped. A status that means nothing is `None`.
    State(Option<Life>, u32),
    Exit(u32),
    NotFound,
    Refused,
    /// Nothing came within the time that any call may take.
    Silence,
}

impl Answer {
    pub(super) fn is_ok(&self) -> bool {
        matches!(self, Answer::Done | Answer::State(..) | Answer::Exit(_))
    }
}

/// A call and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub exec: Option<usize>,
    pub verb: Verb,
    pub answer: Answer,
}

/// The task is deleted by one of the calls.
pub(super) fn deleted<'a>(heard: impl IntoIterator<Item = &'a Heard>) -> bool {
    heard.into_iter().any(|heard| (heard.exec, heard.verb) == (None, Verb::Delete))
}

/// The world after a call to the task itself if it is done, and whether it may be refused.
pub(super) fn task_outcomes(world: World, verb: Verb, all: &[&Heard]) -> (Option<World>, bool) {
    use Life as L;
    let same = Some(world);
    match (world.task, verb) {
        // Who kills or deletes a task that is being created gets what they want.
        (L::Gone, Verb::Create(_)) => {
            let unwanted =
                all.iter().any(|heard| matches!(heard.verb, Verb::Kill { .. } | Verb::Delete));
            (Some(World { task: L::Created, ..World::NOTHING }), unwanted)
        }
        (L::Gone, Verb::Kill { .. }) => {
            let creating = all.iter().any(|heard| matches!(heard.verb, Verb::Create(_)));
            (same.filter(|_| creating), true)
        }
        // containerd remembers for the second what it told the first (`core/runtime/v2/shim.go`, `delete`).
        (L::Gone, Verb::Delete) => {
            let deletes =
                all.iter().filter(|heard| heard.verb == Verb::Delete && heard.exec.is_none());
            (same.filter(|_| deletes.count() > 1), true)
        }
        (L::Gone, _) => (None, true),
        (_, Verb::Create(_)) => (None, true),
        (_, Verb::State) => (same, false),
        (L::Created, Verb::Start) => (Some(world.with(L::Running)), false),
        (_, Verb::Start) => (None, true),
        // One that is being started runs as far as Delete can know, though the start may fail.
        (L::Created | L::Stopped, Verb::Delete) => {
            let starts = |heard: &&Heard| (heard.exec, heard.verb) == (None, Verb::Start);
            (Some(World::NOTHING), all.iter().any(starts))
        }
        (_, Verb::Delete) => (None, true),
        (L::Stopped, Verb::Kill { all, .. }) => (same.filter(|_| all), true),
        (L::Paused, Verb::Kill { signal: 9, .. }) => (Some(world.with(L::Running)), false),
        (_, Verb::Kill { .. }) => (same, false),
        (L::Running, Verb::Pause) => (Some(world.with(L::Paused)), false),
        // Two that come together may both have their wish.
        (L::Paused, Verb::Pause) | (L::Running, Verb::Resume) => (same, true),
        (L::Paused, Verb::Resume) => (Some(world.with(L::Running)), false),
        (_, Verb::Pause | Verb::Resume) => (None, true),
        (L::Stopped, Verb::Update) => (None, true),
        (_, Verb::Update) => (same, false),
        (L::Stopped, Verb::Pids | Verb::Stats | Verb::CloseStdin | Verb::Resize) => (same, true),
        (_, Verb::Pids | Verb::Stats | Verb::CloseStdin | Verb::Resize) => (same, false),
        (_, Verb::Wait | Verb::Add(_)) => (same, true),
    }
}

/// The same for a call to one of its execs. `missing`: there is no such program; `doomed`: the task may end.
pub(super) fn exec_outcomes(
    world: World,
    exec: usize,
    verb: Verb,
    missing: bool,
    doomed: bool,
) -> (Option<World>, bool) {
    use Life as L;
    let live = matches!(world.task, L::Created | L::Running);
    let same = Some(world);
    match (world.execs[exec], verb) {
        (_, Verb::Add(_)) if world.task == L::Gone => (None, true),
        (L::Gone, Verb::Add(_)) if live => (Some(world.with_exec(exec, L::Created)), false),
        (_, Verb::Add(_)) => (None, true),
        (L::Gone, _) => (None, true),
        // A created task has its sandbox, so its execs start (CONFORMANCE.md, exec.in-created).
        (L::Created, Verb::Start) if missing => (None, true),
        (L::Created, Verb::Start) if live => (Some(world.with_exec(exec, L::Running)), doomed),
        (L::Created, Verb::Start) => (None, true),
        (_, Verb::Start) => (None, true),
        (_, Verb::State) => (same, false),
        (L::Running, Verb::Kill { .. }) => (same, false),
        (_, Verb::Kill { .. }) => (None, true),
        (L::Running, Verb::Delete) => (None, true),
        (_, Verb::Delete) => (Some(world.with_exec(exec, L::Gone)), false),
        (_, _) => (same, true),
    }
}
