//! After the calls: what they meant for each container, who was hit, and what has to be there or gone by now.

use anyhow::{Result, bail, ensure};
use containerd_client::tonic::Code;
use wherry_e2e::command::until;
use wherry_e2e::leaks;
use wherry_e2e::rig::Runtime;
use wherry_e2e::storm::model::{Heard, Trouble};
use wherry_e2e::storm::{Blow, Op, Program, SLOTS, Verb, Victim, companions};
use wherry_e2e::tasks::{Call, Refused, Status, Told};

use crate::field::{Answered, Field, PATIENCE, Slot, Struck, heard, judged, told};
use crate::programs::id;

impl Field<'_> {
    /// Holds the answers of a move against the model.
    pub(crate) fn judge(&mut self, answers: &[Answered], struck: Option<&Struck>) -> Result<()> {
        let blow = struck.map(|struck| struck.blow);
        let trouble = |slot: usize| match trouble(blow, slot, answers) {
            Trouble::None if joins_the_leaving(slot, answers) => Trouble::Helper,
            other => other,
        };
        let troubles: Vec<Trouble> = (0..SLOTS).map(trouble).collect();
        for (slot, trouble) in troubles.iter().enumerate() {
            let of_slot = answers.iter().filter(|(op, ..)| op.slot == slot);
            let all: Vec<Heard> = of_slot.map(|(op, answer, _)| heard(op, answer)).collect();
            if all.is_empty() && *trouble == Trouble::None {
                continue;
            }
            self.hurt(slot, *trouble);
            self.race(slot, &all);
            self.remember_end(slot, answers);
            judged(slot, self.slots[slot].tale.hear(&all, *trouble))?;
        }
        match blow {
            Some(Blow::Containerd { away } | Blow::Restart { away }) => {
                self.come_back(answers, away)?;
            }
            Some(Blow::At(Victim::Shim(slot))) => self.settle(companions(slot), answers)?,
            Some(Blow::Runc | Blow::Compiler) => {
                let hit = (0..SLOTS).filter(|slot| troubles[*slot] == Trouble::Helper);
                for slot in hit.collect::<Vec<_>>() {
                    self.look(slot)?;
                }
            }
            Some(Blow::At(Victim::Guest { .. })) | None => {}
        }
        let waiters = self.slots.iter_mut().flat_map(|slot| &mut slot.waiters);
        waiters.for_each(|waiter| waiter.fresh = false);
        (0..SLOTS).try_for_each(|slot| self.release(slot))
    }

    fn hurt(&mut self, slot: usize, trouble: Trouble) {
        if matches!(trouble, Trouble::Shim | Trouble::Containerd) {
            self.slots[slot].waiters.iter_mut().for_each(|waiter| waiter.sure = false);
        }
    }

    /// Who has begun to wait while the task was deleted may have come too late.
    fn race(&mut self, slot: usize, all: &[Heard]) {
        let deleted = all.iter().any(|heard| (heard.exec, heard.verb) == (None, Verb::Delete));
        let fresh = self.slots[slot].waiters.iter_mut().filter(|waiter| waiter.fresh && deleted);
        fresh.for_each(|waiter| waiter.sure = false);
    }

    fn remember_end(&mut self, slot: usize, answers: &[Answered]) {
        let mut ends = answers.iter().filter_map(|(op, answer, _)| match answer {
            Ok(Told::Exit(exit)) if (op.slot, op.exec, op.verb) == (slot, None, Verb::Delete) => {
                Some(exit.status)
            }
            _ => None,
        });
        self.slots[slot].ended = ends.next_back().or(self.slots[slot].ended);
    }

    /// A shim was killed: its tasks must be gone before long, and with them all that waited.
    fn settle(&mut self, hit: std::ops::Range<usize>, answers: &[Answered]) -> Result<()> {
        for slot in hit {
            let created = answers.iter().any(|(op, answer, _)| {
                op.slot == slot && matches!(op.verb, Verb::Create(_)) && answer.is_ok()
            });
            let mut last = String::new();
            let mut known = false;
            let settled = until(PATIENCE, || {
                let answer = self.tasks().ask(&id(slot), "", &Call::State);
                last = told(&answer);
                known = matches!(&answer, Ok(Told::State(s)) if s.status != Status::Unknown);
                forgotten(slot, &answer) || (created && known)
            });
            ensure!(settled, "{} is wedged after its shim was killed: {last}", id(slot));
            self.tally.note(format!("{} settled: {last}", id(slot)));
            self.slots[slot].tale.settle(known);
        }
        Ok(())
    }

    /// containerd is away: somebody else may be hit meanwhile, and then it is started again.
    fn come_back(&mut self, answers: &[Answered], away: Option<Victim>) -> Result<()> {
        let struck = away.and_then(|victim| Some((victim, self.strike_at(victim)?)));
        if let Some((victim, pids)) = &struck {
            self.tally.note(format!("meanwhile {victim:?} {pids:?}"));
            self.tally.kill(Blow::At(*victim).word());
        }
        self.remove_half_removed()?;
        self.world.containerd.resume()?;
        for slot in 0..SLOTS {
            self.hurt(slot, Trouble::Containerd);
            match struck {
                Some((Victim::Shim(hit), _)) if companions(hit).contains(&slot) => {
                    self.settle(slot..slot + 1, &[])?;
                    continue;
                }
                Some((Victim::Guest { slot: hit, .. }, _)) if hit == slot => {
                    self.slots[slot].tale.struck();
                }
                _ => {}
            }
            self.slots[slot].tale.reloaded();
            let unsure = answers.iter().any(|(op, ..)| {
                op.slot == slot && matches!(op.verb, Verb::Create(_) | Verb::Delete)
            });
            if unsure {
                self.dispose(slot)?;
            } else {
                self.look(slot)?;
            }
        }
        Ok(())
    }

    /// Bundles that containerd was removing when it was killed: it renames them first, looks at none of that name
    /// when it comes back, and fails to remove the next of the same id (`core/runtime/v2/bundle.go`,
    /// `atomicDelete`; `shim_load.go`). That is the same for every runtime, and no leak of ours.
    fn remove_half_removed(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.world.containerd.bundles())?.flatten() {
            if entry.file_name().to_string_lossy().starts_with('.') {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Asks what is known now.
    fn look(&mut self, slot: usize) -> Result<()> {
        let op = Op { slot, exec: None, verb: Verb::State };
        let answer = self.tasks().ask(&id(slot), "", &Call::State);
        self.tally.note(format!("{op}: {}", told(&answer)));
        judged(slot, self.slots[slot].tale.hear(&[heard(&op, &answer)], Trouble::None))
    }

    /// What is known of all, beside what is thought of them, for who looks for a cause.
    pub(crate) fn states(&self) -> String {
        let tasks = self.tasks();
        let of = |(slot, known): (usize, &Slot)| {
            let answer = told(&tasks.ask(&id(slot), "", &Call::State));
            let said = known.pipes.iter().map(|pipes| pipes.err.text()).collect::<String>();
            format!("  {}: {answer}; thought {} {said}\n", id(slot), known.tale.told())
        };
        self.slots.iter().enumerate().map(of).collect()
    }

    /// Makes an end of whatever task there is.
    pub(crate) fn dispose(&mut self, slot: usize) -> Result<()> {
        let mut last = String::new();
        let gone = until(PATIENCE, || {
            let ask = |call| self.tasks().ask(&id(slot), "", &call);
            ask(Call::Kill { signal: 9, all: true }).ok();
            let deleted = ask(Call::Delete);
            last = format!("delete: {}, state: {}", told(&deleted), told(&ask(Call::State)));
            forgotten(slot, &ask(Call::State))
        });
        ensure!(gone, "{} is wedged, {}: {last}", id(slot), self.slots[slot].tale.told());
        self.slots[slot].ended = None;
        self.slots[slot].waiters.iter_mut().for_each(|waiter| waiter.sure = false);
        self.slots[slot].tale.settle(false);
        self.release(slot)
    }

    /// When a task is gone, everybody who waited for it has been answered.
    fn release(&mut self, slot: usize) -> Result<()> {
        if !self.slots[slot].tale.is_gone() || self.slots[slot].waiters.is_empty() {
            return Ok(());
        }
        let ended = self.slots[slot].ended;
        for waiter in std::mem::take(&mut self.slots[slot].waiters) {
            let answered = until(PATIENCE, || waiter.thread.is_finished());
            let whose = format!("{} {:?}", id(slot), waiter.exec);
            ensure!(answered, "who waits for {whose} is not told that it is gone");
            let answer = waiter.thread.join().expect("no waiter panics");
            let code = match &answer {
                Ok(Told::Exit(exit)) => Some(exit.status),
                _ => None,
            };
            if waiter.sure && waiter.exec.is_none() {
                let told = told(&answer);
                ensure!(code.is_some(), "who waited for {whose} got no code: {told}");
                ensure!(
                    ended.is_none() || code == ended,
                    "who waited for {whose} heard {told}, and Delete told {ended:?}"
                );
            }
        }
        Ok(())
    }

    /// After a failure that has been told: ends what can be ended, above all what is frozen.
    pub(crate) fn give_up(&mut self) {
        for slot in 0..SLOTS {
            let done = self.dispose(slot).and_then(|()| self.remove_container(slot));
            if let Err(error) = done {
                eprintln!("{}: {error:#}", id(slot));
            }
        }
    }

    /// Deletes everything; then nothing may be left.
    pub(crate) fn clear(&mut self) -> Result<()> {
        for slot in 0..SLOTS {
            self.dispose(slot)?;
            self.remove_container(slot)?;
        }
        let containerd = &self.world.containerd;
        // containerd's shim for runc leaves its socket when it is killed; ours must not.
        if containerd.runtime == Runtime::Runc {
            let sockets = containerd.place.inside("/run/containerd/s");
            for socket in std::fs::read_dir(sockets).into_iter().flatten().flatten() {
                std::fs::remove_file(socket.path())?;
            }
        }
        let mut left = Vec::new();
        let clean = until(PATIENCE, || {
            left = leaks::living(containerd);
            left.is_empty()
        });
        if !clean {
            bail!("left behind: {}", left.join("\n  "));
        }
        self.tally.leak_checks += 1;
        self.tally.note("nothing is left".to_string());
        Ok(())
    }
}

/// containerd does not know the task any more. As long as it only cannot reach the shim, it says that something
/// is not found, without a name (`core/runtime/v2/shim.go`, `State`), and refuses to make the task anew.
fn forgotten(slot: usize, state: &Result<Told, Refused>) -> bool {
    let named = |refused: &Refused| refused.message.contains(&id(slot));
    matches!(state, Err(refused) if refused.code == Code::NotFound && named(refused))
}

/// A container was made in a pod whose last one was deleted at the same time: `start` may have found the shim
/// that containerd then told to leave. containerd's own shim is no better (`pkg/shim/shim.go`,
/// `manager_linux.go`), and a pod's sandbox goes last.
fn joins_the_leaving(slot: usize, answers: &[Answered]) -> bool {
    let has = |slot: usize, wanted: fn(&Op) -> bool| {
        answers.iter().any(|(op, ..)| op.slot == slot && wanted(op))
    };
    let mut others = companions(slot).filter(|other| *other != slot);
    has(slot, |op| matches!(op.verb, Verb::Create(_)))
        && others.any(|other| has(other, |op| (op.exec, op.verb) == (None, Verb::Delete)))
}

/// What a blow is for one container.
fn trouble(blow: Option<Blow>, slot: usize, answers: &[Answered]) -> Trouble {
    let mut of_slot = answers.iter().filter(|(op, ..)| op.slot == slot);
    match blow {
        Some(Blow::At(Victim::Shim(hit))) if companions(hit).contains(&slot) => Trouble::Shim,
        Some(Blow::At(Victim::Guest { slot: hit, .. })) if hit == slot => Trouble::Guest,
        Some(Blow::Compiler) => {
            let mut compiles = of_slot.map(|(op, ..)| op.verb == Verb::Create(Program::Cold));
            if compiles.any(|is| is) { Trouble::Helper } else { Trouble::None }
        }
        // Which call it worked for is not known.
        Some(Blow::Runc) if of_slot.next().is_some() => Trouble::Helper,
        Some(Blow::Containerd { .. } | Blow::Restart { .. }) => Trouble::Containerd,
        _ => Trouble::None,
    }
}
