//! Turns at compiling: no more compilers on a node at once than it has processors.
//!
//! A compiler works for a container that is not there yet, so its memory and time count for nobody's
//! limits. Each has limits of its own; this bounds all of them together, however many pods bring
//! modules that take long. A turn is a locked file, so that one which dies gives its turn back.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::limited::Abort;

/// How often who waits looks again: little beside what a compiler takes.
const PAUSE: Duration = Duration::from_millis(20);

/// The right to compile, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held, not read")] File);

/// Waits for one of `count` turns, kept in `folder`. None if nobody wants it any more.
pub(crate) fn take(folder: &Path, count: u16, abort: &Abort) -> io::Result<Option<Turn>> {
    std::fs::create_dir_all(folder)?;
    loop {
        for number in 0..count {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join(number.to_string()))?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Turn(file))),
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        if abort.is_told_within(PAUSE) {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_turns_as_processors_and_one_given_back_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let abort = Abort::new().unwrap();
        let take = |abort: &Abort| take(&folder.path().join("compiling"), 2, abort).unwrap();
        let (first, _second) = (take(&abort).unwrap(), take(&abort).unwrap());
        let waiting = std::thread::scope(|scope| {
            let third = scope.spawn(|| take(&abort).is_some());
            drop(first);
            third.join().unwrap()
        });
        assert!(waiting);
        let _third = take(&abort).unwrap();
        abort.tell();
        assert!(take(&abort).is_none());
    }
}
