//! What will be done, out of a seed.
//!
//! The plan guesses in which state each container will be, so that most calls mean something; where it guesses
//! wrong, because a program was killed or ended sooner, the call is one more that must be refused.

use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::{Blow, EXECS, Inner, Move, Op, Program, SLOTS, Verb, Victim, companions};

/// The most calls of a move, and the most moves of a round.
const CALLS: usize = 4;
const MOVES: usize = 4;
/// The most calls to one container at the same time: the model tries every order.
const AT_ONCE: usize = 3;
/// Microseconds between the calls of a move and its blow.
const DELAY: u64 = 40_000;

/// As far as can be known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guess {
    Nothing,
    Created,
    Running,
    Paused,
    Stopped,
}

/// Rounds without end. The same seed makes the same rounds, on every machine and for ever: the generator is
/// one that its authors keep as it is.
#[derive(Debug)]
pub struct Plan {
    random: ChaCha8Rng,
    guesses: [Guess; SLOTS],
    programs: [Program; SLOTS],
    execs: [[Guess; EXECS]; SLOTS],
}

impl Plan {
    pub fn new(seed: u64) -> Plan {
        Plan {
            random: ChaCha8Rng::seed_from_u64(seed),
            guesses: [Guess::Nothing; SLOTS],
            programs: [Program::Sleep; SLOTS],
            execs: [[Guess::Nothing; EXECS]; SLOTS],
        }
    }

    /// Everything has been deleted.
    pub fn clear(&mut self) {
        self.guesses = [Guess::Nothing; SLOTS];
        self.execs = [[Guess::Nothing; EXECS]; SLOTS];
    }

    pub fn round(&mut self) -> Vec<Move> {
        let moves = self.random.random_range(1..=MOVES);
        (0..moves).map(|_| self.one_move()).collect()
    }

    fn one_move(&mut self) -> Move {
        let calls = self.random.random_range(1..=CALLS);
        let mut ops: Vec<Op> = Vec::new();
        for _ in 0..calls {
            // Often the same container again: two calls from two threads.
            let again = ops.last().filter(|_| self.random.random_bool(0.3)).map(|op| op.slot);
            let slot = again.unwrap_or_else(|| self.random.random_range(0..SLOTS));
            if ops.iter().filter(|op| op.slot == slot).count() == AT_ONCE {
                continue;
            }
            let op = self.op(slot);
            self.expect(&op);
            ops.push(op);
        }
        let blow = self.random.random_bool(0.22).then(|| {
            let delay = self.random.random_range(0..DELAY);
            (delay, self.blow(&ops))
        });
        Move { ops, blow }
    }

    fn op(&mut self, slot: usize) -> Op {
        let exec = self.random.random_range(0..EXECS);
        let guess = self.guesses[slot];
        let inner = self.execs[slot][exec];
        let about_exec = match guess {
            Guess::Running => 0.45,
            Guess::Created | Guess::Paused | Guess::Stopped => 0.1,
            Guess::Nothing => 0.02,
        };
        if self.random.random_bool(about_exec) {
            let verb = self.exec_verb(inner);
            return Op { slot, exec: Some(exec), verb };
        }
        Op { slot, exec: None, verb: self.task_verb(guess) }
    }

