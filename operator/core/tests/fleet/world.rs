//! A fleet that is not there: nodes, their Jobs, and an operator that dies when it is told to.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use wherry_operator_core::crd::{
    self, Observation, OnFailure, Pace, WasmShim, WasmShimSpec, node_hash, revision_of,
};
use wherry_operator_core::plan::{self, Action, Decided, Fleet, Node, Order, Plan};
use wherry_report::Outcome;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) shim: WasmShim,
    pub(crate) machines: Vec<Machine>,
    pub(crate) now: Timestamp,
    /// Revisions on which a node reverts, if its index and this have a bit in common.
    pub(crate) bad: BTreeMap<String, usize>,
    pub(crate) released: bool,
    /// Why a RuntimeClass is not made.
    pub(crate) class: Option<String>,
    /// What was done, for people.
    pub(crate) log: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) node: Node,
    pub(crate) job: Option<Job>,
    pub(crate) installed: Option<String>,
    /// The next order fails, for no fault of its revision.
    pub(crate) unlucky: bool,
    /// The kubelet lets no agent in.
    pub(crate) booked: bool,
    /// Revisions whose agent's image cannot be had.
    pub(crate) missing: Vec<String>,
    /// No order that was to change it has run so far.
    looked: bool,
    /// containerd is not restarted.
    pub(crate) pending: bool,
    /// Its containers keep the shim.
    pub(crate) busy: bool,
    /// The last install that came to its end.
    pub(crate) tried: Option<Try>,
}

#[derive(Clone, Debug)]
pub(crate) struct Try {
    pub(crate) revision: String,
    pub(crate) machine_id: String,
    pub(crate) at: Timestamp,
    pub(crate) failed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) attempt: u32,
    pub(crate) ends: Timestamp,
}

pub(crate) fn image(number: u64) -> String {
    format!("registry.example/wherry@sha256:{number:064x}")
}

pub(crate) fn spec(number: u64) -> WasmShimSpec {
    let json = serde_json::json!({
        "artifact": { "image": image(number) },
        "handlers": [{ "name": "wherry", "runtimeClassName": "wherry" }],
    });
    serde_json::from_value(json).expect("a spec")
}

/// What a failed case needs to be understood.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rollout = &self.shim.spec.rollout;
        let limits = (rollout.max_unavailable, rollout.max_parallel, rollout.failure_budget);
        write!(f, "{} nodes, {limits:?}, {:?}, ", self.machines.len(), rollout.on_failure)?;
        write!(f, "spread {:?}, {} windows", rollout.spread, rollout.windows.len())
    }
}

impl World {
    pub(crate) fn new(count: usize, zones: usize) -> World {
        let now: Timestamp = "2026-11-23T00:00:00Z".parse().expect("a time");
        let mut shim = WasmShim::new("wherry", spec(1));
        shim.metadata.generation = Some(1);
        let machines = (0..count).map(|index| Machine::new(index, zones, now)).collect();
        World {
            shim,
            machines,
            now,
            bad: BTreeMap::new(),
            released: false,
            class: None,
            log: Vec::new(),
        }
    }

    pub(crate) fn target(&self) -> String {
        revision_of("wherry", &self.shim.spec).0
    }

    pub(crate) fn pass(&mut self, minutes: i64) {
        self.now += SignedDuration::from_mins(minutes);
    }

    pub(crate) fn status(&self) -> crd::WasmShimStatus {
        self.shim.status.clone().unwrap_or_default()
    }

    pub(crate) fn delete(&mut self) {
        self.shim.metadata.deletion_timestamp = Some(Time(self.now));
    }

    /// No node can pull the target's image.
    pub(crate) fn lose_image(&mut self) {
        let target = self.target();
        self.machines.iter_mut().for_each(|it| it.missing.push(target.clone()));
    }

    pub(crate) fn annotate(&mut self, key: &str, value: &str) {
        let all = self.shim.metadata.annotations.get_or_insert_default();
        all.insert(key.to_string(), value.to_string());
    }

