//! Finding the program that `args[0]` names: in the mounted root file system or in a bind mount.
//!
//! The guest's own view is not there yet, so a path is looked up where the container will have it:
//! below the source of the bind mount that holds it, otherwise below the root. Links of an image
//! never lead out of either.

use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use wherry_core::image::{Kind, PREFIX};
use wherry_core::lifecycle::{Code, Denied};
use wherry_core::plan::Program;
use wherry_core::spec::Lookup;
use wherry_sandbox::resolve::open_in_root;

/// A program of a kind that can be run.
#[derive(Debug)]
pub(crate) enum Found {
    /// Open.
    Wasm(File),
    /// By runc, and only as a container of its own.
    Native { sentence: String },
}

/// The program, if there is one.
pub(crate) fn find(lookup: &Lookup) -> Result<Option<Found>, Denied> {
    first(&lookup.program.candidates, |path| locate(lookup, path))
}

/// The first that is there. `locate` opens without access ([`OFlags::PATH`]).
fn first(
    candidates: &[PathBuf],
    locate: impl Fn(&Path) -> Result<OwnedFd, Errno>,
) -> Result<Option<Found>, Denied> {
    for candidate in candidates {
        match locate(candidate) {
            Ok(located) => return check(open(&located, candidate)?, candidate).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
            Err(errno) => return Err(cannot_open(candidate, errno)),
        }
    }
    Ok(None)
}

/// The root of a container as its process `pid` sees it, with all that is mounted below.
pub(crate) fn root_of(pid: u32) -> Result<OwnedFd, Denied> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}/root"), folder, Mode::empty()).map_err(|errno| {
        let sentence = format!("cannot look into the container of process {pid}: {errno}");
        Denied::new(Code::FailedPrecondition, sentence)
    })
}

/// As [`find`], in a Wasm container that runs: nothing native is run beside its guest.
pub(crate) fn find_in(root: BorrowedFd<'_>, program: &Program) -> Result<Option<File>, Denied> {
    match first(&program.candidates, |path| open_in_root(root, path, OFlags::PATH))? {
        None => Ok(None),
        Some(Found::Wasm(file)) => Ok(Some(file)),
        Some(Found::Native { sentence }) => {
            let why = "in a Wasm container only Wasm is run, and the built-in programs";
            Err(Denied::new(Code::Unimplemented, format!("{sentence}: {why}")))
        }
    }
}

/// Whether there was anywhere to look.
pub(crate) fn root_is_there(lookup: &Lookup) -> Result<(), Denied> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let why = match rustix::fs::open(&lookup.rootfs, folder, Mode::empty()) {
        Ok(_) => return Ok(()),
        Err(Errno::NOENT) => "is not there".to_owned(),
        Err(Errno::NOTDIR) => "is not a folder".to_owned(),
        Err(errno) => format!("cannot be opened: {errno}"),
    };
    let sentence = format!("root.path is \"{}\", which {why}", lookup.rootfs.display());
    Err(Denied::new(Code::InvalidArgument, sentence))
}

/// Says where it was looked for, and why the image's layers did not help either.
pub(crate) fn missing(program: &Program, layers: &str) -> Denied {
    if program.name.is_empty() {
        let sentence = format!("{NAMELESS}, and {layers}: {}", not_found_to_go(""));
        return Denied::new(Code::NotFound, sentence);
    }
    let tried: Vec<_> = program.candidates.iter().map(|p| p.display().to_string()).collect();
    let sentence = format!(
        "the program {:?} (process.args[0]) is not in the container: tried {}; {layers}: {}",
        program.name,
        tried.join(", "),
        not_found_to_go(&program.name)
    );
    Denied::new(Code::NotFound, sentence)
}

/// Whether a built-in program is meant, where the container has no such file: one by its reserved
/// path, or a usual one by the name or path under which everyone has it.
pub(crate) fn is_builtin(program: &Program) -> bool {
    let path = Path::new(&program.name);
    let folder = path.parent().and_then(Path::to_str);
    let name = path.file_name().and_then(OsStr::to_str);
    folder.is_some_and(|folder| FOLDERS.contains(&folder))
        && name.is_some_and(wherry_wasmbox::is_applet)
}

/// Where built-in programs are found: the reserved place, by name alone, and where images have them.
const FOLDERS: [&str; 8] = [
    "/.wherry/bin",
    "",
    "/bin",
    "/usr/bin",
    "/usr/local/bin",
    "/sbin",
    "/usr/sbin",
    "/usr/local/sbin",
];

/// No such program for an exec, and none that is built in.
pub(crate) fn not_found(program: &Program) -> Denied {
    let sentence = match program.name.as_str() {
        "" => format!("{NAMELESS}: {}", not_found_to_go("")),
        name => not_found_to_go(name),
    };
    Denied::new(Code::Unknown, sentence)
}

/// Empty, or `#export`: it is the image's layer that is meant.
const NAMELESS: &str = "process.args[0] names no program";

/// The words of Go's `os/exec`: Docker makes exit code 127 of them
/// (moby `daemon/errors.go`, `setExitCodeFromError`).
fn not_found_to_go(name: &str) -> String {
    match name.contains('/') {
        true => format!("exec: {name:?}: stat {name}: no such file or directory"),
        false => format!("exec: {name:?}: executable file not found in $PATH"),
    }
}

/// As [`not_found_to_go`], for exit code 126.
fn not_a_file_to_go(path: &Path, folder: bool) -> String {
    let what = if folder { "is a directory" } else { "is not a file" };
    format!("exec: {:?}: {what}: permission denied", path.display().to_string())
}

