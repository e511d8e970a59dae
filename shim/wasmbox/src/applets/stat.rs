//! `stat`.

use super::clock::Moment;
use super::ls::{letter, mode, modified, owner, permissions};
use super::process::name_of;
use crate::call::{Call, Outcome};
use crate::options::Options;

pub(super) fn stat(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "c:Lft", &[("format", 'c'), ("dereference", 'L')])?;
    let mut status = 0;
    for name in &options.operands {
        let found = if options.has('L') { rustix::fs::stat(name) } else { rustix::fs::lstat(name) };
        match found {
            Err(error) => {
                status = call.complain(format!(
                    "can't stat '{name}': {}",
                    crate::call::sentence(&error.into())
                ))
            }
            Ok(file) => match options.value('c') {
                Some(format) => writeln!(call.out(), "{}", fill(format, name, &file))?,
                None => {
                    let text = fill(
                        "  File: %N\n  Size: %s\tBlocks: %b\tIO Block: 4096   %F\nInode: %i\tLinks: %h\nAccess: (%04a/%A)  Uid: (%5u/%8U)   Gid: (%5g/%8G)\nModify: %y",
                        name,
                        &file,
                    );
                    writeln!(call.out(), "{text}")?;
                }
            },
        }
    }
    Ok(status)
}

fn fill(format: &str, name: &str, file: &rustix::fs::Stat) -> String {
    let mut text = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                let mut digits = String::new();
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    digits.push(digit);
                }
                let Some(letter) = chars.next() else { break };
                let value = field(letter, name, file);
                let width = digits.parse().unwrap_or(0);
                if digits.starts_with('0') {
                    text.push_str(&format!("{value:0>width$}"));
                } else {
                    text.push_str(&format!("{value:>width$}"));
                }
            }
            '\\' if chars.next_if_eq(&'n').is_some() => text.push('\n'),
            c => text.push(c),
        }
    }
    text
}

fn field(which: char, name: &str, file: &rustix::fs::Stat) -> String {
    let (uid, gid) = owner(file);
    let moment = Moment::of(modified(file));
    match which {
        'n' => name.to_string(),
        'N' => match std::fs::read_link(name) {
            Ok(target) => format!("{name} -> {}", target.display()),
            Err(_) => name.to_string(),
        },
        's' => file.st_size.to_string(),
        'b' => (u64::try_from(file.st_size).unwrap_or(0).div_ceil(4096) * 8).to_string(),
        'B' => "512".to_string(),
        'o' => "4096".to_string(),
        'f' => format!("{:x}", file.st_mode),
        'a' => format!("{:o}", mode(file)),
        'A' => permissions(file),
        'F' => match letter(file) {
            'd' => "directory",
            'l' => "symbolic link",
            'c' => "character special file",
            'b' => "block special file",
            'p' => "fifo",
            's' => "socket",
            _ if file.st_size == 0 => "regular empty file",
            _ => "regular file",
        }
        .to_string(),
        'h' => file.st_nlink.to_string(),
        'i' => file.st_ino.to_string(),
        'd' => file.st_dev.to_string(),
        'u' => uid.to_string(),
        'g' => gid.to_string(),
        'U' => name_of("/etc/passwd", uid).unwrap_or_else(|| "UNKNOWN".to_string()),
        'G' => name_of("/etc/group", gid).unwrap_or_else(|| "UNKNOWN".to_string()),
        'X' | 'Y' | 'Z' => moment.format("%s"),
        'x' | 'y' | 'z' => moment.format("%F %T.%N +0000"),
        'W' => "0".to_string(),
        '%' => "%".to_string(),
        other => format!("%{other}"),
    }
}
