//! Where Wherry is not as containerd's own shim, and why. Each is needed: a difference that is not seen any more
//! fails the suite like one that is not listed.

use crate::column::Column;
use crate::script;
use crate::table::Row;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Difference {
    at: At,
    /// In the language of the table's expectations.
    pub(crate) ours: &'static str,
    pub(crate) why: &'static str,
    /// Of one of our columns; of both without.
    of: Option<Column>,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// A step of a row as the table has it, or `events`.
    Step(&'static str, &'static str),
    /// Wherever the expectation begins like this.
    Answer(&'static str),
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at {
            At::Step(row, step) => write!(f, "{row}, {step} -> {}", self.ours),
            At::Answer(theirs) => write!(f, "{theirs} -> {}", self.ours),
        }
    }
}

impl Difference {
    pub(crate) fn may_be_in(&self, row: &Row) -> bool {
        match self.at {
            At::Step(this, _) => this == row.id,
            At::Answer(answer) => row.steps.contains(answer),
        }
    }

    /// Where it is, for readers.
    pub(crate) fn place(&self) -> String {
        let of = match self.of {
            None => "",
            Some(Column::Native) => " (native)",
            Some(Column::Wasm | Column::Runc) => " (Wasm)",
        };
        match self.at {
            At::Step(row, step) => format!("{row}, `{step}`{of}"),
            At::Answer(_) => format!("everywhere{of}"),
        }
    }

    /// What the table expects there. Panics where the table has no such place.
    pub(crate) fn theirs(&self, rows: &[Row]) -> String {
        match self.at {
            At::Answer(answer) => format!("{answer} …"),
            At::Step(id, step) => {
                let row = rows.iter().find(|row| row.id == id);
                let row = row.unwrap_or_else(|| panic!("there is no row {id}"));
                if step == "events" {
                    return row.events.to_string();
                }
                let steps = script::steps(row.steps);
                let found = steps.iter().find(|known| known.text == step);
                found.unwrap_or_else(|| panic!("{id} has no {step}")).whole().to_string()
            }
        }
    }

    /// Not so for programs of the other form.
    const fn only(mut self, column: Column) -> Difference {
        self.of = Some(column);
        self
    }

    pub(crate) fn is_of(&self, column: Column) -> bool {
        column.is_ours() && self.of.is_none_or(|of| of == column)
    }

    pub(crate) fn is_about(&self, row: &str, step: &str, expected: &str) -> bool {
        match self.at {
            At::Step(this, that) => this == row && that == step,
            At::Answer(answer) => expected.starts_with(answer),
        }
    }
}

/// What containerd's shim answers so, ours answers otherwise everywhere.
const fn always(theirs: &'static str, ours: &'static str, why: &'static str) -> Difference {
    Difference { at: At::Answer(theirs), ours, why, of: None }
}

const fn differs(
    row: &'static str,
    step: &'static str,
    ours: &'static str,
    why: &'static str,
) -> Difference {
    Difference { at: At::Step(row, step), ours, why, of: None }
}

pub(crate) const DIFFERENCES: &[Difference] = &[
    always("Unknown: cannot checkpoint", "Unimplemented: checkpoint is not supported", CRIU),
    always("Unknown: cannot", "FailedPrecondition: cannot", CODE),
    always("Unknown: invalid argument", "InvalidArgument: is no signal", CODE),
    always("Unknown: unexpected", "InvalidArgument: EOF while parsing", CODE),
    differs("states.running", "x.closeio", "NotFound: exec x // NotFound", CODE),
    differs("create.twice", "create", "AlreadyExists: exists already", CODE),
    differs(
        "create.without-a-bundle",
        "create without a bundle",
        "InvalidArgument: No such file",
        WHOSE,
    ),
    differs(
        "create.without-a-config",
        "create without a config",
        "InvalidArgument: config.json",
        CODE,
    ),
    differs(
        "create.with-a-broken-config",
        "create with a broken config",
        "InvalidArgument: config.json",
        CODE,
    ),
    differs(
        "create.with-a-broken-rootfs",
        "create with a broken rootfs",
        "FailedPrecondition: mounting the root file system",
        CODE,
    ),
    differs("create.without-its-program", "create", "NotFound: no such file or directory", CODE),
    differs("states.connect", "other", "task", NAMES),
    differs("states.stopped", "kill 9 all", "NotFound: process already finished", NOBODY),
    differs("states.stopped", "pids", "init", LEAKED),
    differs("task.sigterm", "state", "stopped 143", TERM).only(Column::Wasm),
    differs("task.sigterm", "events", "exit 143", TERM).only(Column::Wasm),
    differs("exec.without-its-program", "e.wait", "Unknown: no such file or directory", NEVER),
    differs("exec.while-paused", "f.start", "FailedPrecondition: paused", CODE),
    differs("task.out-of-memory", "wait", "exit 134", GROW).only(Column::Wasm),
    differs("task.out-of-memory", "events", "start, exit 134", GROW).only(Column::Wasm),
];

const TERM: &str = "A process that is the first of its PID namespace does not hear a signal that it has no handler for, so \
                    that ordinary programs run on until they are killed. A guest cannot have a handler and is ended.";
const NEVER: &str = "A process that never was has no exit code; who waits for it is told why.";
const CODE: &str = "The code says what is wrong. containerd's shim gives the error none, which its clients hear as \
                    Unknown.";
const WHOSE: &str = "NotFound would be heard as: there is no such task.";
const CRIU: &str =
    "A Wasm guest has no state that CRIU could keep, and native containers are treated alike.";
const NAMES: &str = "Both names of the service are served, so that a containerd that was upgraded or put back \
                     still understands the shims that run.";
const NOBODY: &str = "When a task has stopped, nothing of it is left that could be killed.";
const LEAKED: &str = "containerd up to 2.2 takes a task without a pid for a leaked one when it is restarted, and its \
                      exit code is lost (`core/runtime/v2/shim_load.go`).";
const GROW: &str = "`memory.grow` is refused before the kernel has to kill: the guest hears of it, and what it does \
                    about it is its own matter. This one aborts.";

pub(crate) fn find(is: impl Fn(&&Difference) -> bool) -> Option<usize> {
    DIFFERENCES.iter().position(|difference| is(&difference))
}
