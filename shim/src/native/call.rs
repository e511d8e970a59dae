//! One call of runc, to its end; and its own words about what went wrong.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use serde::Deserialize;
use wherry_core::lifecycle::{Code, Denied};

use super::words::{Action, Runc};
use crate::limited::{self, Abort};
use crate::stdio::Ends;

/// As long as it takes: hooks of the container run inside. Whoever wants it to end aborts it.
pub(super) const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What runc reads and where it writes.
#[derive(Debug)]
pub(super) enum Streams<'a> {
    /// The container's own, which its processes inherit.
    Of(Ends),
    /// This text on stdin; what it says on stderr is kept.
    Text(&'a [u8]),
}

/// How to call it.
pub(super) struct Call<'a> {
    pub(super) runc: &'a Runc,
    pub(super) bundle: &'a Path,
    pub(super) id: &'a str,
    pub(super) log: &'a Path,
    pub(super) abort: &'a Abort,
    pub(super) limit: Duration,
    /// Hears the pid of runc itself, so that whoever cleans up can end it.
    pub(super) started: &'a dyn Fn(u32),
}

impl Call<'_> {
    pub(super) fn run(&self, action: Action<'_>, streams: Streams<'_>) -> Result<(), Denied> {
        let failed = |why: String| {
            Denied::new(Code::Unknown, format!("{}: {}", action.failure(), why.trim_end()))
        };
        let told = |e: std::io::Error| failed(e.to_string());
        let mut command = Command::new(&self.runc.binary);
        command.args(self.runc.words(action, self.log, self.id));
        // Relative paths in a spec, and in the programs that stand in for runc, start there.
        command.current_dir(self.bundle);
        // systemd's word to containerd is not for containers (go-runc, `command_linux.go`).
        command.env_remove("NOTIFY_SOCKET");
        let known = std::fs::metadata(self.log).map_or(0, |m| m.len());
        let ended = match streams {
            Streams::Of(ends) => {
                command.stdin(ends.stdin).stdout(ends.stdout).stderr(ends.stderr);
                limited::run_on_own_streams(command, self.limit, self.abort, self.started)
            }
            Streams::Text(text) => {
                let stdin =
                    if text.is_empty() { Stdio::null() } else { memory(text).map_err(told)? };
                command.stdin(stdin).stdout(Stdio::null());
                limited::run(command, self.limit, self.abort, self.started)
            }
        };
        let ended = ended.map_err(failed)?;
        if ended.status.success() {
            return Ok(());
        }
        Err(failed(
            last_error(self.log, known).unwrap_or_else(|| silent(ended.status, &ended.said)),
        ))
    }
}

fn silent(status: ExitStatus, said: &str) -> String {
    match said.trim() {
        "" => format!("runc did not terminate successfully: {status}"),
        said => format!("runc did not terminate successfully: {status}: {said}"),
    }
}

fn memory(text: &[u8]) -> std::io::Result<Stdio> {
    let mut file = File::from(rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(text)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// The last error that has come into the log since it was `known` bytes long.
fn last_error(log: &Path, known: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    file.seek(SeekFrom::Start(known)).ok()?;
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    last_error_in(&text)
}

fn last_error_in(text: &str) -> Option<String> {
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut errors = lines.filter(|line| line.level == "error" && !line.msg.trim().is_empty());
    errors.next().map(|line| line.msg.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_the_log_is_told() {
        let log = r#"{"level":"warning","msg":"old kernel","time":"t"}
{"level":"error","msg":"first","time":"t"}
{"level":"error","msg":"exec: \"x\": executable file not found in $PATH\n","time":"t"}
{"level":"debug","msg":"bye","time":"t"}
"#;
        let last = last_error_in(log);
        assert_eq!(last.as_deref(), Some(r#"exec: "x": executable file not found in $PATH"#));
        assert_eq!(last_error_in("no json\n"), None);
    }

    #[test]
    fn a_call_fails_with_runcs_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let fake = folder.path().join("runc");
        let script = "#!/bin/sh\nwhile [ \"$1\" != --log ]; do shift; done\n\
                      echo '{\"level\":\"error\",\"msg\":\"no such thing\"}' >> \"$2\"\nexit 1\n";
        std::fs::write(&fake, script).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&fake, PermissionsExt::from_mode(0o755)).unwrap();
        let log = folder.path().join("log.json");
        let runc = Runc { binary: fake, root: "/nowhere".into(), systemd_cgroup: false };
        let abort = Abort::new().unwrap();
        let call = Call {
            runc: &runc,
            bundle: folder.path(),
            id: "c",
            log: &log,
            abort: &abort,
            limit: FOR_EVER,
            started: &|_| {},
        };
        let denied = call.run(Action::Start, Streams::Text(b"")).unwrap_err();
        assert_eq!(denied.sentence, "OCI runtime start failed: no such thing");
        abort.tell();
        let denied = call.run(Action::Pause, Streams::Text(b"")).unwrap_err();
        assert!(denied.sentence.starts_with("OCI runtime pause failed: "), "{denied}");
    }
}
