//! Whose files, mounts, processes and sockets are looked at.
//!
//! A debug pod has the node's root as a folder. That alone is not the node: containerd and its containers have their
//! mounts in another namespace than the pod, and `/proc`, `/run` and the cgroups may be other ones below that folder or
//! none. So where the folder is what the node's first process has as its root, that process's mount namespace is
//! entered, as `nsenter -m -t 1` does it, and everything is as it is on the node itself.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Makes the node's file system ours: from here on all paths are of the node. For a process of one thread.
pub(in crate::doctor) fn enter(root: &Path) -> anyhow::Result<()> {
    match first_process(root) {
        Some(process) => join(&process).with_context(|| {
            format!(
                "{} is the root of this node, whose mounts can't be entered: that takes a privileged pod \
                 (kubectl debug --profile=sysadmin)",
                root.display()
            )
        }),
        None => change_root(root),
    }
}

/// The first process of the node whose root this is: our own first one where the pod has `hostPID`, and otherwise that of
/// the node's own `/proc`, which is below its root if the mounts of it are.
fn first_process(root: &Path) -> Option<PathBuf> {
    let folder = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let wanted = folder(root)?;
    let known = [PathBuf::from("/proc/1"), root.join("proc/1")];
    known.into_iter().find(|process| folder(&process.join("root")) == Some(wanted))
}

fn join(process: &Path) -> anyhow::Result<()> {
    let mounts = File::open(process.join("ns/mnt"))?;
    Ok(move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?)
}

/// For files of a node that does not run, or that is not this one.
fn change_root(root: &Path) -> anyhow::Result<()> {
    if !root.join("proc/self").exists() {
        bail!(
            "{} is not the root of the first process here, and has no /proc: in a pod, mount the node's / there and set \
             hostPID: true (kubectl debug node/NODE --profile=sysadmin does)",
            root.display()
        );
    }
    rustix::process::chroot(root)
        .and_then(|()| rustix::process::chdir("/"))
        .with_context(|| format!("can't enter {}", root.display()))
}
