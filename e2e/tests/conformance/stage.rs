//! Plays one row in one column at one level and writes down what it sees.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use containerd_client::types::Mount;
use serde_json::{Value, json};
use wherry_e2e::client::{NewContainer, Stdio, runc_options};
use wherry_e2e::command::until;
use wherry_e2e::pipes::Pipes;
use wherry_e2e::spec;
use wherry_e2e::tasks::{Call, Creation, Daemon, Refused, Service, Shim, Tasks, Told};

use crate::column::Column;
use crate::events::{self, Facts};
use crate::ground::Ground;
use crate::script::Level;
use crate::seen::{self, Pids};
use crate::table::{Given, Row, State};

pub(crate) type Answer = Result<Told, Refused>;

/// One container.
pub(crate) struct Stage<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) column: Column,
    pub(crate) id: String,
    pub(crate) given: Given,
    pub(crate) tasks: Tasks,
    pub(crate) creation: Creation,
    /// What the task has been created with, one time or more.
    pub(crate) stdio: Vec<Stdio>,
    /// What every process was given, by its exec id; init's is empty.
    pub(crate) streams: BTreeMap<String, Streams>,
    pub(crate) pids: Pids,
    pub(crate) waiting: Vec<(&'static str, JoinHandle<Answer>)>,
    /// Execs whose id may be given to another.
    pub(crate) deleted: BTreeSet<&'static str>,
    /// How many folders of FIFOs there have been.
    pub(crate) folders: u32,
    pub(crate) second: Option<Box<Stage<'a>>>,
    pub(crate) began: i64,
}

pub(crate) struct Streams {
    pub(crate) pipes: Pipes,
    pub(crate) input: Option<File>,
}

impl Streams {
    pub(crate) fn new(folder: PathBuf, stdin: bool, terminal: bool) -> Streams {
        let mut pipes = Pipes::new(folder, stdin);
        pipes.stdio.terminal = terminal;
        if terminal {
            pipes.one_output();
        }
        Streams { pipes, input: None }
    }
}

