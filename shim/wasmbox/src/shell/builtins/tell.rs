//! `command`, `type`: what a name means.

use super::super::{Run, Shell};
use super::Builtin;

pub(super) enum Telling {
    /// `command -v`
    Path,
    /// `type`, `command -V`
    Type,
}

pub(super) fn command(shell: &mut Shell, args: &[String]) -> Run {
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

pub(super) fn tell(shell: &mut Shell, names: &[String], how: Telling) -> Run {
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
