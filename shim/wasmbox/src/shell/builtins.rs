//! Commands that change the shell itself, or ask it.

mod read;
mod tell;
mod variables;

use std::path::Path;

use self::read::{getopts, read};
use self::tell::{Telling, command, tell};
use self::variables::{alias, export, local, read_only, set, unset};
use super::{Run, Shell, Stop};
use crate::call::sentence;

pub(super) struct Builtin {
    /// Assignments in front of it stay, and an error in it ends the shell (XCU 2.14).
    pub(super) special: bool,
    pub(super) run: fn(&mut Shell, &[String]) -> Run,
}

type Entry = (&'static str, bool, fn(&mut Shell, &[String]) -> Run);

const BUILTINS: &[Entry] = &[
    (":", true, |_, _| Ok(0)),
    (".", true, source),
    ("alias", false, alias),
    ("break", true, |shell, args| leave(shell, args, Stop::Break)),
    ("cd", false, cd),
    ("command", false, command),
    ("continue", true, |shell, args| leave(shell, args, Stop::Continue)),
    ("eval", true, |shell, args| shell.text(&args.join(" "))),
    ("exec", true, exec),
    ("exit", true, |shell, args| Err(Stop::Exit(shell.status_of(args)?))),
    ("export", true, export),
    ("getopts", false, getopts),
    ("hash", false, |_, _| Ok(0)),
    ("jobs", false, |_, _| Ok(0)),
    ("let", false, arithmetic),
    ("local", false, local),
    ("pwd", false, |shell, _| {
        let outcome = shell.write(&format!("{}\n", shell.directory));
        shell.ended("pwd", outcome)
    }),
    ("read", false, read),
    ("readonly", true, read_only),
    ("return", true, |shell, args| Err(Stop::Return(shell.status_of(args)?))),
    ("set", true, set),
    ("shift", true, shift),
    ("source", true, source),
    ("times", true, |shell, _| {
        let outcome = shell.write("0m0.000000s 0m0.000000s\n0m0.000000s 0m0.000000s\n");
        shell.ended("times", outcome)
    }),
    ("trap", true, trap),
    ("type", false, |shell, args| tell(shell, args, Telling::Type)),
    ("ulimit", false, |shell, _| {
        let outcome = shell.write("unlimited\n");
        shell.ended("ulimit", outcome)
    }),
    ("umask", false, umask),
    ("unalias", false, |shell, args| {
        args.iter().for_each(|name| drop(shell.aliases.remove(name)));
        Ok(0)
    }),
    ("unset", true, unset),
    // There is never a job to wait for.
    ("wait", false, |_, _| Ok(0)),
];

impl Builtin {
    pub(super) fn named(name: &str) -> Option<Builtin> {
        let (_, special, run) = BUILTINS.iter().find(|(known, ..)| *known == name)?;
        Some(Builtin { special: *special, run: *run })
    }
}

impl Shell {
    fn status_of(&self, args: &[String]) -> Result<i32, Stop> {
        match args.first() {
            None => Ok(self.status),
            Some(text) => match text.parse::<i32>() {
                Ok(status) if status >= 0 => Ok(status & 0xff),
                _ => Err(self.fatal(&format!("Illegal number: {text}"))),
            },
        }
    }

    fn fails(&self, sentence: &str) -> Run {
        self.say(sentence);
        Ok(1)
    }
}

fn leave(shell: &mut Shell, args: &[String], how: fn(u32) -> Stop) -> Run {
    let levels = args.first().map_or(Ok(1), |text| text.parse::<u32>());
    match levels {
        Ok(levels) if levels > 0 && shell.loops > 0 => Err(how(levels.min(shell.loops))),
        Ok(levels) if levels > 0 => Ok(0),
        _ => Err(shell.fatal(&format!("Illegal number: {}", args[0]))),
    }
}

fn cd(shell: &mut Shell, args: &[String]) -> Run {
    let physical = args.first().is_some_and(|arg| arg == "-P");
    let args =
        if args.first().is_some_and(|arg| arg == "-P" || arg == "-L") { &args[1..] } else { args };
    let home = shell.value("HOME");
    let back = args.first().is_some_and(|arg| arg == "-");
    let target = match args.first() {
        Some(_) if back => shell.value("OLDPWD"),
        Some(target) => Some(target.clone()),
        None => home,
    };
    let Some(target) = target else {
        return shell.fails(if back { "cd: OLDPWD not set" } else { "cd: HOME not set" });
    };
    let path = crate::applets::join(&shell.directory, &target);
    if let Err(error) = std::env::set_current_dir(&path) {
        shell.say(&format!("cd: can't cd to {target}: {}", sentence(&error)));
        return Ok(2);
    }
    let path = if physical { crate::applets::directory() } else { path };
    let before = std::mem::replace(&mut shell.directory, path.clone());
    shell.assign("OLDPWD", Some(before));
    shell.assign("PWD", Some(path.clone()));
    if back {
        let outcome = shell.write(&format!("{path}\n"));
        return shell.ended("cd", outcome);
    }
    Ok(0)
}

fn source(shell: &mut Shell, args: &[String]) -> Run {
    let Some((name, args)) = args.split_first() else {
        return Err(shell.fatal(".: which file?"));
    };
    let mut path = name.clone();
    if !name.contains('/') {
        let folders = shell.value("PATH").unwrap_or_default();
        let found = folders.split(':').map(|folder| format!("{folder}/{name}"));
        path = found.into_iter().find(|path| Path::new(path).is_file()).unwrap_or(path);
    }
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            return Err(shell.fatal(&format!("can't open '{name}': {}", sentence(&error))));
        }
    };
    let positional =
        (!args.is_empty()).then(|| std::mem::replace(&mut shell.positional, args.to_vec()));
    let result = shell.text(&text);
    if let Some(positional) = positional {
        shell.positional = positional;
    }
    match result {
        Err(Stop::Return(status)) => Ok(status),
        result => result,
    }
}

