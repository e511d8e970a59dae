//! The containers of a storm, and one move: its calls at once, its blow among them, and the model's judgement.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use containerd_client::tonic::Code;
use containerd_client::types::Mount;
use wherry_e2e::client::NewContainer;
use wherry_e2e::pipes::Pipes;
use wherry_e2e::storm::model::{Answer, Heard, Life, Tale};
use wherry_e2e::storm::{Blow, EXECS, Inner, Move, Op, Program, SLOTS, Verb, Victim};
use wherry_e2e::suite::World;
use wherry_e2e::tasks::{Call, Creation, Daemon, Refused, Status, Tasks, Told};

use crate::programs::{Programs, id, on_terminal};
use crate::tally::Tally;
use crate::victims;

/// How long anything may take that has no time of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A place for one container after another.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) tale: Tale,
    pub(crate) made: Option<Made>,
    /// It was made for the calls that are under way: two tasks that are wanted at once are of one container.
    fresh: bool,
    pub(crate) waiters: Vec<Waiter>,
    /// Of the task and its execs, until it is gone.
    pub(crate) pipes: Vec<Pipes>,
    /// What Delete has told, if it was asked since the last Create.
    pub(crate) ended: Option<u32>,
}

/// The container that containerd knows.
pub(crate) struct Made {
    pub(crate) program: Program,
    mounts: Vec<Mount>,
}

/// Somebody who waits for an end.
pub(crate) struct Waiter {
    pub(crate) exec: Option<usize>,
    /// Its task was sure to be there, and was not hurt since.
    pub(crate) sure: bool,
    /// It has come with the calls that are under way.
    pub(crate) fresh: bool,
    pub(crate) thread: JoinHandle<Result<Told, Refused>>,
}

pub(crate) struct Field<'w> {
    pub(crate) world: &'w World,
    pub(crate) slots: [Slot; SLOTS],
    pub(crate) tally: Tally,
    programs: Programs,
    next_pipe: usize,
}

/// A call that is ready to be made.
struct Ready {
    op: Op,
    call: Call,
    pipes: Option<Pipes>,
}

