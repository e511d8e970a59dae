//! Several processes at one cache: who fills waits for nobody but the one who was first, and who
//! is killed leaves nothing that stands in the way.
//!
//! This program starts itself again as the processes it tests; thence no test harness. Arguments of
//! such a process: the cache's folder, and what to do.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use wherry_cache::{Cache, Digest};
use wherry_core::plan::Profile;

const ENGINE: &str = "48.0.8-abc";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, dir, what] = args.as_slice()
        && word == "fill"
    {
        return fill(Path::new(dir), what);
    }
    let filter = args.into_iter().find(|arg| !arg.starts_with('-'));
    type Test = fn(&Path);
    let tests: [(&str, Test); 4] = [
        ("two_who_want_the_same_compile_it_once", two_who_want_the_same_compile_it_once),
        (
            "who_is_killed_while_compiling_leaves_nothing",
            who_is_killed_while_compiling_leaves_nothing,
        ),
        ("a_failure_lets_the_next_try", a_failure_lets_the_next_try),
        ("who_waits_may_give_up", who_waits_may_give_up),
    ];
    for (name, test) in tests {
        if filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())) {
            let dir = tempfile::tempdir().expect("a temporary folder");
            test(dir.path());
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

/// The child: says `waiting` when another is at it and `compiling` when it is itself, goes on when its stdin ends, says what it got.
fn fill(dir: &Path, what: &str) -> ExitCode {
    let cache = open(dir);
    let waits = Cell::new(false);
    let pause = |time| {
        if !waits.replace(true) {
            println!("waiting");
        }
        std::thread::sleep(time);
        Ok(())
    };
    let filled = cache.fill_while(ENGINE, &digest(), pause, |mut out: &File| {
        out.write_all(b"\x7fELF the first half")?;
        println!("compiling");
        std::io::stdin().read_to_end(&mut Vec::new())?;
        if what == "fail" {
            return Err(std::io::Error::other("as asked"));
        }
        out.write_all(b", the second half").map(|()| Profile::Service)
    });
    match filled {
        Ok(entry) => {
            println!("got {} bytes", entry.bytes);
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn open(dir: &Path) -> Cache {
    Cache::open_at(&dir.join("cache"), &dir.join("run"), 1 << 20).expect("the cache opens")
}

fn digest() -> Digest {
    Digest::of(b"a module")
}

struct Filler {
    child: Child,
    told: BufReader<std::process::ChildStdout>,
}

impl Filler {
    fn start(dir: &Path, what: &str) -> Filler {
        let me = std::env::current_exe().expect("this program");
        let mut child = Command::new(me)
            .arg("fill")
            .arg(dir)
            .arg(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let told = BufReader::new(child.stdout.take().expect("its stdout"));
        Filler { child, told }
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        self.told.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn go_on(&mut self) {
        drop(self.child.stdin.take());
    }

    fn end(mut self) -> bool {
        self.child.wait().expect("its end").success()
    }
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir.join("cache").join(ENGINE)).expect("the engine's folder").count()
}

fn two_who_want_the_same_compile_it_once(dir: &Path) {
    let mut first = Filler::start(dir, "succeed");
    assert_eq!(first.says(), "compiling");
    let mut second = Filler::start(dir, "succeed");
    assert_eq!(second.says(), "waiting");
    first.go_on();
    assert_eq!(first.says(), "got 36 bytes");
    assert_eq!(second.says(), "got 36 bytes");
    assert!(first.end() && second.end());
    assert_eq!(files(dir), 2);
}

fn who_is_killed_while_compiling_leaves_nothing(dir: &Path) {
    let mut first = Filler::start(dir, "succeed");
    assert_eq!(first.says(), "compiling");
    let mut second = Filler::start(dir, "succeed");
    assert_eq!(second.says(), "waiting");
    first.child.kill().expect("killed");
    assert!(!first.end());
    assert_eq!(second.says(), "compiling");
    let cache = open(dir);
    cache.prune(None).expect("pruned beside the second, whose entry stays");
    second.go_on();
    assert_eq!(second.says(), "got 36 bytes");
    assert!(second.end());
    assert_eq!(files(dir), 2);
    let found = cache.lookup(ENGINE, &digest()).expect("a lookup").expect("an entry");
    assert_eq!(found.profile, Profile::Service);
}

fn a_failure_lets_the_next_try(dir: &Path) {
    let mut first = Filler::start(dir, "fail");
    assert_eq!(first.says(), "compiling");
    let mut second = Filler::start(dir, "succeed");
    assert_eq!(second.says(), "waiting");
    first.go_on();
    assert_eq!(first.says(), "failed: as asked");
    assert!(!first.end());
    assert_eq!(second.says(), "compiling");
    second.go_on();
    assert_eq!(second.says(), "got 36 bytes");
    assert!(second.end());
}

fn who_waits_may_give_up(dir: &Path) {
    let mut first = Filler::start(dir, "succeed");
    assert_eq!(first.says(), "compiling");
    let unwanted = |_| Err(std::io::Error::other("nobody wants it"));
    let given_up = open(dir).fill_while(ENGINE, &digest(), unwanted, |_| unreachable!());
    assert_eq!(given_up.map(drop).map_err(|e| e.to_string()), Err("nobody wants it".to_owned()));
    first.go_on();
    assert_eq!(first.says(), "got 36 bytes");
    assert!(first.end());
}
