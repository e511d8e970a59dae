//! Events as the table writes them: `exit 7`, `e:exit 137`, and behind them in brackets whatever they have wrong.

use containerd_shim_protos::events::task as message;
use containerd_shim_protos::protobuf::Message;
use wherry_e2e::client::{Event, Stdio};

use crate::seen::Pids;

/// What is known of a task otherwise, that events must agree with.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) id: &'a str,
    pub(crate) pids: &'a Pids,
    /// One for each time that the task was created.
    pub(crate) stdio: &'a [Stdio],
    /// Seconds since 1970 before which nothing of the task can have happened.
    pub(crate) began: i64,
}

impl Facts<'_> {
    fn pid(&self, exec: &str, told: u32) -> Option<&'static str> {
        (!self.pids.ever(exec, told)).then_some("wrong pid")
    }

    fn time(&self, told: Option<i64>) -> Option<&'static str> {
        match told {
            None => Some("exited_at unset"),
            Some(at) => (at < self.began || at > self.began + 600).then_some("wrong exited_at"),
        }
    }
}

/// `{exec}:{what}`, or for init alone.
pub(crate) fn name(exec: &str, what: &str) -> String {
    if exec.is_empty() { what.to_string() } else { format!("{exec}:{what}") }
}

pub(crate) fn render(event: &Event, facts: &Facts<'_>) -> String {
    let (text, wrong) = match event.what.as_str() {
        "create" => create(&parsed(event), facts),
        "start" => {
            let told: message::TaskStart = parsed(event);
            ("start".to_string(), vec![facts.pid("", told.pid)])
        }
        "exit" => exit(&parsed(event), facts),
        "delete" => {
            let told: message::TaskDelete = parsed(event);
            let at = told.exited_at.as_ref().map(|at| at.seconds);
            let named = told.id.is_empty() || told.id == facts.id;
            let wrong = vec![
                facts.pid("", told.pid),
                facts.time(at.filter(|at| *at > 0)),
                (!named).then_some("wrong id"),
            ];
            (format!("delete {}", told.exit_status), wrong)
        }
        "exec-added" => {
            let told: message::TaskExecAdded = parsed(event);
            (name(&told.exec_id, "added"), vec![])
        }
        "exec-started" => {
            let told: message::TaskExecStarted = parsed(event);
            (name(&told.exec_id, "started"), vec![facts.pid(&told.exec_id, told.pid)])
        }
        other => (other.to_string(), vec![]),
    };
    let wrong: Vec<&str> = wrong.into_iter().flatten().collect();
    if wrong.is_empty() { text } else { format!("{text} ({})", wrong.join(" and ")) }
}

type Rendered = (String, Vec<Option<&'static str>>);

fn create(told: &message::TaskCreate, facts: &Facts<'_>) -> Rendered {
    let io = &told.io;
    let same = facts.stdio.iter().any(|mine| {
        (&io.stdin, &io.stdout, &io.stderr, io.terminal)
            == (&mine.stdin, &mine.stdout, &mine.stderr, mine.terminal)
    });
    let wrong = vec![
        facts.pid("", told.pid),
        told.bundle.is_empty().then_some("no bundle"),
        told.rootfs.is_empty().then_some("no rootfs"),
        (!same).then_some("wrong io"),
    ];
    ("create".to_string(), wrong)
}

/// Whether a process has ended, by its exec's id or, for init, the task's.
pub(crate) fn is_exit_of(event: &Event, id: &str) -> bool {
    event.what == "exit" && parsed::<message::TaskExit>(event).id == id
}

fn exit(told: &message::TaskExit, facts: &Facts<'_>) -> Rendered {
    let exec = if told.id == facts.id { "" } else { told.id.as_str() };
    let at = told.exited_at.as_ref().map(|at| at.seconds).filter(|at| *at > 0);
    let text = name(exec, &format!("exit {}", told.exit_status));
    (text, vec![facts.pid(exec, told.pid), facts.time(at)])
}

/// What can't be read says nothing, which is wrong in every field.
fn parsed<M: Message>(event: &Event) -> M {
    M::parse_from_bytes(&event.payload).unwrap_or_default()
}