fn exec(shell: &mut Shell, args: &[String]) -> Run {
    if args.is_empty() {
        return Ok(0);
    }
    let streams = shell.streams();
    let outcome = crate::applets::run_in_shell(&args[0], &args[1..], shell.exported(), streams);
    let status = shell.ended("exec", outcome)?;
    // The shell is no more, and with it its traps.
    shell.at_exit = None;
    Err(Stop::Exit(status))
}

fn shift(shell: &mut Shell, args: &[String]) -> Run {
    let count = args.first().map_or(Ok(1), |text| text.parse::<usize>());
    match count {
        Ok(count) if count <= shell.positional.len() => {
            shell.positional.drain(..count);
            Ok(0)
        }
        Ok(_) => Ok(1),
        Err(_) => Err(shell.fatal(&format!("Illegal number: {}", args[0]))),
    }
}

fn arithmetic(shell: &mut Shell, args: &[String]) -> Run {
    let mut value = 0;
    for arg in args {
        value = shell.arithmetic(arg)?;
    }
    Ok(i32::from(value == 0))
}

fn trap(shell: &mut Shell, args: &[String]) -> Run {
    let args = if args.first().is_some_and(|arg| arg == "--") { &args[1..] } else { args };
    let Some((action, names)) = args.split_first() else {
        let exit = shell.at_exit.iter().map(|text| ("EXIT", text));
        let others = shell.traps.iter().map(|(name, text)| (name.as_str(), text));
        let lines: String = exit
            .chain(others)
            .map(|(name, text)| format!("trap -- {} {name}\n", quote(text)))
            .collect();
        let outcome = shell.write(&lines);
        return shell.ended("trap", outcome);
    };
    // `trap INT` and `trap - INT` both take the trap away.
    let (action, names) = match names {
        [] => (None, args),
        names => ((action != "-").then(|| action.clone()), names),
    };
    for name in names {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        if matches!(name, "EXIT" | "0") {
            shell.at_exit = action.clone();
        } else {
            match &action {
                Some(action) => shell.traps.insert(name.to_string(), action.clone()),
                None => shell.traps.remove(name),
            };
        }
    }
    Ok(0)
}

fn umask(shell: &mut Shell, args: &[String]) -> Run {
    match args.first() {
        None => {
            let outcome = shell.write("0022\n");
            shell.ended("umask", outcome)
        }
        Some(_) => shell.fails("umask: WASI knows no file modes"),
    }
}

/// A value as it can be read back.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\"'\"'"))
}
