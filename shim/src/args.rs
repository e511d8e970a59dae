//! The command line as containerd writes it: Go's flags, then an action.
//!
//! Flags that a later containerd adds are passed over; refusing them would break the node's upgrade.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const PROGRAM: &str = "containerd-shim-wherry-v1";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) namespace: String,
    pub(crate) id: String,
    /// containerd's gRPC socket.
    pub(crate) address: String,
    pub(crate) bundle: Option<PathBuf>,
    pub(crate) debug: bool,
    pub(crate) action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Delete,
    Info,
    Version,
    Unknown(String),
}

impl Default for Action {
    fn default() -> Action {
        Action::Unknown(String::new())
    }
}

pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Args {
    let mut args = Args::default();
    let mut words = words.map(|word| word.to_string_lossy().into_owned()).peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            args.action = match word.as_str() {
                "start" => Action::Start,
                "delete" => Action::Delete,
                _ => Action::Unknown(word),
            };
            break;
        };
        let (name, mut value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        match name {
            "v" => args.action = Action::Version,
            "info" => args.action = Action::Info,
            "debug" => args.debug = value.as_deref() != Some("false"),
            _ => {
                // Whatever stands behind an unknown flag is its value, unless it can't be one.
                let is_value = |next: &String| {
                    !next.starts_with('-') && !matches!(next.as_str(), "start" | "delete")
                };
                let known = matches!(name, "namespace" | "id" | "address" | "bundle");
                if value.is_none() && (known || words.peek().is_some_and(is_value)) {
                    value = words.next();
                }
                args.set(name, value.unwrap_or_default());
            }
        }
        if matches!(args.action, Action::Version | Action::Info) {
            break;
        }
    }
    args
}

impl Args {
    fn set(&mut self, name: &str, value: String) {
        match name {
            "namespace" => self.namespace = value,
            "id" => self.id = value,
            "address" => self.address = value,
            "bundle" => self.bundle = Some(value.into()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, action: Action, id: &str, namespace: &str, debug: bool) {
        let args = parse(line.split_whitespace().map(OsString::from));
        let found = (args.action, args.id.as_str(), args.namespace.as_str(), args.debug);
        assert_eq!(found, (action, id, namespace, debug), "{line}");
    }

    #[test]
    fn containerds_lines_are_understood_and_unknown_flags_passed_over() {
        let known = "-namespace k8s.io -address /a.sock -publish-binary /c -id x";
        check(&format!("{known} start"), Action::Start, "x", "k8s.io", false);
        check(&format!("{known} -debug start"), Action::Start, "x", "k8s.io", true);
        check(&format!("{known} -bundle /b delete"), Action::Delete, "x", "k8s.io", false);
        check("--namespace=n -id=x -new -other value start", Action::Start, "x", "n", false);
        check("-id start start", Action::Start, "start", "", false);
        check("-v", Action::Version, "", "", false);
        check("-info", Action::Info, "", "", false);
        check("-id x destroy", Action::Unknown("destroy".into()), "x", "", false);
    }
}
