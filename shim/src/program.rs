//! Finding the program that `args[0]` names: in the mounted root file system or in a bind mount.
//!
//! The guest's own view is not there yet, so a path is looked up where the container will have it:
//! below the source of the bind mount that holds it, otherwise below the root. Links of an image
//! never lead out of either.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use wherry_core::image::{Kind, PREFIX};
use wherry_core::lifecycle::{Code, Denied};
use wherry_core::plan::{MountWhat, Plan};
use wherry_sandbox::resolve::open_in_root;

/// The program's file, open, and of a kind that can be compiled; `None` where there is none.
pub(crate) fn find(plan: &Plan) -> Result<Option<File>, Denied> {
    for candidate in &plan.program.candidates {
        match open(plan, candidate) {
            Ok(file) => return check(file, candidate).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
            Err(errno) => {
                let sentence = format!("cannot open the program {}: {errno}", candidate.display());
                return Err(Denied::new(Code::FailedPrecondition, sentence));
            }
        }
    }
    Ok(None)
}

/// Says where it was looked for, and why the image's layers did not help either.
pub(crate) fn missing(plan: &Plan, layers: &str) -> Denied {
    let tried: Vec<_> = plan.program.candidates.iter().map(|p| p.display().to_string()).collect();
    let sentence = format!(
        "the program {:?} (process.args[0]) is not in the container: tried {}; {layers}",
        plan.program.name,
        tried.join(", ")
    );
    Denied::new(Code::NotFound, sentence)
}

fn open(plan: &Plan, candidate: &Path) -> Result<File, Errno> {
    let (base, rest) = place(plan, candidate);
    let Some(base) = base else { return Err(Errno::NOENT) };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if rest.as_os_str().is_empty() {
        // A bind mount of the file itself.
        return rustix::fs::open(&base, flags, Mode::empty()).map(File::from);
    }
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = rustix::fs::openat(CWD, &base, folder, Mode::empty())?;
    open_in_root(base.as_fd(), &rest, flags).map(File::from)
}

/// The host's folder that holds the path, and the rest of it. No folder below what is mounted new.
fn place(plan: &Plan, candidate: &Path) -> (Option<PathBuf>, PathBuf) {
    let mounts = plan.sandbox.mounts.iter().enumerate();
    let holding = mounts.filter(|(_, mount)| candidate.starts_with(&mount.destination));
    // Of two on the same place, the later one is on top.
    let top = holding.max_by_key(|(at, mount)| (mount.destination.components().count(), *at));
    match top {
        None => (Some(plan.sandbox.rootfs.clone()), candidate.to_owned()),
        Some((_, mount)) => {
            let rest = candidate.strip_prefix(&mount.destination).unwrap_or(candidate);
            match &mount.what {
                MountWhat::Bind { source, .. } => (Some(source.clone()), rest.to_owned()),
                MountWhat::Filesystem { .. } | MountWhat::Cgroup => (None, rest.to_owned()),
            }
        }
    }
}

fn check(file: File, path: &Path) -> Result<File, Denied> {
    let denied = |code, why: String| Err(Denied::new(code, format!("{} {why}", path.display())));
    match rustix::fs::fstat(&file) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => {}
        Ok(_) => return denied(Code::InvalidArgument, "is not a file".into()),
        Err(errno) => return denied(Code::FailedPrecondition, format!("cannot be read: {errno}")),
    }
    let mut prefix = vec![0; PREFIX];
    let mut read = 0;
    while read < PREFIX {
        match file.read_at(&mut prefix[read..], read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return denied(Code::FailedPrecondition, format!("cannot be read: {error}"));
            }
        }
    }
    let kind = Kind::of(&prefix[..read]);
    match kind.refusal() {
        None => Ok(file),
        Some(why) if kind.is_native() => denied(
            Code::Unimplemented,
            format!(
                "{why}: native containers are not supported yet, run it with another runtime class"
            ),
        ),
        Some(why) => denied(Code::InvalidArgument, why),
    }
}