fn cannot_open(path: &Path, errno: Errno) -> Denied {
    let sentence = format!("cannot open the program {}: {errno}", path.display());
    Denied::new(Code::FailedPrecondition, sentence)
}

fn locate(lookup: &Lookup, candidate: &Path) -> Result<OwnedFd, Errno> {
    let (base, rest) = lookup.place(candidate);
    let Some(base) = base else { return Err(Errno::NOENT) };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    if rest.as_os_str().is_empty() {
        // A bind mount of the file itself.
        return rustix::fs::open(base, flags, Mode::empty());
    }
    let base = rustix::fs::openat(CWD, base, flags | OFlags::DIRECTORY, Mode::empty())?;
    open_in_root(base.as_fd(), &rest, flags)
}

/// Opens what was located, if it is a regular file.
///
/// The image chose it, and the shim is root in no device cgroup: to open a device, even for no more
/// than a look at its kind, already runs the driver. What `located` holds is the same file when it is
/// opened by its number (proc_pid_fd(5)), whatever its name leads to by then.
fn open(located: &OwnedFd, path: &Path) -> Result<File, Denied> {
    let stat = rustix::fs::fstat(located).map_err(|errno| cannot_open(path, errno))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !kind.is_file() {
        return Err(Denied::new(Code::InvalidArgument, not_a_file_to_go(path, kind.is_dir())));
    }
    let itself = format!("/proc/self/fd/{}", located.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(itself, flags, Mode::empty());
    opened.map(File::from).map_err(|errno| cannot_open(path, errno))
}

fn check(file: File, path: &Path) -> Result<Found, Denied> {
    let denied = |code, why: String| Err(Denied::new(code, format!("{} {why}", path.display())));
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
        None => Ok(Found::Wasm(file)),
        Some(why) if kind.is_native() => {
            Ok(Found::Native { sentence: format!("{} {why}", path.display()) })
        }
        Some(why) => denied(Code::InvalidArgument, why),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{FileType, makedev, mknodat};
    use wherry_core::spec;

    use super::*;

    /// A bundle whose root file system is `rootfs`, and where the program is looked for in it.
    fn lookup(bundle: &Path, program: &str) -> Lookup {
        let json = serde_json::json!({
            "process": { "args": [program], "cwd": "/" },
            "root": { "path": "rootfs" },
            "mounts": [{ "destination": "/bound", "type": "bind", "source": "rootfs/device" }],
        });
        spec::lookup(&json.to_string(), bundle).expect("a spec")
    }

    /// With a device that has no driver, `open` tells: it fails with ENXIO before anyone looks.
    #[test]
    fn what_is_not_a_file_is_told_in_the_words_that_docker_makes_126_of_and_not_opened() {
        let bundle = tempfile::tempdir().expect("a temporary folder");
        let root = bundle.path().join("rootfs");
        fs::create_dir_all(root.join("folder")).expect("made");
        let made = |name: &str, kind, number| {
            mknodat(CWD, root.join(name), kind, Mode::from(0o666), number)
                .expect("root makes nodes");
        };
        made("device", FileType::CharacterDevice, makedev(99, 99));
        made("disk", FileType::BlockDevice, makedev(99, 99));
        made("fifo", FileType::Fifo, 0);
        made("socket", FileType::Socket, 0);
        symlink("device", root.join("link")).expect("made");
        let here = rustix::fs::open(&root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let here = here.expect("the root");
        for (path, told) in [
            ("/folder", "is a directory"),
            ("/device", "is not a file"),
            ("/link", "is not a file"),
            ("/disk", "is not a file"),
            ("/fifo", "is not a file"),
            ("/socket", "is not a file"),
        ] {
            let told = format!("exec: {path:?}: {told}: permission denied");
            let lookup = lookup(bundle.path(), path);
            assert_eq!(find(&lookup).expect_err("no program").to_string(), told);
            let denied = find_in(here.as_fd(), &lookup.program).expect_err("no program");
            assert_eq!(denied.to_string(), told);
        }
        let denied = find(&lookup(bundle.path(), "/bound")).expect_err("no program");
        assert_eq!(denied.to_string(), r#"exec: "/bound": is not a file: permission denied"#);
    }

    /// The image's layer is meant by both, where there is one.
    #[test]
    fn arguments_that_name_no_program_are_told_by_their_field() {
        for name in ["", "#add"] {
            let lookup = lookup(Path::new("/nowhere"), name);
            assert!(find(&lookup).expect("nothing was opened").is_none());
            let told =
                [missing(&lookup.program, "the image has no layer"), not_found(&lookup.program)];
            assert_eq!(
                told.map(|denied| denied.to_string()),
                [
                    "process.args[0] names no program, and the image has no layer: exec: \"\": executable file not found in $PATH",
                    "process.args[0] names no program: exec: \"\": executable file not found in $PATH",
                ]
            );
        }
    }

    #[test]
    fn a_file_is_found_open_behind_links_of_the_image() {
        let bundle = tempfile::tempdir().expect("a temporary folder");
        let root = bundle.path().join("rootfs");
        fs::create_dir_all(&root).expect("made");
        fs::write(root.join("app.wasm"), b"\0asm\x01\0\0\0").expect("written");
        symlink("/app.wasm", root.join("link")).expect("made");
        let found = find(&lookup(bundle.path(), "/link")).expect("no refusal");
        let Some(Found::Wasm(file)) = found else { panic!("{found:?}") };
        assert_eq!(file.metadata().expect("open").len(), 8);
    }
}
