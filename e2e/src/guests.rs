//! The programs that run in containers: what they are called, and from what they are built (`e2e/guests`).

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::rig;

/// How a guest is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program of the crate `commands`, for WASI preview 1, and for this machine as a control.
    Command,
    /// The same source as this [`Kind::Command`], as a component of WASI 0.2.
    CommandP2(&'static str),
    /// A program of `commands` that needs sockets: a component, and native.
    Sockets,
    /// A crate of its own, a component.
    Component,
    C,
    Go,
    /// Text, used as it is: a file of `guests/wat`.
    Wat(&'static str),
}

/// Every guest by name.
pub const ALL: &[(&str, Kind)] = &[
    ("args", Kind::Command),
    ("cat", Kind::Command),
    ("clock", Kind::Command),
    ("env", Kind::Command),
    ("exit", Kind::Command),
    ("files", Kind::Command),
    ("hello", Kind::Command),
    ("isatty", Kind::Command),
    ("json-fmt", Kind::Command),
    ("lines", Kind::Command),
    ("oom", Kind::Command),
    ("panic", Kind::Command),
    ("sleep", Kind::Command),
    ("spin", Kind::Command),
    ("trap", Kind::Command),
    ("args-p2", Kind::CommandP2("args")),
    ("cat-p2", Kind::CommandP2("cat")),
    ("clock-p2", Kind::CommandP2("clock")),
    ("env-p2", Kind::CommandP2("env")),
    ("exit-p2", Kind::CommandP2("exit")),
    ("files-p2", Kind::CommandP2("files")),
    ("hello-p2", Kind::CommandP2("hello")),
    ("isatty-p2", Kind::CommandP2("isatty")),
    ("json-fmt-p2", Kind::CommandP2("json-fmt")),
    ("lines-p2", Kind::CommandP2("lines")),
    ("oom-p2", Kind::CommandP2("oom")),
    ("panic-p2", Kind::CommandP2("panic")),
    ("sleep-p2", Kind::CommandP2("sleep")),
    ("spin-p2", Kind::CommandP2("spin")),
    ("trap-p2", Kind::CommandP2("trap")),
    ("lookup", Kind::Sockets),
    ("tcp-client", Kind::Sockets),
    ("tcp-server", Kind::Sockets),
    ("udp-client", Kind::Sockets),
    ("udp-server", Kind::Sockets),
    ("cwd", Kind::Component),
    ("fetch", Kind::Component),
    ("greet", Kind::Component),
    ("hello-p3", Kind::Component),
    ("http-p2", Kind::Component),
    ("http-p3", Kind::Component),
    ("hello-c", Kind::C),
    ("hello-go", Kind::Go),
    ("hello-wat", Kind::Wat("hello.wat")),
    ("add-wat", Kind::Wat("add.wat")),
];

pub fn kind(name: &str) -> Result<Kind> {
    match ALL.iter().find(|(known, _)| *known == name) {
        Some((_, kind)) => Ok(*kind),
        None => bail!("there is no guest called {name}"),
    }
}

/// The name of the built file, which is also its name in an image.
pub fn file_name(name: &str) -> Result<String> {
    Ok(match kind(name)? {
        Kind::Wat(file) => file.to_string(),
        _ => format!("{name}.wasm"),
    })
}

/// The built guest.
pub fn path(name: &str) -> Result<PathBuf> {
    let path = rig::guests().join(file_name(name)?);
    rig::need(&path, "cargo run -p wherry-e2e --bin guests")
}

/// The guest as a static program of this machine.
pub fn native(name: &str) -> Result<PathBuf> {
    let source = match kind(name)? {
        Kind::Command | Kind::Sockets => name,
        Kind::CommandP2(source) => source,
        Kind::C => "hello-c",
        _ => bail!("{name} is only made for WASI"),
    };
    let path = rig::guests().join("native").join(source);
    rig::need(&path, "cargo run -p wherry-e2e --bin guests").context("the control needs it")
}
