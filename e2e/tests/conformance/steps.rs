//! What each verb of the table does.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use containerd_client::types::Mount;
use serde_json::json;
use wherry_e2e::client::Stdio;
use wherry_e2e::command::until;
use wherry_e2e::tasks::{Call, Creation, Shim, Tasks, Told};

use crate::cgroup;
use crate::script::Step;
use crate::seen;
use crate::stage::{Answer, Stage, Streams, args};

/// As long as anything but a cold start on a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl Stage<'_> {
    /// Takes one step and tells what it saw.
    pub(crate) fn take(&mut self, step: &Step) -> String {
        if step.second {
            return self.second(step);
        }
        let told = match step.verb {
            "waiting" => {
                let (tasks, id, exec) = (self.tasks.clone(), self.id.clone(), step.exec);
                let wait = move || tasks.ask(&id, exec, &Call::Wait);
                self.waiting.push((exec, std::thread::spawn(wait)));
                return "ok".into();
            }
            "waited" => self.waited(step.exec),
            "says" => {
                let text = step.words.replace("\\r", "\r").replace("\\n", "\n");
                return answered(self.says(step.exec, &text), "it never says so");
            }
            "feed" => return self.feed(step.exec, step.words),
            "output" => return self.output(step.exec),
            "cgroup" => return cgroup::limit(self.pids.now(""), step.words),
            "leaves" => return answered(self.shim().is_some_and(Shim::leaves), "it stays"),
            "other" => match self.shim() {
                Some(shim) => shim.connect_as_other(&self.id),
                None => return "no shim at this level".into(),
            },
            verb => match self.call(step) {
                Ok(call) => {
                    let answer = self.tasks.ask(&self.id, step.exec, &call);
                    match (verb, answer.is_ok()) {
                        ("exec", true) => self.pids.begin(step.exec),
                        ("delete", true) => drop(self.deleted.insert(step.exec)),
                        _ => {}
                    }
                    answer
                }
                Err(why) => return why,
            },
        };
        if matches!(step.verb, "wait" | "waited") && told.is_ok() {
            self.settle(step.exec);
        }
        self.write_down(step.exec, told)
    }

    /// The same of the other task, which is there once it is asked about.
    fn second(&mut self, step: &Step) -> String {
        if self.second.is_none() {
            match self.beside() {
                Ok(second) => self.second = Some(Box::new(second)),
                Err(error) => return format!("{error:#}"),
            }
        }
        let mut step = *step;
        step.second = false;
        self.second.as_mut().map(|second| second.take(&step)).unwrap_or_default()
    }

    fn shim(&self) -> Option<&Shim> {
        match &self.tasks {
            Tasks::Shim(shim) => Some(shim),
            Tasks::Daemon(_) => None,
        }
    }

    /// The call that a step stands for.
    fn call(&mut self, step: &Step) -> Result<Call, String> {
        let mut words = step.words.split_whitespace();
        Ok(match step.verb {
            "create" => Call::Create(self.flawed(step.words)?),
            "start" => Call::Start,
            "state" => Call::State,
            "wait" => Call::Wait,
            "kill" => Call::Kill {
                signal: words.next().and_then(|word| word.parse().ok()).unwrap_or_default(),
                all: words.next() == Some("all"),
            },
            "delete" => Call::Delete,
            "pids" => Call::Pids,
            "exec" => self.exec(step.exec, step.words),
            "resize" => Call::Resize { width: 80, height: 24 },
            "closeio" => {
                let stdin = step.words != "nothing";
                if let Some(streams) = self.streams.get_mut(step.exec)
                    && stdin
                {
                    streams.input = None;
                }
                Call::CloseIo { stdin }
            }
            "pause" => Call::Pause,
            "resume" => Call::Resume,
            "update" => Call::Update(cgroup::resources(step.words)),
            "stats" => Call::Stats,
            "checkpoint" => {
                Call::Checkpoint(self.ground.containerd.place.path(&format!("cp-{}", self.id)))
            }
            "connect" => Call::Connect,
            "shutdown" => Call::Shutdown,
            other => return Err(format!("{other} is no verb")),
        })
    }

    /// A creation with the flaw that `words` name.
    fn flawed(&mut self, words: &str) -> Result<Creation, String> {
        if self.deleted.remove("") {
            self.creation.stdio = self.renew("", self.given.stdin, self.given.terminal);
            self.stdio.push(self.creation.stdio.clone());
            self.pids.begin("");
        }
        let mut creation = self.creation.clone();
        let config = creation.bundle.join("config.json");
        let told = |error: std::io::Error| error.to_string();
        match words {
            "" => {}
            "without a bundle" => creation.bundle = creation.bundle.join("nowhere"),
            "without a config" => fs::remove_file(config).map_err(told)?,
            "with a broken config" => fs::write(config, "{").map_err(told)?,
            "with its config" => fs::write(config, self.spec().to_string()).map_err(told)?,
            "with a broken rootfs" => {
                let nowhere = self.ground.containerd.place.path("nowhere");
                creation.rootfs = vec![Mount {
                    r#type: "bind".into(),
                    source: nowhere.display().to_string(),
                    target: String::new(),
                    options: vec!["rbind".into()],
                }];
            }
            other => return Err(format!("{other} is no flaw")),
        }
        Ok(creation)
    }

    /// `[stdin] [tty] program…`, or `nonsense`.
    fn exec(&mut self, exec: &'static str, words: &str) -> Call {
        let (mut rest, mut stdin, mut terminal) = (words, false, false);
        while let Some((flag, after)) = rest.split_once(' ') {
            match flag {
                "stdin" => stdin = true,
                "tty" => terminal = true,
                _ => break,
            }
            rest = after;
        }
        // One that is refused changes nothing for that which has the id.
        let stdio = match self.streams.get(exec) {
            Some(streams) if !self.deleted.remove(exec) => streams.pipes.stdio.clone(),
            _ => self.renew(exec, stdin, terminal),
        };
        let process = match rest {
            "nonsense" => "{".to_string(),
            program => {
                let mut process = self.spec()["process"].take();
                process["args"] = args(program);
                process["terminal"] = json!(terminal);
                process.to_string()
            }
        };
        Call::Exec { process: process.into_bytes(), stdio }
    }

    /// Streams for a process that is to be.
    fn renew(&mut self, exec: &str, stdin: bool, terminal: bool) -> Stdio {
        self.folders += 1;
        let folder = format!("io-{}-{}", self.id, self.folders);
        let folder = self.ground.containerd.place.path(&folder);
        let streams = Streams::new(folder, stdin, terminal);
        let stdio = streams.pipes.stdio.clone();
        self.streams.insert(exec.to_string(), streams);
        stdio
    }

    fn waited(&mut self, exec: &str) -> Answer {
        let found = self.waiting.iter().position(|(of, _)| *of == exec);
        let Some(found) = found else { return Err(seen::nobody("nobody waits")) };
        let (_, waiter) = self.waiting.remove(found);
        if !until(PATIENCE, || waiter.is_finished()) {
            return Err(seen::nobody("it still waits"));
        }
        waiter.join().expect("no waiter panics")
    }

    pub(crate) fn says(&self, exec: &str, text: &str) -> bool {
        let out = |streams: &Streams| streams.pipes.out.text();
        until(PATIENCE, || self.streams.get(exec).map(out).unwrap_or_default().contains(text))
    }

    fn feed(&mut self, exec: &str, text: &str) -> String {
        let Some(streams) = self.streams.get_mut(exec) else { return "no such process".into() };
        if streams.input.is_none() {
            // It is opened as soon as someone reads, which a shim does when it creates the process.
            let path = streams.pipes.stdio.stdin.clone();
            let opener = std::thread::spawn(move || File::options().write(true).open(path));
            if !until(PATIENCE, || opener.is_finished()) {
                return "nobody reads stdin".into();
            }
            streams.input = opener.join().expect("an open does not panic").ok();
        }
        let Some(input) = &mut streams.input else { return "no stdin".into() };
        answered(writeln!(input, "{text}").is_ok(), "nobody reads stdin any more")
    }

    fn output(&mut self, exec: &str) -> String {
        let Some(mut streams) = self.streams.remove(exec) else { return "no such process".into() };
        let (out, err) = streams.pipes.collect();
        if err.is_empty() { format!("{out:?}") } else { format!("{out:?} and {err:?}") }
    }

    fn write_down(&mut self, exec: &str, answer: Answer) -> String {
        if let Ok(Told::Pid(pid)) = &answer
            && !self.pids.told(exec, *pid)
        {
            return "another pid".into();
        }
        let none = Stdio::default();
        let stdio = self.streams.get(exec).map_or(&none, |streams| &streams.pipes.stdio);
        let (task, pids, began) = (&self.id, &self.pids, self.began);
        seen::Facts { task, exec, pids, stdio, began }.write_down(answer)
    }
}

fn answered(well: bool, otherwise: &str) -> String {
    if well { "ok".into() } else { otherwise.into() }
}
