//! Which volumes are read-only for a guest as a whole.
//!
//! A volume that the spec makes read-only may have mounts in it that the spec does not know: those of the folder it
//! binds (`rbind`), and those that reach it later. Without `rro` they stay as writable as they are (runtime spec,
//! config.md, "mount options"), so WASI's rights must not forbid there what the mount allows.

use std::path::Path;

use wherry_core::plan::Preopen;

use crate::mountinfo;

/// `table` is that of the container's mounts.
pub(super) fn settle(preopens: &mut [Preopen], table: &str) {
    if !preopens.iter().any(|preopen| preopen.read_only) {
        return;
    }
    let writable: Vec<_> = mountinfo::parse(table).filter(|mount| !mount.is_read_only()).collect();
    for preopen in preopens.iter_mut().filter(|preopen| preopen.read_only) {
        let volume = Path::new(&preopen.path);
        preopen.read_only =
            !writable.iter().any(|it| it.point.starts_with(volume) && it.point != volume);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_with_a_writable_mount_in_it_is_left_to_the_mounts() {
        let table = "\
40 39 0:80 / / rw - overlay overlay rw
50 40 0:90 / /kept ro - ext4 /dev/vda ro
51 50 0:91 / /kept/below ro - tmpfs tmpfs rw
52 40 0:90 / /open ro - ext4 /dev/vda rw
53 52 0:92 / /open/a/b rw - tmpfs tmpfs rw
54 40 0:90 / /opened ro - ext4 /dev/vda rw
";
        let volume = |path: &str| Preopen { path: path.into(), read_only: true };
        let mut preopens = ["/kept", "/open", "/opened"].map(volume);
        settle(&mut preopens, table);
        assert_eq!(preopens.map(|it| it.read_only), [true, false, true]);
    }
}
