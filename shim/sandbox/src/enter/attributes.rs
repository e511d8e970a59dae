//! `mount(2)` flags as what `mount_setattr(2)` wants.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::mount::MountFlags as Ms;
use wherry_core::plan::{MountFlags, Propagation, Recursive};

use crate::sys::{self, MountAttr};

const PAIRS: [(u64, u64); 6] = [
    (libc::MS_RDONLY, libc::MOUNT_ATTR_RDONLY),
    (libc::MS_NOSUID, libc::MOUNT_ATTR_NOSUID),
    (libc::MS_NODEV, libc::MOUNT_ATTR_NODEV),
    (libc::MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
    (libc::MS_NODIRATIME, libc::MOUNT_ATTR_NODIRATIME),
    (libc::MS_NOSYMFOLLOW, libc::MOUNT_ATTR_NOSYMFOLLOW),
];
const ATIMES: u64 = libc::MS_NOATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;

/// Access times are one number with three values, of which relatime is 0: to set one, the whole
/// number is cleared.
pub(super) fn attr(flags: MountFlags) -> MountAttr {
    let mut attr = MountAttr::default();
    for (ms, bit) in PAIRS {
        if flags.set & ms != 0 {
            attr.set |= bit;
        }
        if flags.clear & ms != 0 {
            attr.clear |= bit;
        }
    }
    if (flags.set | flags.clear) & ATIMES != 0 {
        attr.clear |= libc::MOUNT_ATTR__ATIME;
    }
    if flags.set & libc::MS_NOATIME != 0 {
        attr.set |= libc::MOUNT_ATTR_NOATIME;
    } else if flags.set & libc::MS_STRICTATIME != 0 {
        attr.set |= libc::MOUNT_ATTR_STRICTATIME;
    }
    attr
}

/// Changes a mount, or the whole tree of mounts below it.
pub(super) fn change(mount: impl AsFd, attr: MountAttr, recursive: bool) -> rustix::io::Result<()> {
    if attr == MountAttr::default() {
        return Ok(());
    }
    sys::mount_setattr(mount.as_fd(), attr, recursive)
}

pub(super) fn propagation(kind: Propagation) -> u64 {
    match kind {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
        Propagation::Unbindable => libc::MS_UNBINDABLE,
    }
}

/// Everything that a mount of the spec asks for, on a mount that is there.
pub(super) fn change_all(
    mount: impl AsFd + Copy,
    flags: MountFlags,
    recursive: MountFlags,
    spread: Option<(Propagation, Recursive)>,
) -> rustix::io::Result<()> {
    change(mount, attr(flags), false)?;
    change(mount, attr(recursive), true)?;
    if let Some((kind, depth)) = spread {
        let attr = MountAttr { propagation: propagation(kind), ..MountAttr::default() };
        change(mount, attr, depth == Recursive::Yes)?;
    }
    Ok(())
}

/// What a kernel before 5.12 does not have, in words.
pub(super) fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOSYS => " (this kernel has no mount_setattr: it must be 5.12 or newer)",
        _ => "",
    }
}

pub(super) fn ms(flags: u64) -> Ms {
    Ms::from_bits_retain(flags as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_times_are_one_number() {
        let of = |set, clear| attr(MountFlags { set, clear });
        assert_eq!(of(libc::MS_RDONLY | libc::MS_NODEV, libc::MS_NOEXEC).set, 1 | 4);
        assert_eq!(of(0, libc::MS_NOEXEC).clear, 8);
        let noatime = of(libc::MS_NOATIME, 0);
        assert_eq!((noatime.set, noatime.clear), (0x10, 0x70));
        let relatime = of(libc::MS_RELATIME, 0);
        assert_eq!((relatime.set, relatime.clear), (0, 0x70));
        assert_eq!(of(0, 0), MountAttr::default());
    }
}