    fn task_verb(&mut self, guess: Guess) -> Verb {
        let create = Verb::Create(self.program());
        let kill = self.kill();
        let wild = self.random.random_bool(0.1);
        let likely: &[(Verb, u32)] = match guess {
            _ if wild => &[
                (create, 1),
                (Verb::Start, 1),
                (Verb::Delete, 1),
                (Verb::Pause, 1),
                (Verb::Resume, 1),
                (Verb::Wait, 1),
                (Verb::Stats, 1),
                (Verb::Pids, 1),
                (Verb::Update, 1),
                (Verb::CloseStdin, 1),
                (Verb::Resize, 1),
                (kill, 2),
            ],
            Guess::Nothing => &[(create, 12), (Verb::State, 1), (Verb::Wait, 1), (kill, 1)],
            Guess::Created => &[
                (Verb::Start, 14),
                (Verb::Wait, 3),
                (Verb::State, 2),
                (Verb::Stats, 1),
                (Verb::Pids, 1),
                (Verb::Update, 1),
                (Verb::CloseStdin, 1),
                (Verb::Delete, 2),
                (kill, 2),
            ],
            Guess::Running => &[
                (kill, 6),
                (Verb::Pause, 4),
                (Verb::State, 2),
                (Verb::Wait, 2),
                (Verb::Pids, 2),
                (Verb::Stats, 2),
                (Verb::Update, 2),
                (Verb::CloseStdin, 2),
                (Verb::Resize, 1),
                (Verb::Delete, 1),
            ],
            Guess::Paused => &[
                (Verb::Resume, 6),
                (kill, 3),
                (Verb::State, 1),
                (Verb::Stats, 1),
                (Verb::Pids, 1),
                (Verb::Update, 1),
                (Verb::Delete, 1),
            ],
            Guess::Stopped => &[
                (Verb::Delete, 8),
                (Verb::State, 2),
                (Verb::Wait, 2),
                (Verb::Stats, 1),
                (Verb::Pids, 1),
                (kill, 1),
            ],
        };
        self.of(likely)
    }

    fn exec_verb(&mut self, guess: Guess) -> Verb {
        let add = Verb::Add(*Inner::ALL.choose(&mut self.random).expect("there are some"));
        let kill = self.kill();
        let likely: &[(Verb, u32)] = match guess {
            Guess::Nothing => &[(add, 10), (Verb::State, 1), (kill, 1)],
            Guess::Created => {
                &[(Verb::Start, 8), (Verb::Wait, 2), (Verb::State, 1), (Verb::Delete, 1), (kill, 1)]
            }
            Guess::Running | Guess::Paused => &[
                (kill, 5),
                (Verb::Wait, 2),
                (Verb::State, 2),
                (Verb::CloseStdin, 2),
                (Verb::Resize, 1),
                (Verb::Delete, 2),
                (add, 1),
            ],
            Guess::Stopped => &[(Verb::Delete, 6), (Verb::State, 1), (Verb::Wait, 1), (kill, 1)],
        };
        self.of(likely)
    }

    fn of(&mut self, likely: &[(Verb, u32)]) -> Verb {
        let chosen = likely.choose_weighted(&mut self.random, |(_, weight)| *weight);
        chosen.expect("weights are above nothing").0
    }

    fn program(&mut self) -> Program {
        let chosen = Program::ALL.choose_weighted(&mut self.random, |program| match program {
            Program::Sleep => 6,
            Program::Cold => 2,
            Program::Native => 3,
            _ => 2_u32,
        });
        match *chosen.expect("weights are above nothing") {
            Program::Exit(_) => Program::Exit(self.random.random_range(0..=255)),
            other => other,
        }
    }

    fn kill(&mut self) -> Verb {
        let signals = [(9, 6), (15, 4), (2, 1), (10, 1), (28, 1), (0, 1)];
        let chosen = signals.choose_weighted(&mut self.random, |(_, weight)| *weight);
        let (signal, _) = *chosen.expect("weights are above nothing");
        Verb::Kill { signal, all: self.random.random_bool(0.15) }
    }

    fn blow(&mut self, ops: &[Op]) -> Blow {
        let target = ops.choose(&mut self.random).map_or(0, |op| op.slot);
        let pick = self.random.random_range(0..8);
        let victim = if self.random.random_bool(0.5) {
            Victim::Shim(target)
        } else {
            Victim::Guest { slot: target, pick }
        };
        let compiles = ops.iter().any(|op| op.verb == Verb::Create(Program::Cold));
        let runc = ops.iter().any(|op| {
            self.programs[op.slot].is_native()
                || matches!(op.verb, Verb::Create(program) if program.is_native())
        });
        let away = self.random.random_bool(0.5).then_some(victim);
        let kinds = [
            (Blow::At(victim), 10),
            (Blow::Compiler, if compiles { 20 } else { 0 }),
            (Blow::Runc, if runc { 5 } else { 0 }),
            (Blow::Containerd { away }, 2),
            (Blow::Restart { away }, 1),
        ];
        let chosen = kinds.choose_weighted(&mut self.random, |(_, weight)| *weight);
        let blow = chosen.expect("weights are above nothing").0;
        self.expect_blow(blow);
        blow
    }

