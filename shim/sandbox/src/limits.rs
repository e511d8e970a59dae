//! Resource limits of a process (`process.rlimits`).

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use wherry_core::plan;

use crate::{Error, Result};

/// Sets them for this process.
pub(crate) fn set(limits: &[plan::Rlimit]) -> Result<()> {
    for limit in limits {
        let new = Rlimit { current: bound(limit.soft), maximum: bound(limit.hard) };
        set_one(None, limit, new)?;
    }
    Ok(())
}

/// Raises the hard limits of a process in a user namespace, which it may not do itself.
pub(crate) fn raise_hard(pid: u32, limits: &[plan::Rlimit]) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    for limit in limits {
        let mut new = getrlimit(resource(&limit.name)?);
        if new.maximum.is_some_and(|have| limit.hard > have) {
            new.maximum = bound(limit.hard);
            set_one(pid, limit, new)?;
        }
    }
    Ok(())
}

fn set_one(pid: Option<Pid>, limit: &plan::Rlimit, new: Rlimit) -> Result<()> {
    prlimit(pid, resource(&limit.name)?, new).map(drop).map_err(|errno| {
        let plan::Rlimit { name, soft, hard } = limit;
        Error::Refused(match errno {
            Errno::PERM if name == "RLIMIT_NOFILE" && most_descriptors().is_some_and(|n| *hard > n) => format!(
                "process.rlimits {name}: {hard} is higher than the kernel allows any process; raise \
                 the sysctl fs.nr_open or ask for less"
            ),
            Errno::PERM => format!(
                "process.rlimits {name}: {hard} is higher than the shim's own limit, and it has no \
                 CAP_SYS_RESOURCE to raise it; give it that capability or ask for less"
            ),
            errno => format!("process.rlimits {name} cannot be {soft} of {hard}: {errno}"),
        })
    })
}

/// The kernel's own limit of descriptors (proc(5)).
fn most_descriptors() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok()
}

/// `None` is `RLIM_INFINITY`.
fn bound(n: u64) -> Option<u64> {
    (n != u64::MAX).then_some(n)
}

fn resource(name: &str) -> Result<Resource> {
    Ok(match name {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => {
            return Err(Error::Refused(format!(
                "process.rlimits {name} is no limit of Linux, see getrlimit(2)"
            )));
        }
    })
}
