//! Commands that change the shell itself, or ask it.

use std::path::Path;

use super::{Run, Shell, Stop};
use crate::call::{Failure, sentence};
use crate::streams::read_line;

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
    if shell.depth >= super::DEEPEST {
        return Err(shell.fatal("too many files in each other"));
    }
    let positional =
        (!args.is_empty()).then(|| std::mem::replace(&mut shell.positional, args.to_vec()));
    shell.depth += 1;
    let result = shell.text(&text);
    shell.depth -= 1;
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

enum Telling {
    /// `command -v`
    Path,
    /// `type`, `command -V`
    Type,
}

fn command(shell: &mut Shell, args: &[String]) -> Run {
    match args.first().map(String::as_str) {
        None => Ok(0),
        Some("-v") => tell(shell, &args[1..], Telling::Path),
        Some("-V") => tell(shell, &args[1..], Telling::Type),
        Some("-p" | "--") => command(shell, &args[1..]),
        Some(name) => shell.words_without_functions(name, &args[1..]),
    }
}

const RESERVED: [&str; 16] = [
    "!", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "if", "in", "then",
    "until", "while",
];

fn tell(shell: &mut Shell, names: &[String], how: Telling) -> Run {
    let mut status = 0;
    for name in names {
        let (path, kind) = if RESERVED.contains(&name.as_str()) {
            (name.clone(), "is a shell keyword".to_string())
        } else if let Some(text) = shell.aliases.get(name) {
            (format!("alias {name}='{text}'"), format!("is an alias for {text}"))
        } else if shell.functions.contains_key(name) {
            (name.clone(), "is a function".to_string())
        } else if Builtin::named(name).is_some() {
            (name.clone(), "is a shell builtin".to_string())
        } else if let Some(path) = crate::applets::which(name, shell.value("PATH").as_deref()) {
            (path.clone(), format!("is {path}"))
        } else {
            status = 127;
            if matches!(how, Telling::Type) {
                shell.say(&format!("{name}: not found"));
            }
            continue;
        };
        let line = match how {
            Telling::Path => format!("{path}\n"),
            Telling::Type => format!("{name} {kind}\n"),
        };
        let outcome = shell.write(&line);
        shell.ended("type", outcome)?;
    }
    Ok(status)
}

fn export(shell: &mut Shell, args: &[String]) -> Run {
    if args.is_empty() || args == ["-p"] {
        let lines: String = shell
            .exported()
            .iter()
            .map(|(name, value)| format!("export {name}={}\n", quote(value)))
            .collect();
        let outcome = shell.write(&lines);
        return shell.ended("export", outcome);
    }
    let hides = args[0] == "-n";
    for arg in &args[usize::from(hides)..] {
        let name = declared(shell, arg)?;
        if let Some(variable) = shell.variables.get_mut(&name) {
            variable.exported = !hides;
        }
    }
    Ok(0)
}

fn read_only(shell: &mut Shell, args: &[String]) -> Run {
    for arg in args.iter().filter(|arg| *arg != "-p") {
        let name = declared(shell, arg)?;
        if let Some(variable) = shell.variables.get_mut(&name) {
            variable.read_only = true;
        }
    }
    Ok(0)
}

/// Sets what `name=value` says, and makes sure that there is a variable of the name.
fn declared(shell: &mut Shell, arg: &str) -> Result<String, Stop> {
    let (name, value) = match arg.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (arg, None),
    };
    let is_name =
        name.chars().all(super::parser::is_name) && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_name || name.is_empty() {
        return Err(shell.fatal(&format!("{name}: bad variable name")));
    }
    match value {
        Some(value) => shell.set(name, value)?,
        None if !shell.variables.contains_key(name) => shell.assign(name, None),
        None => {}
    }
    Ok(name.to_string())
}

fn local(shell: &mut Shell, args: &[String]) -> Run {
    if shell.locals.is_empty() {
        return Err(shell.fatal("local: not in a function"));
    }
    for arg in args {
        let name = arg.split('=').next().unwrap_or_default().to_string();
        let before = shell.variables.get(&name).cloned();
        if let Some(locals) = shell.locals.last_mut() {
            locals.push((name, before));
        }
        declared(shell, arg)?;
    }
    Ok(0)
}