    /// What the call will probably lead to.
    fn expect(&mut self, op: &Op) {
        let Op { slot, exec, verb } = *op;
        let guess = self.guesses[slot];
        if let Some(exec) = exec {
            let inner = &mut self.execs[slot][exec];
            *inner = match (*inner, verb) {
                (Guess::Nothing, Verb::Add(_)) if guess == Guess::Running => Guess::Created,
                (Guess::Created, Verb::Start) if guess == Guess::Running => Guess::Running,
                (Guess::Running, Verb::Kill { signal: 1..=15, .. }) => Guess::Stopped,
                (Guess::Created | Guess::Stopped, Verb::Delete) => Guess::Nothing,
                (same, _) => same,
            };
            return;
        }
        self.guesses[slot] = match (guess, verb) {
            (Guess::Nothing, Verb::Create(program)) => {
                self.programs[slot] = program;
                Guess::Created
            }
            (Guess::Created, Verb::Start) if self.programs[slot].is_short() => Guess::Stopped,
            (Guess::Created, Verb::Start) => Guess::Running,
            (Guess::Running, Verb::Pause) => Guess::Paused,
            (Guess::Paused, Verb::Resume) => Guess::Running,
            (Guess::Created | Guess::Running, Verb::Kill { signal: 1..=15, .. })
            | (Guess::Paused, Verb::Kill { signal: 9, .. }) => Guess::Stopped,
            (Guess::Created | Guess::Stopped, Verb::Delete) => {
                self.execs[slot] = [Guess::Nothing; EXECS];
                Guess::Nothing
            }
            (same, _) => same,
        };
    }

    fn expect_blow(&mut self, blow: Blow) {
        match blow {
            Blow::At(victim)
            | Blow::Containerd { away: Some(victim) }
            | Blow::Restart { away: Some(victim) } => match victim {
                Victim::Shim(slot) => {
                    for slot in companions(slot) {
                        self.guesses[slot] = Guess::Nothing;
                        self.execs[slot] = [Guess::Nothing; EXECS];
                    }
                }
                Victim::Guest { slot, .. } if self.guesses[slot] != Guess::Nothing => {
                    self.guesses[slot] = Guess::Stopped;
                }
                Victim::Guest { .. } => {}
            },
            Blow::Compiler | Blow::Runc => {}
            Blow::Containerd { away: None } | Blow::Restart { away: None } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rounds(seed: u64, count: usize) -> Vec<Vec<Move>> {
        let mut plan = Plan::new(seed);
        (0..count).map(|_| plan.round()).collect()
    }

    #[test]
    fn a_seed_makes_the_same_rounds() {
        assert_eq!(rounds(4, 50), rounds(4, 50));
        assert_ne!(rounds(4, 50), rounds(5, 50));
    }

    #[test]
    fn every_call_and_every_blow_comes_up() {
        let all: Vec<Move> = rounds(4, 1000).concat();
        let verbs: BTreeSet<_> =
            all.iter().flat_map(|m| &m.ops).map(|op| (op.exec.is_some(), op.verb.word())).collect();
        // Thirteen of a task, and what an exec is asked.
        assert_eq!(verbs.iter().filter(|(exec, _)| !exec).count(), 13, "{verbs:?}");
        assert_eq!(verbs.iter().filter(|(exec, _)| *exec).count(), 8, "{verbs:?}");
        let blows: BTreeSet<_> =
            all.iter().filter_map(|m| m.blow).map(|(_, blow)| blow.word()).collect();
        assert_eq!(blows.len(), 6, "{blows:?}");
        let programs: BTreeSet<_> = all
            .iter()
            .flat_map(|m| &m.ops)
            .filter_map(|op| match op.verb {
                Verb::Create(Program::Exit(_)) => Some(Program::Exit(0)),
                Verb::Create(program) => Some(program),
                _ => None,
            })
            .collect();
        assert_eq!(programs.len(), Program::ALL.len(), "{programs:?}");
    }

    #[test]
    fn no_container_is_asked_more_at_once_than_the_model_follows() {
        for one in rounds(7, 300).concat() {
            for slot in 0..SLOTS {
                assert!(one.ops.iter().filter(|op| op.slot == slot).count() <= AT_ONCE);
            }
        }
    }
}
