//! Which answers a correct runtime may give.
//!
//! A [`Tale`] is what is known of one container: all states that it may be in. Every answer leaves only those
//! states that explain it; when none is left, the answer was wrong. Calls that were under way together may have
//! been taken in any order, so every order is tried; an end may come between any two, once there is a cause for
//! one ([`Tale::ends`]). Whatever is asked while a program that takes part in the answer is killed may have
//! been done or not.
//!
//! ```text
//!  Gone ─Create─► Created ─Start─► Running ─Pause─► Paused
//!   ▲               │  │            │  ▲              │ │
//!   │               │  └──── end ───┤  └────Resume────┘ │
//!   └────Delete─────┴── Stopped ◄───┴───────end─────────┘
//! ```

use std::collections::BTreeSet;

use super::table::{deleted, exec_outcomes, task_outcomes};
use super::{EXECS, Inner, Program, Verb};

pub use super::table::{Answer, Heard, Life, World};

/// What befell the container while it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// One of its processes was killed.
    Guest,
    /// A program that its shim works with was killed: what was asked may have failed, wholly or in part.
    Helper,
    /// Its shim was killed. What is left of the container afterwards is found out by [`Tale::settle`].
    Shim,
    /// containerd was killed or stopped: any answer may be lost.
    Containerd,
}

/// What is known of one container.
#[derive(Clone, Debug)]
pub struct Tale {
    worlds: BTreeSet<World>,
    program: Program,
    /// Exit codes that there is a cause for. As long as it is empty the program may not end.
    ends: BTreeSet<u32>,
    told: Option<u32>,
    execs: [ExecTale; EXECS],
}

#[derive(Clone, Debug, Default)]
struct ExecTale {
    inner: Option<Inner>,
    ends: BTreeSet<u32>,
    told: Option<u32>,
}

impl Default for Tale {
    fn default() -> Tale {
        Tale {
            worlds: BTreeSet::from([World::NOTHING]),
            program: Program::Sleep,
            ends: BTreeSet::new(),
            told: None,
            execs: Default::default(),
        }
    }
}

impl Tale {
    /// It is sure that there is no task.
    pub fn is_gone(&self) -> bool {
        self.worlds.iter().all(|world| world.task == Life::Gone)
    }

    pub fn may_be_gone(&self) -> bool {
        self.worlds.iter().any(|world| world.task == Life::Gone)
    }

    fn may_be_created(&self) -> bool {
        self.worlds.iter().any(|world| world.task == Life::Created)
    }

    pub fn program(&self) -> Program {
        self.program
    }

    /// In words, for who has to find out what went wrong.
    pub fn told(&self) -> String {
        let worlds: Vec<String> =
            self.worlds.iter().map(|world| format!("{:?}{:?}", world.task, world.execs)).collect();
        format!("{:?} {} ends {:?}", self.program, worlds.join(" or "), self.ends)
    }

    /// Takes in what was answered to calls that were under way together.
    pub fn hear(&mut self, heard: &[Heard], trouble: Trouble) -> Result<(), String> {
        if let Some(silent) = heard.iter().find(|heard| heard.answer == Answer::Silence) {
            return Err(format!("no answer to {:?}", silent.verb));
        }
        self.causes(heard, trouble);
        let mut after = BTreeSet::new();
        let mut left: Vec<&Heard> = heard.iter().collect();
        let all: Vec<&Heard> = heard.iter().collect();
        self.orders(&self.drifted(self.worlds.clone()), &mut left, &all, trouble, &mut after);
        if after.is_empty() {
            return Err(format!("no state explains {heard:?}: before, it was {}", self.told()));
        }
        self.worlds = after;
        self.codes(heard)?;
        if matches!(trouble, Trouble::Shim) {
            self.forget_causes_of_the_dead();
        }
        if self.is_gone() {
            self.reset();
        }
        Ok(())
    }

    /// After its shim or containerd was killed: whether the task is still known, as State tells it now.
    pub fn settle(&mut self, known: bool) {
        self.worlds.retain(|world| (world.task != Life::Gone) == known);
        if self.worlds.is_empty() {
            self.worlds.insert(match known {
                true => World { task: Life::Created, ..World::NOTHING },
                false => World::NOTHING,
            });
        }
        if self.is_gone() {
            self.reset();
        }
    }