impl<'w> Field<'w> {
    pub(crate) fn new(world: &'w World) -> Result<Field<'w>> {
        Ok(Field {
            world,
            slots: Default::default(),
            tally: Tally::default(),
            programs: Programs::new(world)?,
            next_pipe: 0,
        })
    }

    pub(crate) fn tasks(&self) -> Tasks {
        Tasks::Daemon(Daemon(self.world.containerd.client()))
    }

    pub(crate) fn play(&mut self, one: &Move) -> Result<()> {
        let mut ready = Vec::new();
        for op in &one.ops {
            if op.verb == Verb::Wait {
                self.wait(op);
            } else {
                ready.push(self.prepare(*op)?);
            }
        }
        let (answers, struck) = self.at_once(&ready, one.blow);
        self.slots.iter_mut().for_each(|slot| slot.fresh = false);
        for (op, answer, took) in &answers {
            self.tally.note(format!("{op}: {} in {took:.0?}", told(answer)));
            self.tally.call(op.verb.word(), answer.is_ok(), *took);
        }
        if let Some(struck) = &struck {
            self.tally.note(format!("killed: {:?} {:?}", struck.blow, struck.pids));
            self.tally.kill(struck.blow.word());
        }
        // A FIFO is let go as soon as the task it was made for is not there.
        for (ready, (op, answer, _)) in ready.into_iter().zip(&answers) {
            let kept = ready.pipes.filter(|_| answer.is_ok() || struck.is_some());
            self.slots[op.slot].pipes.extend(kept);
        }
        self.judge(&answers, struck.as_ref())
    }

    /// Whoever waits does so beside all that comes, until it is answered.
    fn wait(&mut self, op: &Op) {
        let slot = &mut self.slots[op.slot];
        let sure = op.exec.is_none() && !slot.tale.may_be_gone();
        let tasks = Tasks::Daemon(Daemon(self.world.containerd.client()));
        let (task, exec) = (id(op.slot), exec_id(op.exec));
        let thread = thread::spawn(move || {
            loop {
                match tasks.ask(&task, &exec, &Call::Wait) {
                    // It is the client that has had enough.
                    Err(refused) if is_silence(&refused) => {}
                    other => return other,
                }
            }
        });
        slot.waiters.push(Waiter { exec: op.exec, sure, fresh: true, thread });
        self.tally.note(format!("{op}: begun"));
        self.tally.call("wait", true, Duration::ZERO);
    }

    /// Everything that a call needs, so that it can be made without us.
    fn prepare(&mut self, mut op: Op) -> Result<Ready> {
        let mut pipes = None;
        let call = match op.verb {
            Verb::Create(wanted) => {
                let program = self.container(op.slot, wanted).with_context(|| format!("{op}"))?;
                op.verb = Verb::Create(program);
                let stdin = program.reads();
                let made = pipes.insert(self.pipes(op.slot, stdin, on_terminal(program)));
                let mounts = self.slots[op.slot].made.as_ref().map(|made| made.mounts.clone());
                Call::Create(Creation {
                    rootfs: mounts.unwrap_or_default(),
                    stdio: made.stdio.clone(),
                    ..Creation::default()
                })
            }
            Verb::Add(inner) => {
                let program = self.slots[op.slot].tale.program();
                let process = self.programs.process(program, inner).to_string().into_bytes();
                let terminal = inner == Inner::Terminal;
                let made = pipes.insert(self.pipes(op.slot, inner.reads(), terminal));
                Call::Exec { process, stdio: made.stdio.clone() }
            }
            Verb::Start => Call::Start,
            Verb::State => Call::State,
            Verb::Wait => Call::Wait,
            Verb::Kill { signal, all } => Call::Kill { signal, all },
            Verb::Delete => Call::Delete,
            Verb::Pids => Call::Pids,
            Verb::Stats => Call::Stats,
            Verb::Pause => Call::Pause,
            Verb::Resume => Call::Resume,
            Verb::Update => {
                Call::Update(br#"{"memory":{"limit":268435456},"cpu":{"shares":512}}"#.to_vec())
            }
            Verb::CloseStdin => Call::CloseIo { stdin: true },
            Verb::Resize => Call::Resize { width: 100, height: 30 },
        };
        Ok(Ready { op, call, pipes })
    }

    fn pipes(&mut self, slot: usize, stdin: bool, terminal: bool) -> Pipes {
        self.next_pipe += 1;
        let name = format!("io-{}-{}", id(slot), self.next_pipe);
        let mut pipes = Pipes::new(self.world.containerd.place.path(&name), stdin);
        if terminal {
            pipes.stdio.terminal = true;
            pipes.one_output();
        }
        if stdin {
            pipes.feed(b"words\n".to_vec());
        }
        pipes
    }

    /// The container for a task: a new one, unless there may still be a task of the last.
    fn container(&mut self, slot: usize, wanted: Program) -> Result<Program> {
        if (!self.slots[slot].tale.is_gone() || self.slots[slot].fresh)
            && let Some(made) = &self.slots[slot].made
        {
            return Ok(made.program);
        }
        self.remove_container(slot)?;
        if wanted == Program::Cold {
            self.programs.chill(self.world)?;
        }
        let client = self.world.containerd.client();
        let (image, _) = self.programs.of(wanted);
        let containerd = &self.world.containerd;
        client.create_container(NewContainer {
            id: id(slot),
            image: image.reference.clone(),
            runtime: self.world.runtime().name().to_string(),
            runtime_options: containerd
                .cgroups
                .options(containerd.runtime)
                .map(wherry_e2e::client::runc_options),
            spec: self.programs.spec(self.world, slot, wanted),
            labels: Vec::new(),
        })?;
        let mounts = client.prepare_snapshot(&id(slot), &image.chain_id)?;
        self.slots[slot].made = Some(Made { program: wanted, mounts });
        self.slots[slot].ended = None;
        self.slots[slot].fresh = true;
        Ok(wanted)
    }

    pub(crate) fn remove_container(&mut self, slot: usize) -> Result<()> {
        self.slots[slot].pipes.clear();
        if self.slots[slot].made.take().is_none() {
            return Ok(());
        }
        let client = self.world.containerd.client();
        client.remove_snapshot(&id(slot)).context("remove snapshot")?;
        client.delete_container(&id(slot)).context("delete container")
    }

    fn at_once(
        &self,
        ready: &[Ready],
        blow: Option<(u64, Blow)>,
    ) -> (Vec<Answered>, Option<Struck>) {
        let tasks = self.tasks();
        let open = AtomicUsize::new(ready.len());
        let ask = |ready: &Ready| {
            let begun = Instant::now();
            let (task, exec) = (id(ready.op.slot), exec_id(ready.op.exec));
            let answer = tasks.ask(&task, &exec, &ready.call);
            open.fetch_sub(1, Ordering::Relaxed);
            (ready.op, answer, begun.elapsed())
        };
        thread::scope(|scope| {
            let ask = &ask;
            let asked: Vec<_> = ready.iter().map(|one| scope.spawn(move || ask(one))).collect();
            let struck = blow.and_then(|(delay, blow)| {
                thread::sleep(Duration::from_micros(delay));
                self.strike(blow, &|| open.load(Ordering::Relaxed) > 0)
            });
            let answers = asked.into_iter().map(|one| one.join().expect("no call panics"));
            (answers.collect(), struck)
        })
    }

    /// Kills, if there is somebody to be killed.
    fn strike(&self, blow: Blow, busy: &dyn Fn() -> bool) -> Option<Struck> {
        let place = &self.world.containerd.place;
        let pids = match blow {
            Blow::At(victim) => return self.strike_at(victim).map(|pids| Struck { blow, pids }),
            Blow::Compiler => seen(busy, || victims::compilers(place)),
            Blow::Runc => seen(busy, || victims::runcs(place)),
            Blow::Containerd { .. } => {
                self.world.containerd.crash().expect("containerd can be killed");
                return Some(Struck { blow, pids: vec![] });
            }
            Blow::Restart { .. } => {
                self.world.containerd.stop().expect("containerd ends when asked");
                return Some(Struck { blow, pids: vec![] });
            }
        };
        let pids: Vec<u32> = pids.into_iter().take(1).filter(|pid| victims::kill(*pid)).collect();
        (!pids.is_empty()).then_some(Struck { blow, pids })
    }

    pub(crate) fn strike_at(&self, victim: Victim) -> Option<Vec<u32>> {
        let place = &self.world.containerd.place;
        let found = match victim {
            Victim::Shim(slot) => victims::shims(place, slot),
            Victim::Guest { slot, pick } => {
                let all = victims::guests(place, slot);
                all.get(pick % all.len().max(1)).copied().into_iter().collect()
            }
        };
        let pids: Vec<u32> = found.into_iter().filter(|pid| victims::kill(*pid)).collect();
        if let Victim::Shim(_) = victim {
            // Else it might still hold its socket when the next comes.
            assert!(pids.iter().all(|pid| victims::is_gone(*pid)), "{pids:?} can't be killed");
        }
        (!pids.is_empty()).then_some(pids)
    }
}

pub(crate) type Answered = (Op, Result<Told, Refused>, Duration);

/// A blow that hit somebody.
pub(crate) struct Struck {
    pub(crate) blow: Blow,
    pids: Vec<u32>,
}

/// Looks for somebody until there is one or nobody is asked any more.
fn seen(busy: &dyn Fn() -> bool, look: impl Fn() -> Vec<u32>) -> Vec<u32> {
    loop {
        let found = look();
        if !found.is_empty() || !busy() {
            return found;
        }
    }
}

fn exec_id(exec: Option<usize>) -> String {
    exec.map_or(String::new(), |exec| {
        debug_assert!(exec < EXECS);
        format!("e{exec}")
    })
}

fn is_silence(refused: &Refused) -> bool {
    refused.code == Code::DeadlineExceeded && refused.message.starts_with("no answer within")
}

pub(crate) fn told(answer: &Result<Told, Refused>) -> String {
    match answer {
        Ok(told) => format!("{told:?}").chars().take(160).collect(),
        Err(refused) => refused.to_string(),
    }
}

/// The answer as the model knows it.
pub(crate) fn heard(op: &Op, answer: &Result<Told, Refused>) -> Heard {
    let answer = match answer {
        Ok(Told::State(state)) => Answer::State(life(state.status), state.exit_status),
        Ok(Told::Exit(exit)) => Answer::Exit(exit.status),
        Ok(_) => Answer::Done,
        Err(refused) if is_silence(refused) => Answer::Silence,
        Err(refused) if refused.code == Code::NotFound => Answer::NotFound,
        Err(_) => Answer::Refused,
    };
    Heard { exec: op.exec, verb: op.verb, answer }
}

fn life(status: Status) -> Option<Life> {
    match status {
        Status::Created => Some(Life::Created),
        Status::Running => Some(Life::Running),
        Status::Paused => Some(Life::Paused),
        Status::Stopped => Some(Life::Stopped),
        Status::Unknown | Status::Pausing => None,
    }
}

/// A judgement of the model, with the container it is about.
pub(crate) fn judged(slot: usize, judgement: std::result::Result<(), String>) -> Result<()> {
    judgement.map_err(|why| anyhow!("{}: {why}", id(slot)))
}