fn unset(shell: &mut Shell, args: &[String]) -> Run {
    let functions = args.first().is_some_and(|arg| arg == "-f");
    for name in args.iter().filter(|arg| !matches!(arg.as_str(), "-f" | "-v")) {
        if functions {
            shell.functions.remove(name);
        } else if shell.variables.get(name).is_some_and(|variable| variable.read_only) {
            return Err(shell.fatal(&format!("{name}: is read only")));
        } else if shell.variables.remove(name).is_none() {
            shell.functions.remove(name);
        }
    }
    Ok(0)
}

fn set(shell: &mut Shell, args: &[String]) -> Run {
    if args.is_empty() {
        let values = shell
            .variables
            .iter()
            .filter_map(|(name, variable)| Some((name, variable.value.as_ref()?)));
        let lines: String =
            values.map(|(name, value)| format!("{name}={}\n", quote(value))).collect();
        let outcome = shell.write(&lines);
        return shell.ended("set", outcome);
    }
    let mut args = args.iter();
    while let Some(arg) = args.as_slice().first() {
        if arg == "--" {
            args.next();
            shell.positional = args.cloned().collect();
            return Ok(0);
        }
        let on = arg.starts_with('-');
        if arg.len() < 2 || !(on || arg.starts_with('+')) {
            shell.positional = args.cloned().collect();
            return Ok(0);
        }
        args.next();
        for letter in arg[1..].chars() {
            if letter == 'o' {
                let name = args.next().map(String::as_str).unwrap_or_default();
                shell.option(name, on)?;
            } else {
                shell.option(&letter.to_string(), on)?;
            }
        }
    }
    Ok(0)
}

impl Shell {
    /// Switches an option, by its letter or its name.
    pub(super) fn option(&mut self, name: &str, on: bool) -> Result<(), Stop> {
        let options = &mut self.options;
        match name {
            "e" | "errexit" => options.exit_on_error = on,
            "u" | "nounset" => options.no_unset = on,
            "x" | "xtrace" => options.trace = on,
            "f" | "noglob" => options.no_glob = on,
            "n" | "noexec" => options.no_execution = on,
            "C" | "noclobber" => options.no_clobber = on,
            "pipefail" => options.pipe_fail = on,
            "i" => options.interactive = on,
            // What these change, nobody can see here: locations, jobs, login, history.
            "a" | "b" | "h" | "l" | "m" | "v" | "allexport" | "monitor" | "verbose" | "vi"
            | "emacs" | "" => {}
            _ => return Err(self.fatal(&format!("set: illegal option -{name}"))),
        }
        Ok(())
    }
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

fn alias(shell: &mut Shell, args: &[String]) -> Run {
    for arg in args {
        if let Some((name, text)) = arg.split_once('=') {
            shell.aliases.insert(name.to_string(), text.to_string());
        }
    }
    if args.is_empty() {
        let lines: String =
            shell.aliases.iter().map(|(name, text)| format!("{name}={}\n", quote(text))).collect();
        let outcome = shell.write(&lines);
        return shell.ended("alias", outcome);
    }
    Ok(0)
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

fn read(shell: &mut Shell, args: &[String]) -> Run {
    let options = match crate::options::Options::parse(args, "+rp:n:t:s", &[]) {
        Ok(options) => options,
        Err(failure) => return shell.ended("read", Err(failure)),
    };
    if let Some(prompt) = options.value('p') {
        let _ = shell.streams().stderr.borrow_mut().write_all(prompt.as_bytes());
    }
    let mut text: Vec<(char, bool)> = Vec::new();
    let mut status;
    loop {
        let line = match read_line(&shell.streams().stdin) {
            Ok(line) => line.unwrap_or_default(),
            Err(error) => return shell.ended("read", Err(Failure::from(error))),
        };
        status = i32::from(line.last() != Some(&b'\n'));
        let line = String::from_utf8_lossy(&line).into_owned();
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let goes_on = unescape(line, options.has('r'), &mut text);
        if !goes_on || status == 1 {
            break;
        }
    }
    let separators = shell.value("IFS").unwrap_or_default();
    let mut names = options.operands.clone();
    if names.is_empty() {
        names.push("REPLY".to_string());
    }
    for (name, value) in names.iter().zip(divide(&text, &separators, names.len())) {
        shell.set(name, &value)?;
    }
    Ok(status)
}

/// Takes the backslashes out of a line; whether it goes on with the next.
fn unescape(line: &str, raw: bool, to: &mut Vec<(char, bool)>) -> bool {
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\\' || raw {
            to.push((c, false));
            continue;
        }
        match chars.next() {
            Some(c) => to.push((c, true)),
            None => return true,
        }
    }
    false
}