    /// A containerd that comes back may clean up a task that has ended (`core/runtime/v2/shim_load.go`).
    pub fn reloaded(&mut self) {
        let stopped = self.drifted(self.worlds.clone());
        if stopped.iter().any(|world| world.task == Life::Stopped) {
            self.worlds.insert(World::NOTHING);
        }
    }

    /// One of its processes is killed.
    pub fn struck(&mut self) {
        self.ends.insert(137);
        for exec in &mut self.execs {
            exec.ends.insert(137);
        }
    }

    fn reset(&mut self) {
        *self = Tale { program: self.program, ..Tale::default() };
    }

    /// The task was lost with its shim; a new one of the same move begins anew.
    fn forget_causes_of_the_dead(&mut self) {
        self.told = None;
        self.execs = Default::default();
    }

    /// Causes of an end that these calls are.
    fn causes(&mut self, heard: &[Heard], trouble: Trouble) {
        if trouble != Trouble::None && trouble != Trouble::Containerd {
            self.struck();
        }
        if trouble == Trouble::Helper {
            // An init that runc does not come to release fails by itself.
            self.ends.insert(255);
        }
        for Heard { exec, verb, answer } in heard {
            if *answer == Answer::NotFound && trouble == Trouble::None {
                continue;
            }
            match (exec, verb) {
                (None, Verb::Create(program))
                    if self.may_be_gone() && (answer.is_ok() || trouble != Trouble::None) =>
                {
                    self.program = *program;
                }
                (None, Verb::Start) => self.ends.extend(self.program.own_end()),
                (None, Verb::Kill { signal, all }) if *signal != 0 && *signal != 28 => {
                    self.ends.extend([137, 128 + signal]);
                    // runc's own init, before the start, is a program of Go: it catches what it can.
                    self.ends.extend((self.may_be_created()).then_some(2));
                    // A service ends what it does and then itself; the script has a trap.
                    self.ends.extend(match self.program {
                        Program::Service => Some(0),
                        Program::Native => Some(3),
                        _ => None,
                    });
                    for exec in self.execs.iter_mut().filter(|_| *all) {
                        exec.ends.insert(128 + signal);
                    }
                }
                (Some(exec), Verb::Add(inner)) if answer.is_ok() => {
                    self.execs[*exec] = ExecTale { inner: Some(*inner), ..ExecTale::default() };
                }
                (Some(exec), Verb::Start) => {
                    let tale = &mut self.execs[*exec];
                    tale.ends.extend(tale.inner.and_then(Inner::own_end));
                    if tale.inner == Some(Inner::Itself) {
                        tale.ends.extend(self.program.own_end());
                        // The port is taken.
                        tale.ends.extend((self.program == Program::Service).then_some(1));
                    }
                }
                (Some(exec), Verb::Kill { signal, .. }) if *signal != 0 && *signal != 28 => {
                    self.execs[*exec].ends.extend([137, 128 + signal]);
                }
                _ => {}
            }
        }
    }

    /// All orders of the calls that are `left`, from each of the worlds.
    fn orders(
        &self,
        worlds: &BTreeSet<World>,
        left: &mut Vec<&Heard>,
        all: &[&Heard],
        trouble: Trouble,
        after: &mut BTreeSet<World>,
    ) {
        if left.is_empty() {
            after.extend(worlds);
            return;
        }
        for next in 0..left.len() {
            let heard = left.remove(next);
            let mut explained = BTreeSet::new();
            for world in worlds {
                explained.extend(self.explain(*world, heard, all, trouble));
            }
            if !explained.is_empty() {
                self.orders(&self.drifted(explained), left, all, trouble, after);
            }
            left.insert(next, heard);
        }
    }

