//! Carries out what the ledger wants, without choices.
//!
//! Quick things are done at once; whatever may take time runs on another thread and comes back as
//! an input to the owner.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use tokio::sync::mpsc;
use wherry_core::lifecycle::{
    Call, Code, DRAIN_SECONDS, Denied, Effect, Event, Exit, Key, Report, Step,
};
use wherry_sandbox::cgroup::{Cgroup, OomWatch};

use crate::body::{Body, Guest, Guests, KILL, Product, Written};
use crate::daemon::{Done, Input, Payload, Reply};
use crate::events::Publisher;
use crate::introduction;
use crate::jobs::{is_quick, is_runcs, step_job, take_parked, wait_for_exit, watch_oom};
use crate::lifeline::now;
use crate::limited::Abort;
use crate::native::{self, Native};
use crate::pod::Holder;
use crate::stdio::{self, Kept};
use crate::undo;

mod answers;
mod execs;
mod pods;
mod processes;

type Inputs = mpsc::UnboundedSender<Input>;

#[derive(Debug)]
pub(crate) struct Effects {
    namespace: Arc<str>,
    containerd: Arc<str>,
    inputs: Inputs,
    publisher: Publisher,
    bodies: BTreeMap<String, Body>,
    guests: Guests,
    /// What the call that is being stepped carries.
    arriving: Payload,
    creation: Option<wherry_core::lifecycle::Creation>,
    /// The sandbox that the containers share, where containerd asked for one.
    pod: Option<Holder>,
    options: Option<Any>,
}

impl Effects {
    pub(crate) fn new(
        namespace: String,
        containerd: String,
        inputs: Inputs,
        publisher: Publisher,
    ) -> Effects {
        Effects {
            namespace: namespace.into(),
            containerd: containerd.into(),
            inputs,
            publisher,
            bodies: BTreeMap::new(),
            guests: Guests::default(),
            arriving: Payload::None,
            creation: None,
            pod: None,
            options: None,
        }
    }

    pub(crate) fn guests(&self) -> Guests {
        self.guests.clone()
    }

    /// Keeps what a call carries for the effects that it leads to at once.
    pub(crate) fn remember(&mut self, call: &Call, payload: Payload) {
        self.arriving = payload;
        self.creation = match call {
            Call::Create { creation, .. } => Some(creation.clone()),
            Call::Connect { .. }
            | Call::Shutdown
            | Call::Task { .. }
            | Call::Exec { .. }
            | Call::Pod { .. } => None,
        };
    }

    pub(crate) fn carry_out(
        &mut self,
        effect: Effect,
        events: &mut VecDeque<Event>,
    ) -> Option<Done> {
        match effect {
            Effect::Take { id, step } => self.take(&id, step),
            Effect::Abort { id } => self.abort(&id),
            Effect::AbortExec { key } => self.abort_exec(&key),
            Effect::Undo { id, steps, poststop } => self.undo(&id, steps, poststop),
            Effect::Release { id } => self.release(id, events),
            Effect::Poststart { id } => self.poststart(id, events),
            Effect::Signal { key, signal } => self.signal(&key, signal),
            Effect::SignalAll { id, signal } => self.signal_all(&id, signal),
            Effect::Freeze { ticket, id } => {
                let report = move |failure| Report::Frozen { ticket, failure };
                self.pause(id, Cgroup::freeze, Native::pause, report);
            }
            Effect::Thaw { ticket, id } => {
                let report = move |failure| Report::Thawed { ticket, failure };
                self.pause(id, Cgroup::thaw, Native::resume, report);
            }
            Effect::Wake { id } => self.wake(&id),
            Effect::AddExec { key, stdio } => self.add_exec(&key, stdio),
            Effect::StartExec { key } => self.start_exec(key, events),
            Effect::ForgetExec { key } => self.forget_exec(&key),
            Effect::Drain { id } => self.drain(id, events),
            Effect::Deadline { id } => self.deadline(id),
            Effect::CloseStdin { key } => self.close_stdin(&key),
            Effect::Publish { notice } => self.publisher.publish(&notice, now()),
            Effect::Reply { ticket, answer } => {
                return Some(Done::Reply(ticket, Reply::Answer(answer)));
            }
            Effect::ReplyPids { ticket, id } => return Some(Done::Reply(ticket, self.pids(&id))),
            Effect::ReplyStats { ticket, id } => return Some(Done::Reply(ticket, self.stats(&id))),
            Effect::ReplyUpdate { ticket, id } => self.update(&id, ticket),
            Effect::ReplyResize { ticket, key } => {
                return Some(Done::Reply(ticket, self.resize(&key)));
            }
            Effect::Hold { id } => self.hold(id),
            Effect::LetGo { id } => self.let_go(&id),
            Effect::ReplyPodStats { ticket } => {
                return Some(Done::Reply(ticket, self.pod_stats()));
            }
            Effect::Leave => return Some(Done::Leave),
        }
        None
    }

