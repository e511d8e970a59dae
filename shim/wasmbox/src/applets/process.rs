//! `ps`, `id` and their like: what `/proc` tells. A container whose image has no root file system
//! for its guest has no `/proc` either; then there is one process, and it is root's.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::call::{Call, Failure, Outcome};
use crate::options::Options;

/// The own process's number, as its PID namespace has it.
pub(crate) fn own_id() -> u32 {
    let own = fs::read_link("/proc/self").ok();
    own.and_then(|path| path.to_str()?.parse().ok()).unwrap_or(1)
}

/// A line of `/proc/<id>/status`.
fn status(id: &str, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|value| value.trim().to_string())
}

/// Real and effective.
fn ids(field: &str) -> (u32, u32) {
    let text = status("self", field).unwrap_or_default();
    let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
    let real = numbers.next().unwrap_or(0);
    (real, numbers.next().unwrap_or(real))
}

/// The name of a number in `/etc/passwd` or `/etc/group`.
pub(super) fn name_of(file: &str, id: u32) -> Option<String> {
    let text = fs::read_to_string(file).ok();
    let found = text.iter().flat_map(|text| text.lines()).find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_string())
    });
    // An image from scratch has neither file, and everybody knows this one.
    found.or_else(|| (id == 0 && text.is_none()).then(|| "root".to_string()))
}

pub(super) fn user() -> u32 {
    ids("Uid").1
}

pub(super) fn group() -> u32 {
    ids("Gid").1
}

fn all_groups() -> Vec<u32> {
    let more = status("self", "Groups").unwrap_or_default();
    let mut groups = vec![group()];
    groups.extend(more.split_whitespace().filter_map(|text| text.parse::<u32>().ok()));
    let mut seen = Vec::new();
    groups.retain(|group| {
        !seen.contains(group) && {
            seen.push(*group);
            true
        }
    });
    groups
}

pub(super) fn id(call: &Call<'_>) -> Outcome {
    let options = Options::parse(
        call.args,
        "ugGnr",
        &[("user", 'u'), ("group", 'g'), ("groups", 'G'), ("name", 'n'), ("real", 'r')],
    )?;
    if let Some(name) = options.operands.first() {
        return of_user(call, &options, name);
    }
    let (uid, gid) =
        if options.has('r') { (ids("Uid").0, ids("Gid").0) } else { (user(), group()) };
    show(call, &options, uid, gid, &all_groups())
}

fn of_user(call: &Call<'_>, options: &Options, name: &str) -> Outcome {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = line
        .into_iter()
        .find(|fields| fields.first() == Some(&name) || fields.get(2) == Some(&name));
    let number =
        |fields: &Vec<&str>, at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
    let ids = found.as_ref().and_then(|fields| Some((number(fields, 2)?, number(fields, 3)?)));
    let (uid, gid) = match ids {
        Some(ids) => ids,
        None if name == "root" => (0, 0),
        None => return Err(Failure::new(format!("unknown user {name}"))),
    };
    show(call, options, uid, gid, &[gid])
}

fn show(call: &Call<'_>, options: &Options, uid: u32, gid: u32, groups: &[u32]) -> Outcome {
    let plain = |file: &str, id: u32| match options.has('n') {
        true => name_of(file, id).unwrap_or_else(|| id.to_string()),
        false => id.to_string(),
    };
    let both = |file: &str, id: u32| match name_of(file, id) {
        Some(name) => format!("{id}({name})"),
        None => id.to_string(),
    };
    let line = match options.last_of("ugG") {
        Some('u') => plain("/etc/passwd", uid),
        Some('g') => plain("/etc/group", gid),
        Some(_) => groups.iter().map(|id| plain("/etc/group", *id)).collect::<Vec<_>>().join(" "),
        None => {
            let groups: Vec<String> = groups.iter().map(|id| both("/etc/group", *id)).collect();
            format!(
                "uid={} gid={} groups={}",
                both("/etc/passwd", uid),
                both("/etc/group", gid),
                groups.join(",")
            )
        }
    };
    writeln!(call.out(), "{line}")?;
    Ok(0)
}