    /// The operator looks: Jobs that have ended are read, and a plan is made.
    pub(crate) fn look(&mut self) -> Plan {
        for index in 0..self.machines.len() {
            let now = self.now;
            if let Some(job) = self.machines[index].job.filter(|job| job.ends <= now) {
                self.settle(index, job);
            }
        }
        let nodes: Vec<Node> = self.machines.iter().map(|machine| machine.node.clone()).collect();
        let fleet =
            Fleet { shim: &self.shim, nodes: &nodes, now: self.now, class: self.class.as_deref() };
        plan::plan(&fleet)
    }

    /// Does what a plan says, as far as this many steps: then the operator dies.
    pub(crate) fn carry_out(&mut self, plan: &Plan, steps: usize) {
        if steps == 0 {
            return;
        }
        self.shim.status = Some(plan.status.clone());
        for action in plan.actions.iter().take(steps - 1) {
            self.act(action);
        }
    }

    /// A minute in which nothing bad happens.
    pub(crate) fn step(&mut self) {
        let plan = self.look();
        self.carry_out(&plan, usize::MAX);
        self.pass(1);
    }

    fn machine(&mut self, name: &str) -> &mut Machine {
        self.machines.iter_mut().find(|it| it.node.name == name).expect("a node of the fleet")
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Order { node, order } => self.order(node, order),
            Action::Job { node } => {
                let now = self.now;
                self.machine(node).start(now);
            }
            Action::Prove { node } => self.machine(node).node.proved = true,
            Action::Disprove { node } => self.machine(node).node.proved = false,
            Action::Evict { node } => self.machine(node).busy = false,
            Action::Forget { node: name } => {
                let node = &mut self.machine(name).node;
                (node.decided, node.observed, node.installed) = (None, None, None);
                self.machine(name).looked = true;
            }
            Action::Release => {
                for machine in &self.machines {
                    assert!(machine.installed.is_none() || !machine.node.ready, "{machine:?}");
                    assert!(!machine.node.proved || !machine.node.ready, "{machine:?}");
                }
                self.released = true;
            }
        }
    }

    /// Written if the number is the next one, as the API server would by the object's version.
    fn order(&mut self, name: &str, order: &Order) {
        let machine = self.machine(name);
        let before = machine.node.decided.as_ref();
        let looked = machine.looked && !order.action.disrupts();
        let last = before.map_or(0, |last| last.attempt);
        if order.attempt != last + 1 {
            return;
        }
        assert!(machine.job.is_none(), "{name} has a Job, and is ordered to {order:?}");
        machine.node.decided = Some(Decided {
            attempt: order.attempt,
            action: order.action,
            revision: order.revision.clone(),
            wave: order.wave.clone(),
            only_looked_at: looked,
        });
        let line = format!("{name} {:?} {} {}", order.action, order.revision, order.wave);
        self.log.push(format!("{} {}", self.now.strftime("%H:%M"), line.trim_end()));
    }

    fn settle(&mut self, index: usize, job: Job) {
        let bits = self.machines[index]
            .node
            .decided
            .as_ref()
            .and_then(|last| self.bad.get(&last.revision));
        let bad = bits.is_some_and(|bits| (index + 1) & bits != 0);
        let now = self.now;
        self.machines[index].settle(job, bad, now);
    }
}

impl Machine {
    fn new(index: usize, zones: usize, now: Timestamp) -> Machine {
        let node = Node {
            name: format!("n{index}"),
            uid: format!("uid-{index}"),
            selected: true,
            ready: true,
            ready_since: now,
            held: false,
            domain: format!("zone-{}", index % zones),
            proved: false,
            boot_id: "boot-0".into(),
            machine_id: format!("machine-{index}"),
            runtime_version: "containerd://2.1.9".into(),
            handlers_lost: None,
            decided: None,
            observed: None,
            installed: None,
        };
        Machine {
            node,
            job: None,
            installed: None,
            unlucky: false,
            booked: false,
            missing: Vec::new(),
            looked: true,
            pending: false,
            busy: false,
            tried: None,
        }
    }

    pub(crate) fn under_way(&self) -> Option<&Decided> {
        let settled = self.node.observed.as_ref().map_or(0, |seen| seen.attempt);
        self.node.decided.as_ref().filter(|last| last.attempt > settled)
    }

