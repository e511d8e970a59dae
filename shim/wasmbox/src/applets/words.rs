//! `echo`, `yes`: words to stdout.

use super::printf::unescape;
use crate::call::{Call, Outcome};

pub(super) fn say(call: &Call<'_>, text: &str) -> Outcome {
    call.out().write_all(text.as_bytes())?;
    Ok(0)
}

/// `-n`, `-e` and `-E`, as busybox and bash take them.
pub(super) fn echo(call: &Call<'_>) -> Outcome {
    let (mut newline, mut escapes) = (true, false);
    let mut args = call.args;
    while let Some(letters) = args.first().and_then(|arg| arg.strip_prefix('-')) {
        if letters.is_empty() || !letters.chars().all(|c| "neE".contains(c)) {
            break;
        }
        for letter in letters.chars() {
            match letter {
                'n' => newline = false,
                letter => escapes = letter == 'e',
            }
        }
        args = &args[1..];
    }
    let text = args.join(" ");
    let (mut bytes, stopped) = if escapes { unescape(&text) } else { (text.into_bytes(), false) };
    if newline && !stopped {
        bytes.push(b'\n');
    }
    call.out().write_all(&bytes)?;
    Ok(0)
}

pub(super) fn yes(call: &Call<'_>) -> Outcome {
    let line =
        if call.args.is_empty() { "y\n".to_string() } else { format!("{}\n", call.args.join(" ")) };
    let block = line.repeat(4096 / line.len() + 1);
    loop {
        call.out().write_all(block.as_bytes())?;
    }
}
