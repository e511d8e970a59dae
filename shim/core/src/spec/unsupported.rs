//! Fields that Wherry has no way to honour, each with its reason.

use oci_spec::runtime::{Linux, LinuxPersonalityDomain, LinuxSeccompAction, Process, Spec};

use super::{Refusal, unsupported};

pub(super) fn check(spec: &Spec) -> Result<(), Refusal> {
    let found = platforms(spec)
        .or_else(|| spec.process().as_ref().and_then(process))
        .or_else(|| spec.linux().as_ref().and_then(linux))
        .or_else(|| spec.linux().as_ref().and_then(seccomp));
    match found {
        None => Ok(()),
        Some((field, why)) => Err(unsupported(field, why)),
    }
}

/// The process of an exec alone.
pub(super) fn check_process(given: &Process) -> Result<(), Refusal> {
    process(given).map_or(Ok(()), |(field, why)| Err(unsupported(field, why)))
}

type Found = Option<(&'static str, &'static str)>;

fn first(table: &[(bool, &'static str, &'static str)]) -> Found {
    table.iter().find(|(present, ..)| *present).map(|(_, field, why)| (*field, *why))
}

fn platforms(spec: &Spec) -> Found {
    first(&[
        (spec.vm().is_some(), "vm", "asks for a virtual machine: Wherry runs containers only"),
        (spec.windows().is_some(), "windows", "is for Windows: Wherry runs on Linux only"),
        (spec.solaris().is_some(), "solaris", "is for Solaris: Wherry runs on Linux only"),
        (spec.zos().is_some(), "zos", "is for z/OS: Wherry runs on Linux only"),
    ])
}

// `execCPUAffinity` is for processes run in addition to the container's own (runtime spec 1.3,
// config.md, "Linux Process"), so that here it is rightly without effect.
fn process(process: &Process) -> Found {
    first(&[
        (
            process.command_line().is_some(),
            "process.commandLine",
            "is for Windows: use process.args",
        ),
        (
            process.user().username().as_ref().is_some_and(|name| !name.is_empty()),
            "process.user.username",
            "is for Windows: use process.user.uid",
        ),
        (
            process.scheduler().is_some(),
            "process.scheduler",
            "is not supported: leave the scheduling policy out",
        ),
        (
            process.io_priority().is_some(),
            "process.ioPriority",
            "is not supported: leave the I/O priority out",
        ),
    ])
}

fn linux(linux: &Linux) -> Found {
    let personality = linux.personality();
    first(&[
        (linux.intel_rdt().is_some(), "linux.intelRdt", "is not supported: leave Intel RDT out"),
        (
            linux.memory_policy().is_some(),
            "linux.memoryPolicy",
            "is not supported: leave the NUMA policy out",
        ),
        (
            linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()),
            "linux.netDevices",
            "is not supported: let a CNI plugin move the network device",
        ),
        (
            linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()),
            "linux.timeOffsets",
            "is not supported: guests see the clocks of the node",
        ),
        (
            personality.as_ref().is_some_and(|p| p.domain() == LinuxPersonalityDomain::PerLinux32),
            "linux.personality.domain",
            "is LINUX32: guests have no use for a 32-bit host, leave it out",
        ),
        (
            personality
                .as_ref()
                .is_some_and(|p| p.flags().as_ref().is_some_and(|flags| !flags.is_empty())),
            "linux.personality.flags",
            "is not supported: leave it out",
        ),
    ])
}

/// A filter that asks another process what to do can't be kept once that process is gone.
fn seccomp(linux: &Linux) -> Found {
    let seccomp = linux.seccomp().as_ref()?;
    let notify = LinuxSeccompAction::ScmpActNotify;
    first(&[
        (
            seccomp.listener_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty()),
            "linux.seccomp.listenerPath",
            "is not supported: use a profile without SCMP_ACT_NOTIFY",
        ),
        (
            seccomp.default_action() == notify
                || seccomp.syscalls().iter().flatten().any(|call| call.action() == notify),
            "linux.seccomp",
            "uses SCMP_ACT_NOTIFY, which is not supported: use a profile without it",
        ),
    ])
}