impl<'a> Stage<'a> {
    /// A shim or a container, but no task.
    pub(crate) fn set(
        ground: &'a Ground,
        column: Column,
        level: Level,
        row: &Row,
        id: String,
    ) -> Result<Stage<'a>> {
        let mut stage = Stage::bare(ground, column, row.given, id);
        match level {
            Level::Containerd => stage.make_container()?,
            Level::Shim => {
                stage.make_bundle()?;
                let containerd = &ground.containerd;
                // Ours serves both names; the one that this containerd would ask its own shim for is asked.
                let service = Service::of(containerd.version);
                let bundle = &stage.creation.bundle;
                let shim = Shim::start(containerd, column.runtime(), service, bundle, &stage.id)?;
                stage.tasks = Tasks::Shim(shim);
            }
        }
        Ok(stage)
    }

    fn bare(ground: &'a Ground, column: Column, given: Given, id: String) -> Stage<'a> {
        let folder = ground.containerd.place.path(&format!("io-{id}"));
        let streams = Streams::new(folder, given.stdin, given.terminal);
        let options = ground.containerd.cgroups.options(column.runtime());
        let creation =
            Creation { options, stdio: streams.pipes.stdio.clone(), ..Creation::default() };
        Stage {
            ground,
            column,
            id,
            given,
            tasks: Tasks::Daemon(Daemon(ground.containerd.client())),
            stdio: vec![creation.stdio.clone()],
            creation,
            streams: BTreeMap::from([(String::new(), streams)]),
            pids: Pids::default(),
            waiting: Vec::new(),
            deleted: BTreeSet::new(),
            folders: 0,
            second: None,
            began: seen::now(),
        }
    }

    /// Another task of the same kind in the same shim, as in a pod.
    pub(crate) fn beside(&self) -> Result<Stage<'a>> {
        let mut second =
            Stage::bare(self.ground, self.column, self.given, format!("{}-2", self.id));
        second.make_bundle()?;
        second.tasks = self.tasks.clone();
        Ok(second)
    }

    fn make_container(&mut self) -> Result<()> {
        let image = self.ground.image(self.column);
        let client = self.ground.containerd.client();
        client.create_container(NewContainer {
            id: self.id.clone(),
            image: image.reference.clone(),
            runtime: self.column.runtime().name().to_string(),
            runtime_options: self.creation.options.clone().map(runc_options),
            spec: self.spec(),
            labels: Vec::new(),
        })?;
        self.creation.rootfs = client.prepare_snapshot(&self.id, &image.chain_id)?;
        Ok(())
    }

    fn make_bundle(&mut self) -> Result<()> {
        // Named as the task is: older shims look for it beside the folder that they are in.
        let bundle = self.ground.containerd.place.path("bundles").join(&self.id);
        fs::create_dir_all(bundle.join("rootfs"))?;
        fs::write(bundle.join("config.json"), self.spec().to_string())?;
        self.creation.rootfs = vec![Mount {
            r#type: "bind".into(),
            source: self.ground.rootfs(self.column).display().to_string(),
            target: String::new(),
            options: vec!["rbind".into(), "rw".into()],
        }];
        self.creation.bundle = bundle;
        Ok(())
    }

    pub(crate) fn spec(&self) -> Value {
        let image = self.ground.image(self.column);
        let containerd = &self.ground.containerd;
        let path = containerd.cgroups.path(&containerd.place.tag, &self.id);
        let mut spec = spec::default(image, &path);
        spec["process"]["args"] = args(self.given.program);
        spec["process"]["terminal"] = json!(self.given.terminal);
        if let Some(limit) = self.given.memory {
            // Without a limit for both, the kernel swaps for minutes.
            spec["linux"]["resources"]["memory"] = json!({ "limit": limit, "swap": limit });
        }
        spec
    }

    /// Brings the task into its given state, which must go well.
    pub(crate) fn reach(&mut self) -> Result<()> {
        let mut steps = vec!["create", "start"];
        match self.given.state {
            State::Nothing => steps.clear(),
            State::Created => steps.truncate(1),
            State::Running => {}
            State::Paused => steps.push("pause"),
            State::Stopped(_) => steps.push("wait"),
            State::Killed => steps.extend(["kill", "wait"]),
            State::Deleted => {
                steps.extend(["wait", "delete"]);
                self.deleted.insert("");
            }
        }
        for step in steps {
            let call = match step {
                "create" => Call::Create(self.creation.clone()),
                "start" => Call::Start,
                "pause" => Call::Pause,
                "kill" => Call::Kill { signal: 9, all: false },
                "wait" => Call::Wait,
                _ => Call::Delete,
            };
            let told = self.tasks.ask(&self.id, "", &call).with_context(|| step.to_string())?;
            if let Told::Pid(pid) = told {
                self.pids.told("", pid);
            }
            if step == "wait" {
                self.settle("");
            }
            // Whatever it does by itself it has begun.
            if step == "start" && self.given.program == "sleep" && !self.says("", "sleeping") {
                bail!("{} does not begin", self.given.program);
            }
        }
        Ok(())
    }

    /// containerd's shim answers those who wait before it queues the exit (`handleProcessExit`), so what is done
    /// next may be told first. Ours gets no such time.
    pub(crate) fn settle(&self, exec: &str) {
        let of = if exec.is_empty() { &self.id } else { exec };
        let lives = self.pids.lives(exec);
        let heard = || {
            let all = self.ground.events.whole(&self.id);
            all.iter().filter(|event| events::is_exit_of(event, of)).count() >= lives
        };
        if self.column == Column::Runc {
            until(Duration::from_secs(2), heard);
        }
    }

    /// Ends and forgets the task, whatever state it is in, and tells what this publishes.
    pub(crate) fn clear(&mut self) -> Result<String> {
        if let Some(second) = &mut self.second {
            second.clear()?;
        }
        let ask = |call| self.tasks.ask(&self.id, "", &call);
        let Ok(Told::State(state)) = ask(Call::State) else { return Ok(String::new()) };
        let mut published = String::new();
        if state.status != wherry_e2e::tasks::Status::Stopped {
            // It may have ended meanwhile.
            ask(Call::Kill { signal: 9, all: false }).ok();
        }
        let Told::Exit(exit) = ask(Call::Wait).context("wait")? else { bail!("no exit") };
        self.settle("");
        if state.status != wherry_e2e::tasks::Status::Stopped {
            published = format!("exit {}, ", exit.status);
        }
        ask(Call::Delete).context("delete")?;
        Ok(format!("{published}delete {}", exit.status))
    }

    /// The events of the whole life, once they are `enough`.
    pub(crate) fn events(&self, enough: impl Fn(&str) -> bool) -> String {
        let facts = Facts { id: &self.id, pids: &self.pids, stdio: &self.stdio, began: self.began };
        let mut told = String::new();
        until(Duration::from_secs(5), || {
            let all = self.ground.events.whole(&self.id);
            let all: Vec<String> = all.iter().map(|e| events::render(e, &facts)).collect();
            told = all.join(", ");
            enough(&told)
        });
        told
    }

    /// Takes away what is left beside the task.
    pub(crate) fn strike(mut self) -> Result<()> {
        self.streams.clear();
        let containerd = &self.ground.containerd;
        match self.tasks {
            Tasks::Daemon(_) => {
                let client = containerd.client();
                client.remove_snapshot(&self.id).context("remove snapshot")?;
                client.delete_container(&self.id).context("delete container")?;
            }
            Tasks::Shim(shim) => {
                let tasks = Tasks::Shim(shim.clone());
                // One that has left already can't be asked to.
                tasks.ask(&self.id, "", &Call::Shutdown).ok();
                let left = shim.leaves();
                if let Some(second) = self.second {
                    shim.clean(
                        containerd,
                        self.column.runtime(),
                        &second.creation.bundle,
                        &second.id,
                    )?;
                }
                let bundle = &self.creation.bundle;
                let cleaned = shim.clean(containerd, self.column.runtime(), bundle, &self.id);
                // containerd's own, up to 1.7, does not know what to do where nothing was created.
                if self.column.is_ours() {
                    cleaned?;
                }
                fs::remove_dir_all(bundle)?;
                if !left {
                    bail!("the shim does not leave");
                }
            }
        }
        Ok(())
    }
}

/// A guest of ours is called as its file is, in every image.
pub(crate) fn args(program: &str) -> Value {
    let mut words = program.split_whitespace();
    let first = words.next().map(|name| format!("/{name}.wasm"));
    json!(first.into_iter().chain(words.map(str::to_string)).collect::<Vec<_>>())
}