    /// Runs a job off the loop; what it returns is heard by the owner.
    fn job(&self, job: impl FnOnce() -> Input + Send + 'static) {
        let inputs = self.inputs.clone();
        tokio::task::spawn_blocking(move || {
            // The owner is gone only when the shim leaves.
            let _ = inputs.send(job());
        });
    }

    fn take(&mut self, id: &str, step: Step) {
        if step == Step::Plan
            && let Err(error) = self.embody(id)
        {
            let why = Some(Denied::new(Code::ResourceExhausted, error.to_string()));
            let _ = self.inputs.send(Input::Stepped { id: id.to_owned(), step, done: Err(why) });
            return;
        }
        if step == Step::Ready
            && let Some((planned, pid, parked, code)) =
                self.bodies.get_mut(id).and_then(take_parked)
        {
            let (id, inputs) = (id.to_owned(), self.inputs.clone());
            tokio::spawn(async move {
                let done = introduction::ready(planned, pid, parked, code).await;
                let done = done.map(Product::Ready);
                let _ = inputs.send(Input::Stepped { id, step, done });
            });
            return;
        }
        if self.bodies.get(id).is_some_and(|body| is_runcs(step, body)) {
            let done = Ok(Product::Nothing);
            let _ = self.inputs.send(Input::Stepped { id: id.to_owned(), step, done });
            return;
        }
        let shared = self.pod.as_ref().map(|pod| Arc::clone(&pod.shared));
        let here = self.bodies.get(id).is_some_and(|body| is_quick(step, body));
        let Some(job) = self.bodies.get_mut(id).and_then(|body| {
            step_job(
                body,
                id.to_owned(),
                step,
                Arc::clone(&self.namespace),
                Arc::clone(&self.containerd),
                &self.guests,
                shared,
            )
        }) else {
            let why = Some(Denied::new(Code::Unknown, format!("step {step:?} comes too early")));
            let _ = self.inputs.send(Input::Stepped { id: id.to_owned(), step, done: Err(why) });
            return;
        };
        let id = id.to_owned();
        if here {
            let _ = self.inputs.send(Input::Stepped { id, step, done: job() });
        } else {
            self.job(move || Input::Stepped { id, step, done: job() });
        }
    }

    fn embody(&mut self, id: &str) -> std::io::Result<()> {
        let creation = self.creation.take().unwrap_or_default();
        let options = match std::mem::replace(&mut self.arriving, Payload::None) {
            Payload::Create(options) => options,
            Payload::None
            | Payload::Update(_)
            | Payload::Exec(_)
            | Payload::Resize(_)
            | Payload::Pod(_) => None,
        };
        let bundle = std::path::PathBuf::from(&creation.bundle);
        let body = Body {
            written: Written::new(bundle.clone(), id),
            bundle,
            creation,
            options,
            abort: Abort::new()?,
            draft: None,
            planned: None,
            native: None,
            code: None,
            cgroup: None,
            guest: None,
            parked: None,
            channel: None,
            kept: None,
            execs: BTreeMap::new(),
            used: None,
            watchers: vec![],
        };
        self.bodies.insert(id.to_owned(), body);
        Ok(())
    }

    /// Keeps what a step brought, and turns it into words for the ledger.
    pub(crate) fn stepped(
        &mut self,
        id: &str,
        step: Step,
        done: Result<Product, Option<Denied>>,
    ) -> Report {
        let product = match done {
            Ok(product) => product,
            Err(why) => return Report::Failed { step, why },
        };
        let Some(body) = self.bodies.get_mut(id) else { return Report::Failed { step, why: None } };
        let mut pid = None;
        match product {
            Product::Plan(draft) => body.draft = Some(*draft),
            Product::Rootfs | Product::Nothing => {}
            Product::Code(planned, code) => {
                (body.planned, body.code) = (Some(Arc::from(planned)), Some(code));
            }
            Product::Native(native) => body.native = Some(Arc::new(native)),
            Product::Cgroup(cgroup, watch) => self.keep_cgroup(id, cgroup, watch),
            Product::Guest(guest, parked, kept) => {
                pid = Some(guest.pid);
                body.parked = Some(parked);
                self.keep_guest(id, guest, kept);
            }
            Product::Born(born) => {
                let native::Born { guest, kept, cgroup, watch, _expecting } = *born;
                pid = Some(guest.pid);
                if let Some(cgroup) = cgroup {
                    self.keep_cgroup(id, cgroup, watch);
                }
                self.keep_guest(id, guest, kept);
            }
            Product::Ready(channel) => body.channel = Some(channel),
        }
        Report::Done { step, pid }
    }

