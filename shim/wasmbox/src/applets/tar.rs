//! `tar`: what `kubectl cp` calls on the other side, and what people unpack by hand.
//!
//! The format is the crate's; files are handled here, as WASI has no modes, no owners and no
//! devices. Modes of an archive come to nothing, and a new one says what `ls -l` says.

mod create;
mod extract;

use std::path::{Component, Path, PathBuf};

use crate::call::{Call, Failure, Outcome, sentence};
use crate::options::Options;
use crate::shell::pattern::{matches, plain};

const LONG: [(&str, char); 30] = [
    ("create", 'c'),
    ("extract", 'x'),
    ("get", 'x'),
    ("list", 't'),
    ("file", 'f'),
    ("verbose", 'v'),
    ("directory", 'C'),
    ("touch", 'm'),
    ("to-stdout", 'O'),
    ("gzip", 'z'),
    ("bzip2", 'j'),
    ("xz", 'J'),
    ("dereference", 'h'),
    ("exclude", 'E'),
    ("strip-components", 'S'),
    ("keep-old-files", 'k'),
    ("files-from", 'T'),
    ("exclude-from", 'X'),
    ("no-same-permissions", 'o'),
    ("no-same-owner", 'o'),
    ("same-permissions", 'p'),
    ("preserve-permissions", 'p'),
    ("numeric-owner", 'p'),
    ("overwrite", 'p'),
    ("absolute-names", 'P'),
    ("no-recursion", 'n'),
    ("warning", 'W'),
    ("owner", 'W'),
    ("group", 'W'),
    ("mode", 'W'),
];

pub(super) fn tar(call: &Call<'_>) -> Outcome {
    let args = with_dash(call.args);
    let options = Options::parse(&args, "cxtf:vC:mOzjJhE:S:kT:X:opPnW:a", &LONG)?;
    if options.last_of("zjJ").is_some() {
        return Err(Failure::new("no compression is built in: pack without -z, -j and -J"));
    }
    let mut excluded: Vec<String> = options.values('E').map(str::to_string).collect();
    for file in options.values('X') {
        excluded.extend(String::from_utf8_lossy(&call.read(file)?).lines().map(str::to_string));
    }
    let tar = Tar { call, options: &options, excluded, status: 0 };
    let file = options.value('f').unwrap_or("-").to_string();
    match options.last_of("cxt") {
        Some('c') => tar.create(&file),
        Some(letter) => tar.read(&file, letter == 't'),
        None => Err(call.usage("c|x|t [-f FILE] [-C DIRECTORY] [-vmO] [FILE]...")),
    }
}

/// The first word may lack its dash; its values then follow in the order of its letters.
fn with_dash(args: &[String]) -> Vec<String> {
    let Some(first) = args.first().filter(|first| !first.starts_with('-')) else {
        return args.to_vec();
    };
    let mut rest = args[1..].iter();
    let mut words = Vec::new();
    for letter in first.chars() {
        words.push(format!("-{letter}"));
        if "fCTX".contains(letter) {
            words.extend(rest.next().cloned());
        }
    }
    words.extend(rest.cloned());
    words
}

struct Tar<'a> {
    call: &'a Call<'a>,
    options: &'a Options,
    excluded: Vec<String>,
    status: i32,
}

impl Tar<'_> {
    fn is_excluded(&self, name: &str) -> bool {
        let fits = |pattern: &String, text: &str| {
            matches(&plain(pattern), &text.chars().collect::<Vec<_>>())
        };
        let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = name.trim_start_matches("./");
        self.excluded.iter().any(|pattern| fits(pattern, name) || fits(pattern, last))
    }

    fn enter(&self) -> Result<(), Failure> {
        for folder in self.options.values('C') {
            std::env::set_current_dir(folder).map_err(|error| {
                Failure::new(format!("can't change directory to '{folder}': {}", sentence(&error)))
            })?;
        }
        Ok(())
    }

    /// `-v`: on stderr when the archive itself goes to stdout.
    fn tell(&self, name: &str) -> Result<(), Failure> {
        if !self.options.has('v') {
            return Ok(());
        }
        let line = format!("{name}\n");
        let to_stdout = self.options.has('c') && self.options.value('f').unwrap_or("-") == "-";
        match to_stdout {
            true => self.call.streams.stderr.borrow_mut().write_all(line.as_bytes())?,
            false => self.call.out().write_all(line.as_bytes())?,
        }
        Ok(())
    }
}

/// Where an entry goes: below the current directory. `None`: it says otherwise.
fn place(name: &str, strip: usize) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => return None,
            _ => {}
        }
    }
    Some(path.components().skip(strip).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_below_the_directory() {
        for (name, strip, expected) in [
            ("a/b", 0, Some("a/b")),
            ("/etc/passwd", 0, Some("etc/passwd")),
            ("./a", 0, Some("a")),
            ("a/b/c", 1, Some("b/c")),
            ("a/../../b", 0, None),
            ("..", 0, None),
        ] {
            assert_eq!(place(name, strip), expected.map(PathBuf::from), "{name}");
        }
    }

    #[test]
    fn the_first_word_needs_no_dash() {
        let args = |line: &str| line.split(' ').map(str::to_string).collect::<Vec<_>>();
        assert_eq!(with_dash(&args("xmf - -C /tmp")), args("-x -m -f - -C /tmp"));
        assert_eq!(with_dash(&args("fcC a.tar b c")), args("-f a.tar -c -C b c"));
        assert_eq!(with_dash(&args("-xmf -")), args("-xmf -"));
    }
}
