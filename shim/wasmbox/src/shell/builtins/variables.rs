//! `export`, `local`, `set`, `unset` and their like: variables, parameters, options.

use super::super::{Run, Shell, Stop};
use super::quote;

pub(super) fn export(shell: &mut Shell, args: &[String]) -> Run {
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

pub(super) fn read_only(shell: &mut Shell, args: &[String]) -> Run {
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
    let is_name = name.chars().all(crate::shell::parser::is_name)
        && !name.starts_with(|c: char| c.is_ascii_digit());
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

pub(super) fn local(shell: &mut Shell, args: &[String]) -> Run {
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

pub(super) fn unset(shell: &mut Shell, args: &[String]) -> Run {
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

pub(super) fn set(shell: &mut Shell, args: &[String]) -> Run {
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
    pub(in crate::shell) fn option(&mut self, name: &str, on: bool) -> Result<(), Stop> {
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

pub(super) fn alias(shell: &mut Shell, args: &[String]) -> Run {
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