pub(super) fn groups(call: &Call<'_>) -> Outcome {
    let names: Vec<String> = all_groups()
        .into_iter()
        .map(|id| name_of("/etc/group", id).unwrap_or_else(|| id.to_string()))
        .collect();
    writeln!(call.out(), "{}", names.join(" "))?;
    Ok(0)
}

pub(super) fn whoami(call: &Call<'_>) -> Outcome {
    let uid = user();
    match name_of("/etc/passwd", uid) {
        Some(name) => writeln!(call.out(), "{name}")?,
        None => return Err(Failure::new(format!("unknown uid {uid}"))),
    }
    Ok(0)
}

struct Process {
    id: u32,
    parent: u32,
    user: String,
    state: String,
    memory_kib: u64,
    name: String,
    command: String,
}

impl Process {
    /// The first word of its command, without folders.
    fn program(&self) -> &str {
        let first = self.command.split(' ').next().unwrap_or_default();
        first.rsplit('/').next().unwrap_or_default()
    }
}

fn processes() -> Vec<Process> {
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut ids: Vec<u32> =
        ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    ids.into_iter().filter_map(process).collect()
}

fn process(id: u32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let fields: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let first = |name: &str| field(name).split_whitespace().next().unwrap_or_default().to_string();
    let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_string();
    let uid: u32 = first("Uid").parse().unwrap_or(0);
    Some(Process {
        id,
        parent: first("PPid").parse().unwrap_or(0),
        user: name_of("/etc/passwd", uid).unwrap_or_else(|| uid.to_string()),
        state: first("State"),
        memory_kib: first("VmRSS").parse().unwrap_or(0),
        name: field("Name").to_string(),
        command: if command.is_empty() { format!("[{}]", field("Name")) } else { command },
    })
}

pub(super) fn ps(call: &Call<'_>) -> Outcome {
    let list = processes();
    if list.is_empty() {
        return Err(Failure::new("there is no /proc to read"));
    }
    let full = call.args.first().is_some_and(|arg| arg.contains('f') && !arg.contains('o'));
    if full {
        writeln!(call.out(), "UID          PID    PPID  C STIME TTY          TIME CMD")?;
        for process in list {
            let Process { id, parent, user, command, .. } = process;
            writeln!(
                call.out(),
                "{user:<8} {id:>7} {parent:>7}  0 00:00 ?        00:00:00 {command}"
            )?;
        }
        return Ok(0);
    }
    let columns = call.args.iter().skip_while(|arg| *arg != "-o").nth(1).cloned();
    let columns: Vec<String> = columns
        .as_deref()
        .unwrap_or("pid,user,rss,stat,args")
        .split(',')
        .map(str::to_string)
        .collect();
    let width = |column: &str| match column {
        "pid" | "ppid" => 5,
        "rss" | "vsz" => 6,
        "user" => 8,
        _ => 4,
    };
    let header: Vec<String> =
        columns.iter().map(|column| cell(column, &title(column), width(column))).collect();
    writeln!(call.out(), "{}", header.join(" ").trim_end())?;
    for process in list {
        let value = |column: &str| match column {
            "pid" => process.id.to_string(),
            "ppid" => process.parent.to_string(),
            "user" => process.user.clone(),
            "rss" | "vsz" => process.memory_kib.to_string(),
            "stat" | "s" | "state" => process.state.clone(),
            "comm" => process.name.clone(),
            "args" | "cmd" | "command" => process.command.clone(),
            _ => "-".to_string(),
        };
        let row: Vec<String> =
            columns.iter().map(|column| cell(column, &value(column), width(column))).collect();
        writeln!(call.out(), "{}", row.join(" ").trim_end())?;
    }
    Ok(0)
}

fn title(column: &str) -> String {
    match column {
        "args" | "cmd" | "command" | "comm" => "COMMAND".to_string(),
        column => column.to_uppercase(),
    }
}

fn cell(column: &str, text: &str, width: usize) -> String {
    match column {
        "pid" | "ppid" | "rss" | "vsz" => format!("{text:>width$}"),
        _ => format!("{text:<width$}"),
    }
}

