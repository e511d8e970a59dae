//! The words of runc's command lines. Nothing is run here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which runc, and where it keeps its state: with it, anyone can call it for the same containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Runc {
    pub(crate) binary: PathBuf,
    /// With the namespace.
    pub(crate) root: PathBuf,
    #[serde(default)]
    pub(crate) systemd_cgroup: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Action<'a> {
    Create {
        bundle: &'a Path,
        pid_file: &'a Path,
        console: Option<&'a Path>,
        no_pivot: bool,
        no_new_keyring: bool,
    },
    Start,
    Exec {
        process: &'a Path,
        console: Option<&'a Path>,
        pid_file: &'a Path,
    },
    /// `force` ends what still runs.
    Delete {
        force: bool,
    },
    Pause,
    Resume,
    /// The resources are on stdin.
    Update,
}

impl<'a> Action<'a> {
    /// With a socket to which runc sends the terminal that it makes.
    pub(super) fn with_console(self, console: Option<&'a Path>) -> Action<'a> {
        match self {
            Action::Create { bundle, pid_file, no_pivot, no_new_keyring, .. } => {
                Action::Create { bundle, pid_file, console, no_pivot, no_new_keyring }
            }
            Action::Exec { process, pid_file, .. } => Action::Exec { process, console, pid_file },
            other => other,
        }
    }

    /// With these words containerd's shim begins to say what went wrong; Docker looks for them
    /// (moby, `daemon/errors.go`).
    pub(super) fn failure(&self) -> &'static str {
        match self {
            Action::Create { .. } => "OCI runtime create failed",
            Action::Start => "OCI runtime start failed",
            Action::Exec { .. } => "OCI runtime exec failed",
            Action::Delete { .. } => "failed to delete task",
            Action::Pause => "OCI runtime pause failed",
            Action::Resume => "OCI runtime resume failed",
            Action::Update => "OCI runtime update failed",
        }
    }
}

impl Runc {
    /// The whole command line but the program: global flags, the action with its own, the id.
    pub(super) fn words(&self, action: Action<'_>, log: &Path, id: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut flag = |name: &str, value: Option<&Path>| {
            words.push(name.into());
            words.extend(value.map(OsString::from));
        };
        flag("--root", Some(&self.root));
        flag("--log", Some(log));
        flag("--log-format", Some(Path::new("json")));
        if self.systemd_cgroup {
            flag("--systemd-cgroup", None);
        }
        match action {
            Action::Create { bundle, pid_file, console, no_pivot, no_new_keyring } => {
                flag("create", None);
                flag("--bundle", Some(bundle));
                flag("--pid-file", Some(pid_file));
                if console.is_some() {
                    flag("--console-socket", console);
                }
                if no_pivot {
                    flag("--no-pivot", None);
                }
                if no_new_keyring {
                    flag("--no-new-keyring", None);
                }
            }
            Action::Start => flag("start", None),
            Action::Exec { process, console, pid_file } => {
                flag("exec", None);
                flag("--process", Some(process));
                if console.is_some() {
                    flag("--console-socket", console);
                }
                flag("--detach", None);
                flag("--pid-file", Some(pid_file));
            }
            Action::Delete { force } => {
                flag("delete", None);
                if force {
                    flag("--force", None);
                }
            }
            Action::Pause => flag("pause", None),
            Action::Resume => flag("resume", None),
            Action::Update => {
                flag("update", None);
                flag("--resources=-", None);
            }
        }
        words.push(id.into());
        words
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(systemd_cgroup: bool, actions: &[Action<'_>], expected: Expect) {
        let runc = Runc { binary: "/bin/runc".into(), root: "/run/r/ns".into(), systemd_cgroup };
        let line = |action: &Action<'_>| {
            let words = runc.words(*action, Path::new("/b/log.json"), "c1");
            let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
            words.join(" ") + "\n"
        };
        expected.assert_eq(&actions.iter().map(line).collect::<String>());
    }

    #[test]
    fn words_stand_as_containerd_puts_them() {
        let (bundle, pid_file) = (Path::new("/b"), Path::new("/b/init.pid"));
        let socket = Some(Path::new("/s"));
        check(
            false,
            &[
                Action::Create {
                    bundle,
                    pid_file,
                    console: None,
                    no_pivot: false,
                    no_new_keyring: false,
                },
                Action::Start,
                Action::Exec { process: Path::new("/p"), console: None, pid_file },
                Action::Exec { process: Path::new("/p"), console: socket, pid_file },
                Action::Delete { force: false },
                Action::Delete { force: true },
                Action::Pause,
                Action::Resume,
                Action::Update,
            ],
            expect![[r#"
                --root /run/r/ns --log /b/log.json --log-format json create --bundle /b --pid-file /b/init.pid c1
                --root /run/r/ns --log /b/log.json --log-format json start c1
                --root /run/r/ns --log /b/log.json --log-format json exec --process /p --detach --pid-file /b/init.pid c1
                --root /run/r/ns --log /b/log.json --log-format json exec --process /p --console-socket /s --detach --pid-file /b/init.pid c1
                --root /run/r/ns --log /b/log.json --log-format json delete c1
                --root /run/r/ns --log /b/log.json --log-format json delete --force c1
                --root /run/r/ns --log /b/log.json --log-format json pause c1
                --root /run/r/ns --log /b/log.json --log-format json resume c1
                --root /run/r/ns --log /b/log.json --log-format json update --resources=- c1
            "#]],
        );
        check(
            true,
            &[Action::Create {
                bundle,
                pid_file,
                console: socket,
                no_pivot: true,
                no_new_keyring: true,
            }],
            expect![[r#"
                --root /run/r/ns --log /b/log.json --log-format json --systemd-cgroup create --bundle /b --pid-file /b/init.pid --console-socket /s --no-pivot --no-new-keyring c1
            "#]],
        );
    }
}
