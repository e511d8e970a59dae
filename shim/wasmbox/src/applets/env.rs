//! `env`, `printenv`, `which`, and commands in front of a command.

use std::rc::Rc;

use super::which;
use crate::call::{Call, Outcome, Variables};
use crate::options::Options;

pub(super) fn env(call: &Call<'_>) -> Outcome {
    let options = Options::parse(
        call.args,
        "+i0u:",
        &[("ignore-environment", 'i'), ("null", '0'), ("unset", 'u')],
    )?;
    let mut env = if options.has('i') { Variables::default() } else { call.env.as_ref().clone() };
    for name in options.values('u') {
        env.remove(name);
    }
    let mut words = &options.operands[..];
    if words.first().is_some_and(|word| word == "-") {
        env.clear();
        words = &words[1..];
    }
    while let Some((name, value)) = words.first().and_then(|word| word.split_once('=')) {
        env.insert(name.to_string(), value.to_string());
        words = &words[1..];
    }
    if !words.is_empty() {
        return call.run_with(words, Rc::new(env));
    }
    let end = if options.has('0') { '\0' } else { '\n' };
    for (name, value) in env.iter() {
        write!(call.out(), "{name}={value}{end}")?;
    }
    Ok(0)
}

pub(super) fn printenv(call: &Call<'_>) -> Outcome {
    if call.args.is_empty() {
        for (name, value) in call.env.iter() {
            writeln!(call.out(), "{name}={value}")?;
        }
    }
    let mut status = 0;
    for name in call.args {
        match call.env.get(name) {
            Some(value) => writeln!(call.out(), "{value}")?,
            None => status = 1,
        }
    }
    Ok(status)
}

pub(super) fn which_applet(call: &Call<'_>) -> Outcome {
    let mut status = i32::from(call.args.is_empty());
    for name in call.args.iter().filter(|name| *name != "-a") {
        match which(name, call.env.get("PATH").map(String::as_str)) {
            Some(path) => writeln!(call.out(), "{path}")?,
            None => status = 1,
        }
    }
    Ok(status)
}

/// `nohup`, `setsid`: there is no terminal's signal, and no session, to be kept from.
pub(super) fn prefix(call: &Call<'_>) -> Outcome {
    let words = call.args.iter().position(|arg| !arg.starts_with('-')).unwrap_or(call.args.len());
    call.run(&call.args[words..])
}

/// `nice`: a guest cannot change how it is scheduled.
pub(super) fn nice(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "+n:", &[("adjustment", 'n')])?;
    if options.operands.is_empty() {
        writeln!(call.out(), "0")?;
    }
    call.run(&options.operands)
}
