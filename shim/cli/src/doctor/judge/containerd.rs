//! The containerd that runs here, and what it makes of its configuration.

use wherry_containerd::Release;

use super::{Finding, list};
use crate::doctor::facts::{Answers, Containerd, Search};

const OLDEST: Release = Release(1, 7);

pub(super) fn judge(search: &Search) -> Vec<Finding> {
    let containerd = match search {
        Search::Found(containerd) => containerd,
        Search::None { wanted: None } => {
            return vec![Finding::fail(
                "containerd.running",
                "no containerd runs here",
                "start it (systemctl start containerd; journalctl -u containerd tells why it does not). Where \
                 it runs in a mount namespace of its own, run the doctor in there: nsenter -m -t PID wherry doctor",
            )];
        }
        Search::None { wanted: Some(address) } => {
            return vec![Finding::fail(
                "containerd.running",
                format!("no containerd with the socket {} runs here", address.display()),
                "name another with --address, or start this one",
            )];
        }
        Search::Several(addresses) => {
            let all: Vec<_> = addresses.iter().map(|address| address.display()).collect();
            return vec![Finding::fail(
                "containerd.running",
                format!("several containerds run here: {}", list(&all)),
                "say which with --address SOCKET",
            )];
        }
    };
    let mut findings = vec![running(containerd), version(containerd), config(containerd)];
    findings.extend(stale(containerd));
    findings
}

fn running(containerd: &Containerd) -> Finding {
    let program = containerd.program.display();
    match (&containerd.answers, containerd.pid) {
        (Answers::NotAsked, _) | (_, None) => Finding::fail(
            "containerd.running",
            format!("containerd ({program}) does not run; only its files were looked at"),
            "start it: systemctl start containerd",
        ),
        (Answers::Nothing(why), Some(pid)) => Finding::fail(
            "containerd.running",
            format!("containerd ({program}, process {pid}) does not answer: {why}"),
            "look why: journalctl -u containerd. A daemon that hangs is restarted with systemctl restart containerd",
        ),
        (Answers::Cri(status), Some(pid)) if !status.ready => Finding::fail(
            "containerd.running",
            format!(
                "containerd ({program}, process {pid}) is not ready to run pods: {}",
                status.reason
            ),
            "look why: journalctl -u containerd",
        ),
        (Answers::NoCri(_) | Answers::Cri(_), Some(pid)) => {
            Finding::ok("containerd.running", format!("{program}, process {pid}"))
        }
    }
}

fn version(containerd: &Containerd) -> Finding {
    let told = &containerd.version;
    match Release::of(told) {
        Some(known) if known < OLDEST => Finding::fail(
            "containerd.version",
            format!("containerd {told} is too old"),
            "use containerd 1.7 or newer",
        ),
        Some(_) => Finding::ok("containerd.version", format!("containerd {told}")),
        None => Finding::warn(
            "containerd.version",
            format!("containerd tells the version {told:?}, which is none"),
            "Wherry is tested with 1.7, 2.1 and 2.4",
        ),
    }
}

fn config(containerd: &Containerd) -> Finding {
    let file = containerd.config_file.display();
    let check = "containerd.config";
    if let Err(why) = &containerd.config {
        return Finding::fail(
            check,
            format!("containerd refuses its configuration, and will not start again: {why}"),
            format!(
                "mend {file} or what it imports; containerd --config {file} config dump tells when it is whole"
            ),
        );
    }
    if !containerd.complaints.is_empty() {
        return Finding::warn(
            check,
            format!("containerd passes over parts of {file}: {}", list(&containerd.complaints)),
            "a section counts only with the name that containerd of this version gives it: [plugins.\"io.containerd.\
             cri.v1.runtime\"] in a configuration of version 3 and later, [plugins.\"io.containerd.grpc.v1.cri\"] in \
             one of version 2",
        );
    }
    let imports = match containerd.imports.as_slice() {
        [] => String::new(),
        imports => format!(", imports {}", list(imports)),
    };
    Finding::ok(check, format!("{file}{imports}"))
}

/// What is on disk is not what runs.
fn stale(containerd: &Containerd) -> Option<Finding> {
    let restart = "systemctl restart containerd (containers go on running)";
    let check = "containerd.restart";
    if !containerd.changed.is_empty() {
        let files: Vec<_> = containerd.changed.iter().map(|path| path.display()).collect();
        let what =
            format!("changed since containerd started, which does not know it: {}", list(&files));
        return Some(Finding::warn(check, what, restart));
    }
    containerd.replaced.then(|| {
        let program = containerd.program.display();
        Finding::warn(check, format!("{program} was replaced, and the old one runs"), restart)
    })
}