    fn keep_cgroup(&mut self, id: &str, cgroup: Cgroup, watch: Option<OomWatch>) {
        let Some(body) = self.bodies.get_mut(id) else { return };
        let cgroup = Arc::new(cgroup);
        if let Some(watch) = watch {
            let task = watch_oom(id.to_owned(), watch, Arc::clone(&cgroup), self.inputs.clone());
            body.watchers.push(tokio::spawn(task).abort_handle());
        }
        body.cgroup = Some(cgroup);
    }

    fn keep_guest(&mut self, id: &str, guest: Guest, kept: Kept) {
        let Some(body) = self.bodies.get_mut(id) else { return };
        self.guests.add(guest.pid);
        let exit = wait_for_exit(
            id.to_owned(),
            guest.clone(),
            body.cgroup.clone(),
            body.native.clone(),
            self.inputs.clone(),
            self.guests.clone(),
        );
        tokio::spawn(exit);
        (body.guest, body.kept) = (Some(guest), Some(kept));
    }

    pub(crate) fn exited(&mut self, id: &str, exit: Exit, used: Option<Any>) {
        let Some(body) = self.bodies.get_mut(id) else { return };
        body.used = used;
        // Whoever cleans up after us should tell the truth; if not, it is 137 as for any lost shim.
        if let Err(error) = body.written.change(|state| state.exit = Some(exit.into())) {
            log::warn!("cannot write wherry.json of {id}: {error}");
        }
    }

    /// The task is gone from the ledger, too.
    pub(crate) fn forget(&mut self, id: &str) {
        self.bodies.remove(id);
    }

    fn abort(&self, id: &str) {
        if let Some(body) = self.bodies.get(id) {
            body.abort.tell();
        }
        self.signal(&Key::init(id), KILL);
    }

    fn undo(&mut self, id: &str, steps: Vec<Step>, poststop: bool) {
        let id = id.to_owned();
        let Some(body) = self.bodies.get_mut(&id) else {
            let _ = self.inputs.send(Input::Report { id, report: Report::Undone });
            return;
        };
        for exec in body.execs.values() {
            exec.abort.tell();
        }
        for watcher in body.watchers.drain(..) {
            watcher.abort();
        }
        // The wire, and the streams that a guest did not get.
        (body.channel, body.parked, body.code) = (None, None, None);
        let job = undo::job(body, steps, poststop);
        self.job(move || {
            job();
            Input::Report { id, report: Report::Undone }
        });
    }

    /// If runc is the one to ask, and how to give its calls up.
    fn native(&self, id: &str) -> Option<(Arc<Native>, Abort)> {
        let body = self.bodies.get(id)?;
        Some((body.native.clone()?, body.abort.clone()))
    }

    fn kept(&mut self, key: &Key) -> Option<&mut Kept> {
        let body = self.bodies.get_mut(&key.task)?;
        match &key.exec {
            None => body.kept.as_mut(),
            Some(exec) => body.execs.get_mut(exec)?.kept.as_mut(),
        }
    }

    fn drain(&mut self, id: String, events: &mut VecDeque<Event>) {
        let kept = self.bodies.get_mut(&id).and_then(|body| body.kept.as_mut());
        match kept.map(Kept::take_draining) {
            // The guest wrote into containerd's own FIFOs and files: nothing is under way here.
            None | Some((None, None)) => {
                events.push_back(Event::Reported { id, report: Report::Drained });
            }
            Some((output, logger)) => {
                let inputs = self.inputs.clone();
                tokio::spawn(async move {
                    stdio::drained(output, logger).await;
                    let _ = inputs.send(Input::Report { id, report: Report::Drained });
                });
            }
        }
    }

    fn deadline(&mut self, id: String) {
        let Some(body) = self.bodies.get_mut(&id) else { return };
        let inputs = self.inputs.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(DRAIN_SECONDS)).await;
            let _ = inputs.send(Input::Report { id, report: Report::DrainDeadline });
        });
        body.watchers.push(timer.abort_handle());
    }

    fn close_stdin(&mut self, key: &Key) {
        if let Some(kept) = self.kept(key) {
            return kept.close_stdin();
        }
        let body = self.bodies.get_mut(&key.task);
        if let Some(exec) = body.and_then(|body| body.execs.get_mut(key.exec.as_ref()?)) {
            exec.stdin_closed = true;
        }
    }
}
