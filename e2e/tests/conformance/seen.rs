//! Answers as the table writes them, and behind them in brackets whatever they have wrong.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use containerd_client::tonic::Code;
use wherry_e2e::client::Stdio;
use wherry_e2e::tasks::{Exit, Refused, State, Status, Told};

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The harness's own failure: a code that nobody answers.
pub(crate) fn nobody(why: &str) -> Refused {
    Refused { code: Code::DataLoss, message: why.into() }
}

/// The pids that were told for each process, by its exec's id; init's is empty.
#[derive(Debug, Default)]
pub(crate) struct Pids(BTreeMap<String, Vec<u32>>);

impl Pids {
    /// An id stands for a new process, which has no pid yet.
    pub(crate) fn begin(&mut self, exec: &str) {
        self.0.entry(exec.to_string()).or_default().push(0);
    }

    /// Says whether the process may have this pid: it keeps its first.
    pub(crate) fn told(&mut self, exec: &str, pid: u32) -> bool {
        let all = self.0.entry(exec.to_string()).or_default();
        match all.last_mut() {
            Some(last) if *last == 0 => *last = pid,
            Some(last) => return *last == pid,
            None => all.push(pid),
        }
        true
    }

    /// How many processes have had this id.
    pub(crate) fn lives(&self, exec: &str) -> usize {
        self.0.get(exec).map_or(0, Vec::len)
    }

    /// 0 before it has started.
    pub(crate) fn now(&self, exec: &str) -> u32 {
        self.0.get(exec).and_then(|all| all.last()).copied().unwrap_or_default()
    }

    pub(crate) fn ever(&self, exec: &str, pid: u32) -> bool {
        self.0.get(exec).is_some_and(|all| all.contains(&pid))
    }

    fn whose(&self, pid: u32) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(_, pids)| pids.last() == Some(&pid)).map(|(exec, _)| exec.as_str())
    }
}

/// What is known of the process that was asked about.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) task: &'a str,
    pub(crate) exec: &'a str,
    pub(crate) pids: &'a Pids,
    pub(crate) stdio: &'a Stdio,
    pub(crate) began: i64,
}

type Wrong = Vec<Option<&'static str>>;

impl Facts<'_> {
    pub(crate) fn write_down(&self, answer: Result<Told, Refused>) -> String {
        let (text, wrong) = match answer {
            Err(refused) => return format!("{:?}: {}", refused.code, refused.message),
            Ok(Told::Done) => ("ok".to_string(), vec![]),
            Ok(Told::Pid(pid)) => ("pid".to_string(), vec![(pid == 0).then_some("of nobody")]),
            Ok(Told::State(state)) => self.state(&state),
            Ok(Told::Exit(exit)) => self.exit(&exit),
            Ok(Told::Pids(pids)) => self.pids(&pids),
            Ok(Told::Stats(kind)) => (stats(kind), vec![]),
            Ok(Told::Connected { shim, task }) => self.connected(shim, task),
        };
        let wrong: Vec<&str> = wrong.into_iter().flatten().collect();
        if wrong.is_empty() { text } else { format!("{text} ({})", wrong.join(", ")) }
    }

    /// None before it has started.
    fn pid(&self) -> u32 {
        self.pids.now(self.exec)
    }

    fn state(&self, state: &State) -> (String, Wrong) {
        let id = if self.exec.is_empty() { self.task } else { self.exec };
        let text = match state.status {
            Status::Stopped => format!("stopped {}", state.exit_status),
            other => format!("{other:?}").to_lowercase(),
        };
        let over = state.status == Status::Stopped;
        let (io, mine) = (&state.stdio, self.stdio);
        let same = (&io.stdin, &io.stdout, &io.stderr, io.terminal)
            == (&mine.stdin, &mine.stdout, &mine.stderr, mine.terminal);
        let wrong = vec![
            (state.id != id).then_some("wrong id"),
            (state.pid != self.pid()).then_some("wrong pid"),
            (!same).then_some("wrong io"),
            (!over && state.exit_status != 0).then_some("a code already"),
            if over { self.time(state.exited_at) } else { too_early(state.exited_at) },
        ];
        (text, wrong)
    }

    fn exit(&self, exit: &Exit) -> (String, Wrong) {
        let pid = exit.pid.filter(|pid| *pid != self.pid()).map(|_| "wrong pid");
        (format!("exit {}", exit.status), vec![pid, self.time(exit.exited_at)])
    }

    fn time(&self, told: Option<i64>) -> Option<&'static str> {
        match told {
            None => Some("exited_at unset"),
            Some(at) => (at < self.began || at > now()).then_some("wrong exited_at"),
        }
    }

    /// Each process by its exec's id, `init`, or `?`.
    fn pids(&self, told: &[(u32, Option<String>)]) -> (String, Wrong) {
        let name = |(pid, details): &(u32, Option<String>)| match (
            self.pids.whose(*pid),
            details.as_deref(),
        ) {
            (None, _) => "?".to_string(),
            (Some(""), None) => "init".to_string(),
            (Some(name), Some(details)) if name == details => name.to_string(),
            (Some(name), other) => format!("{name}({other:?})"),
        };
        let mut names: Vec<String> = told.iter().map(name).collect();
        names.sort_by_key(|name| (name != "init", name.clone()));
        (if names.is_empty() { "none".into() } else { names.join(" ") }, vec![])
    }

    fn connected(&self, shim: u32, task: u32) -> (String, Wrong) {
        let text = match task {
            0 => "no task",
            pid if pid == self.pids.now("") => "task",
            _ => "another task",
        };
        (text.to_string(), vec![(!lives(shim)).then_some("no shim")])
    }
}

fn too_early(told: Option<i64>) -> Option<&'static str> {
    told.map(|_| "exited_at already")
}

fn lives(pid: u32) -> bool {
    pid != 0 && fs::exists(format!("/proc/{pid}")).unwrap_or_default()
}

/// containerd's type for the version of cgroups that the node has; another breaks a node's statistics.
fn stats(kind: String) -> String {
    let unified = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let right = if unified { "v2" } else { "v1" };
    if kind == format!("io.containerd.cgroups.{right}.Metrics") { "metrics".into() } else { kind }
}
