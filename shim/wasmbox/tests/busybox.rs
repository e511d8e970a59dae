//! The same command lines through busybox and through this program, built for this machine.
//! (`e2e/tests/containerd/wasmbox.rs` runs them in a Wasm container.)

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

/// What can be seen from outside.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    code: Option<i32>,
    stdout: String,
}

fn run(program: &str, applets: &Path, line: &str) -> Seen {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(program)
        .args(["sh", "-c", line])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", applets)
        .env("HOME", "/home/somebody")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    Seen {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

/// busybox finds its applets by `PATH`.
fn links_to(busybox: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let list = Command::new(busybox).arg("--list").output().expect("busybox --list");
    for name in String::from_utf8_lossy(&list.stdout).lines() {
        symlink(busybox, folder.path().join(name)).expect("a link");
    }
    folder
}

#[test]
fn command_lines_do_what_they_do_in_busybox() {
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("busybox is missing: apt-get install busybox");
    let applets = links_to(busybox);
    let lines = include_str!("lines.txt").split("\n\n").map(|block| block.trim_end_matches('\n'));
    let lines: Vec<&str> =
        lines.filter(|block| !block.is_empty() && !block.starts_with("# ")).collect();
    assert!(lines.len() >= 150, "{} command lines", lines.len());
    let mut different = Vec::new();
    for line in &lines {
        let theirs = run(busybox, applets.path(), line);
        let ours = run(env!("CARGO_BIN_EXE_wasmbox"), applets.path(), line);
        if ours != theirs {
            different.push(format!("{line}\n  busybox {theirs:?}\n  wasmbox {ours:?}\n"));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {} differ:\n{}",
        different.len(),
        lines.len(),
        different.join("\n")
    );
}