    pub(crate) fn disrupted(&self) -> bool {
        self.under_way().is_some_and(|last| last.action.disrupts())
    }

    pub(crate) fn reboot(&mut self) {
        self.node.boot_id.push('x');
    }

    /// The same name, another machine.
    pub(crate) fn reimage(&mut self) {
        self.reboot();
        self.node.machine_id.push('x');
        self.installed = None;
    }

    pub(crate) fn set_ready(&mut self, ready: bool, now: Timestamp) {
        if self.node.ready != ready {
            (self.node.ready, self.node.ready_since) = (ready, now);
        }
    }

    fn start(&mut self, now: Timestamp) {
        let attempt = self.under_way().expect("a Job is made for an order").attempt;
        match &self.job {
            Some(job) => assert_eq!(job.attempt, attempt, "two Jobs on {}", self.node.name),
            None => {
                let minutes = 1 + node_hash(&self.node.name).len() as i64 % 3;
                self.job = Some(Job { attempt, ends: now + SignedDuration::from_mins(minutes) });
            }
        }
    }

    fn settle(&mut self, job: Job, bad: bool, now: Timestamp) {
        self.job = None;
        let Some(last) = self.under_way().cloned() else { return };
        assert_eq!(last.attempt, job.attempt, "a Job without its order on {}", self.node.name);
        let unlucky = std::mem::take(&mut self.unlucky);
        let away = self.booked || self.missing.contains(&last.revision);
        self.looked &= away || !last.action.disrupts();
        let outcome = match last.action {
            _ if away => Outcome::Failed,
            crd::Action::Plan => Outcome::Planned,
            _ if unlucky => Outcome::Failed,
            crd::Action::Install if bad => Outcome::Reverted,
            crd::Action::Install if self.pending => {
                self.installed = None;
                Outcome::PendingRestart
            }
            crd::Action::Install => {
                self.installed = Some(last.revision.clone());
                Outcome::Ready
            }
            crd::Action::Verify if self.installed.as_ref() == Some(&last.revision) => {
                Outcome::Ready
            }
            crd::Action::Verify => Outcome::Drifted,
            crd::Action::Remove if self.busy => Outcome::InUse,
            crd::Action::Remove => {
                self.installed = None;
                Outcome::Removed
            }
        };
        let failed = matches!(outcome, Outcome::Failed | Outcome::Reverted);
        if last.action == crd::Action::Install {
            let (revision, machine_id) = (last.revision.clone(), self.node.machine_id.clone());
            self.tried = Some(Try { revision, machine_id, at: now, failed });
        }
        let before = self.node.observed.as_ref().filter(|seen| seen.revision == last.revision);
        self.node.installed =
            self.installed.clone().filter(|_| !away).or(self.node.installed.take());
        if let Some(last) = &mut self.node.decided {
            last.only_looked_at = self.looked;
        }
        let failures = if failed { before.map_or(0, |seen| seen.failures) + 1 } else { 0 };
        self.node.observed = Some(Observation {
            attempt: last.attempt,
            action: last.action,
            revision: last.revision,
            outcome,
            proved: self.installed.is_some() && outcome != Outcome::Drifted,
            never_ran: away,
            failures,
            at: Time(now),
            node_uid: self.node.uid.clone(),
            boot_id: self.node.boot_id.clone(),
            machine_id: self.node.machine_id.clone(),
            runtime_version: self.node.runtime_version.clone(),
        });
    }
}

/// An administrator who is away lets things run.
pub(crate) fn calm(world: &mut World) {
    world.shim.spec.rollout.pace = Pace::Running;
    world.shim.spec.mode = crd::Mode::Managed;
    world.annotate(crd::RETRY, "calm");
    let now = world.now;
    for machine in &mut world.machines {
        machine.set_ready(true, now);
        (machine.node.held, machine.unlucky, machine.busy) = (false, false, false);
    }
}

pub(crate) fn rolls_back(world: &World) -> bool {
    world.shim.spec.rollout.on_failure != OnFailure::Pause
}