    /// The worlds after this answer, if it may be given in this one.
    fn explain(&self, world: World, heard: &Heard, all: &[&Heard], trouble: Trouble) -> Vec<World> {
        let (ok, refused) = self.outcomes(world, heard, all);
        let doubtful = match trouble {
            Trouble::None => false,
            // It is only while it is made, and as an exec is started, that the end of a process is a failure.
            Trouble::Guest => matches!(heard.verb, Verb::Create(_) | Verb::Start),
            Trouble::Helper | Trouble::Shim | Trouble::Containerd => true,
        };
        if doubtful {
            return ok.into_iter().chain([world]).collect();
        }
        match &heard.answer {
            answer if !answer.is_ok() => match refused || self.is_ending(world) {
                true => vec![world],
                false => vec![],
            },
            Answer::State(seen, _) => {
                let (task, paused) = (world.task, world.task == Life::Paused);
                let is = match heard.exec {
                    Some(_) if paused => Life::Paused,
                    Some(exec) => world.execs[exec],
                    None => task,
                };
                // One that is deleted unstarted is killed first, and may be seen to be dead.
                let dying = heard.exec.is_none()
                    && (is, *seen) == (Life::Created, Some(Life::Stopped))
                    && deleted(all.iter().copied());
                ok.into_iter().filter(|_| *seen == Some(is) || dying).collect()
            }
            _ => ok.into_iter().collect(),
        }
    }

    /// Init may be gone, and not told to be before its execs are: most is refused then.
    fn is_ending(&self, world: World) -> bool {
        !self.ends.is_empty() && world.execs.contains(&Life::Running)
    }

    /// The world after the call if it is done, and whether it may be refused.
    fn outcomes(&self, world: World, heard: &Heard, all: &[&Heard]) -> (Option<World>, bool) {
        match heard.exec {
            Some(exec) => {
                let missing = self.execs[exec].inner == Some(Inner::Missing);
                exec_outcomes(world, exec, heard.verb, missing, !self.ends.is_empty())
            }
            None => task_outcomes(world, heard.verb, all),
        }
    }

    /// `worlds`, and those that ends may have made of them.
    fn drifted(&self, worlds: BTreeSet<World>) -> BTreeSet<World> {
        let mut all = BTreeSet::new();
        for world in worlds {
            let live = matches!(world.task, Life::Created | Life::Running | Life::Paused);
            let mut tasks = vec![world.task];
            tasks.extend((live && !self.ends.is_empty()).then_some(Life::Stopped));
            for task in tasks {
                let mut execs = vec![world.with(task)];
                for exec in 0..EXECS {
                    let may_end = !self.execs[exec].ends.is_empty() || !self.ends.is_empty();
                    let ended =
                        execs.iter().filter(|world| may_end && world.execs[exec] == Life::Running);
                    let ended: Vec<_> =
                        ended.map(|world| world.with_exec(exec, Life::Stopped)).collect();
                    execs.extend(ended);
                }
                // An end of init is told after those of its execs.
                let told = |world: &World| {
                    world.task != Life::Stopped || !world.execs.contains(&Life::Running)
                };
                all.extend(execs.into_iter().filter(told));
            }
        }
        all
    }

    /// A code must have a cause, and stays what it was.
    fn codes(&mut self, heard: &[Heard]) -> Result<(), String> {
        for Heard { exec, verb, answer } in heard {
            let code = match answer {
                Answer::State(Some(Life::Stopped), code) => *code,
                Answer::Exit(code) => *code,
                _ => continue,
            };
            // A task that never ran ends with 137, and its exec with 0.
            let never_ran = *verb == Verb::Delete || deleted(heard);
            let (told, ends) = match exec {
                None => (&mut self.told, self.ends.clone()),
                Some(exec) => {
                    let tale = &mut self.execs[*exec];
                    let mut ends = tale.ends.clone();
                    ends.extend((!self.ends.is_empty()).then_some(137));
                    (&mut tale.told, ends)
                }
            };
            let known = ends.contains(&code) || (never_ran && [0, 137].contains(&code));
            if !known {
                return Err(format!("{exec:?} {verb:?}: nothing ends with {code}, only {ends:?}"));
            }
            if told.is_some_and(|told| told != code) {
                return Err(format!("{exec:?} {verb:?}: {code} now, and {told:?} before"));
            }
            *told = Some(code);
        }
        for (exec, tale) in self.execs.iter_mut().enumerate() {
            if self.worlds.iter().all(|world| world.execs[exec] == Life::Gone) {
                *tale = ExecTale::default();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
