//! Labels of security modules: AppArmor's profile and SELinux's context.

use std::io::Write;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use wherry_core::plan;

use super::Host;
use crate::error::Doing;
use crate::{Error, Result};

/// Changes what this process *is*, not what it would be after exec: there is no exec.
pub(super) fn apply(sandbox: &plan::Sandbox, host: &Host) -> Result<()> {
    if let Some(profile) = sandbox.apparmor_profile.as_ref().filter(|p| !p.is_empty()) {
        apparmor(profile, host)?;
    }
    if let Some(label) = sandbox.selinux_label.as_ref().filter(|l| !l.is_empty()) {
        selinux(label, host)?;
    }
    Ok(())
}

fn apparmor(profile: &str, host: &Host) -> Result<()> {
    if !has_apparmor() {
        return Err(Error::Refused(format!(
            "process.apparmorProfile {profile}: this node's kernel has no AppArmor; leave the \
             field out"
        )));
    }
    let change = format!("changeprofile {profile}");
    // With several modules in the kernel attr/current may be another's (runc `apparmor_linux.go`).
    let written = match write(host, "attr/apparmor/current", &change) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => write(host, "attr/current", &change),
        written => written,
    };
    written.map_err(|source| {
        let hint = match Errno::from_io_error(&source) {
            Some(Errno::NOENT) => ": it is not loaded on this node",
            _ => "",
        };
        Error::System { doing: format!("applying process.apparmorProfile {profile}{hint}"), source }
    })
}

/// As `aa_is_enabled(2)`, without asking for securityfs to be mounted.
pub(crate) fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|v| v.starts_with(b"Y"))
}

fn selinux(label: &str, host: &Host) -> Result<()> {
    if !Path::new("/sys/fs/selinux/enforce").exists() && !registered("selinuxfs") {
        return Err(Error::Refused(format!(
            "process.selinuxLabel {label}: this node's kernel has no SELinux; leave the field out"
        )));
    }
    write(host, "attr/current", label).doing(|| format!("applying process.selinuxLabel {label}"))
}

fn registered(filesystem: &str) -> bool {
    std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|all| all.lines().any(|l| l.split_whitespace().last() == Some(filesystem)))
}

fn write(host: &Host, file: &str, value: &str) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&host.proc_self, file, flags, Mode::empty())?;
    std::fs::File::from(fd).write_all(value.as_bytes())
}