/// Shows the processes again and again, as `top` does until somebody ends it.
pub(super) fn top(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "bn:d:Hm", &[])?;
    let rounds: u64 = options.number('n')?.unwrap_or(u64::MAX);
    let pause = options.number::<f64>('d')?.unwrap_or(5.0);
    let interactive = call.streams.terminals()[1];
    for round in 0..rounds {
        if round > 0 {
            let pause = Duration::try_from_secs_f64(pause).unwrap_or(Duration::from_secs(5));
            std::thread::sleep(super::clock::left().map_or(pause, |left| left.min(pause)));
            super::clock::check()?;
        }
        if interactive {
            call.out().write_all(b"\x1b[H\x1b[J")?;
        }
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let value = |name: &str| {
            memory
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map_or("?", |value| value.trim_start_matches(':').trim())
        };
        writeln!(call.out(), "Mem: {} total, {} free", value("MemTotal"), value("MemFree"))?;
        writeln!(call.out(), "  PID  PPID USER     STAT    RSS COMMAND")?;
        for process in processes() {
            let Process { id, parent, user, state, memory_kib, command, .. } = process;
            writeln!(
                call.out(),
                "{id:5} {parent:5} {user:<8} {state:<4} {memory_kib:>6} {command}"
            )?;
        }
        call.out().flush()?;
    }
    Ok(0)
}

pub(super) fn pgrep(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "flxao", &[])?;
    let pattern = super::paths::only(call, &options.operands, "[-flx] PATTERN")?;
    let regex = super::regex::compile(pattern, super::regex::Dialect::Extended, false)?;
    let own = own_id();
    let mut status = 1;
    for process in processes() {
        let last = process.program();
        let text = if options.has('f') { &process.command } else { last };
        let found = if options.has('x') { text == pattern } else { regex.is_match(text) };
        if found && process.id != own {
            status = 0;
            let name = if options.has('l') { format!(" {last}") } else { String::new() };
            writeln!(call.out(), "{}{name}", process.id)?;
        }
    }
    Ok(status)
}

pub(super) fn pidof(call: &Call<'_>) -> Outcome {
    let found: Vec<String> = processes()
        .iter()
        .filter(|process| {
            let program = process.program();
            call.args.iter().any(|name| name == program || *name == process.name)
        })
        .map(|process| process.id.to_string())
        .collect();
    if found.is_empty() {
        return Ok(1);
    }
    writeln!(call.out(), "{}", found.join(" "))?;
    Ok(0)
}

const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "POLL", "PWR", "SYS",
];

fn signal(text: &str) -> Option<i32> {
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let at =
        SIGNALS.iter().position(|known| *known == name).and_then(|at| i32::try_from(at + 1).ok());
    at.or_else(|| text.parse().ok().filter(|number| (0..65).contains(number)))
}

/// A guest can send no signal: only to itself, which is to end as if one had come.
pub(super) fn kill(call: &Call<'_>) -> Outcome {
    let mut number = 15;
    let mut args = call.args.iter();
    let mut targets = Vec::new();
    while let Some(arg) = args.next() {
        match arg.strip_prefix('-') {
            Some("l") => {
                for name in SIGNALS {
                    writeln!(call.out(), "{name}")?;
                }
                return Ok(0);
            }
            Some("s" | "n") => {
                let name = args.next().map(String::as_str).unwrap_or_default();
                number = signal(name)
                    .ok_or_else(|| Failure::new(format!("bad signal name '{name}'")))?;
            }
            Some("-") => {}
            Some(name) if targets.is_empty() && signal(name).is_some() => {
                number = signal(name).unwrap_or(15)
            }
            Some(name) if targets.is_empty() => {
                return Err(Failure::new(format!("bad signal name '{name}'")));
            }
            _ => targets.push(arg.clone()),
        }
    }
    let own = own_id().to_string();
    match &targets[..] {
        [] => Err(Failure::new("you need to specify whom to kill")),
        [only] if *only == own && number == 0 => Ok(0),
        [only] if *only == own => Err(Failure::Exit(128 + number)),
        [target, ..] if number == 0 && target.parse::<u32>().is_ok() => {
            match fs::metadata(format!("/proc/{target}")) {
                Ok(_) => Ok(0),
                Err(_) => Err(Failure::new(format!("can't kill pid {target}: No such process"))),
            }
        }
        [target, ..] => Err(Failure::new(format!(
            "can't kill {target}: a WebAssembly guest can send no signals; the container's runtime can (docker kill, crictl stop)"
        ))),
    }
}