/// As many fields as there are names; the last one takes the rest.
fn divide(text: &[(char, bool)], separators: &str, count: usize) -> Vec<String> {
    let is_separator = |c: &(char, bool)| !c.1 && separators.contains(c.0);
    let is_blank = |c: &(char, bool)| is_separator(c) && c.0.is_whitespace();
    let mut rest = text;
    let skip = |rest: &mut &[(char, bool)]| {
        while rest.first().is_some_and(is_blank) {
            *rest = &rest[1..];
        }
    };
    skip(&mut rest);
    let mut fields = Vec::new();
    while fields.len() + 1 < count {
        let end = rest.iter().position(is_separator).unwrap_or(rest.len());
        fields.push(rest[..end].iter().map(|c| c.0).collect());
        rest = &rest[end..];
        skip(&mut rest);
        if rest.first().is_some_and(|c| is_separator(c) && !is_blank(c)) {
            rest = &rest[1..];
            skip(&mut rest);
        }
    }
    let end = rest.iter().rposition(|c| !is_blank(c)).map_or(0, |last| last + 1);
    fields.push(rest[..end].iter().map(|c| c.0).collect());
    fields
}

fn getopts(shell: &mut Shell, args: &[String]) -> Run {
    let [spec, name, args @ ..] = args else {
        return Err(shell.fatal("getopts: which options?"));
    };
    let args = if args.is_empty() { shell.positional.clone() } else { args.to_vec() };
    let index =
        shell.value("OPTIND").and_then(|text| text.parse::<usize>().ok()).unwrap_or(1).max(1);
    let letter_at = shell.letter.max(1);
    let word: Vec<char> =
        args.get(index - 1).map(|word| word.chars().collect()).unwrap_or_default();
    if word.len() < 2 || word[0] != '-' || word == ['-', '-'] {
        let next = if word == ['-', '-'] { index + 1 } else { index };
        shell.set("OPTIND", &next.to_string())?;
        shell.set(name, "?")?;
        return Ok(1);
    }
    let letter = word[letter_at.min(word.len() - 1)];
    let is_last = letter_at + 1 >= word.len();
    let silent = spec.starts_with(':');
    let known = spec.trim_start_matches(':').find(letter).filter(|_| letter != ':');
    let takes = known
        .is_some_and(|at| spec.trim_start_matches(':')[at + letter.len_utf8()..].starts_with(':'));
    let (mut next, mut next_letter) = if is_last { (index + 1, 0) } else { (index, letter_at + 1) };
    let mut found = letter.to_string();
    shell.variables.remove("OPTARG");
    if known.is_none() {
        if silent {
            shell.set("OPTARG", &found)?;
        } else {
            shell.say(&format!("Illegal option -{letter}"));
        }
        found = "?".to_string();
    } else if takes {
        let value: Option<String> = if is_last {
            next += 1;
            args.get(index).cloned()
        } else {
            next += 1;
            Some(word[letter_at + 1..].iter().collect())
        };
        next_letter = 0;
        match value {
            Some(value) => shell.set("OPTARG", &value)?,
            None if silent => {
                shell.set("OPTARG", &found)?;
                found = ":".to_string();
            }
            None => {
                shell.say(&format!("No arg for -{letter} option"));
                found = "?".to_string();
            }
        }
    }
    shell.set("OPTIND", &next.to_string())?;
    shell.letter = next_letter;
    shell.set(name, &found)?;
    Ok(0)
}

/// A value as it can be read back.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\"'\"'"))
}
