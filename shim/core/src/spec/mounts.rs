//! Mounts: their option strings become flags, once.
//!
//! The tables are runc's (`specconv/spec_linux.go`, v1.5.2), which the runtime spec adopted
//! (config.md, "Linux mount options"). A word in none of them is for the file system itself.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount as Given, Spec};

use super::{Refusal, invalid, namespaces, no_nul};
use crate::plan::{IdMap, Ids, Mount, MountFlags, MountWhat, Propagation, Recursive};

/// `mount(2)` flags (`linux/mount.h`): the word, whether it clears, the bit.
const FLAGS: [(&str, bool, u64); 30] = [
    ("async", true, MS_SYNCHRONOUS),
    ("atime", true, MS_NOATIME),
    ("dev", true, MS_NODEV),
    ("diratime", true, MS_NODIRATIME),
    ("dirsync", false, MS_DIRSYNC),
    ("exec", true, MS_NOEXEC),
    ("iversion", false, MS_I_VERSION),
    ("lazytime", false, MS_LAZYTIME),
    ("loud", true, MS_SILENT),
    ("mand", false, MS_MANDLOCK),
    ("noatime", false, MS_NOATIME),
    ("nodev", false, MS_NODEV),
    ("nodiratime", false, MS_NODIRATIME),
    ("noexec", false, MS_NOEXEC),
    ("noiversion", true, MS_I_VERSION),
    ("nolazytime", true, MS_LAZYTIME),
    ("nomand", true, MS_MANDLOCK),
    ("norelatime", true, MS_RELATIME),
    ("nostrictatime", true, MS_STRICTATIME),
    ("nosuid", false, MS_NOSUID),
    ("nosymfollow", false, MS_NOSYMFOLLOW),
    ("relatime", false, MS_RELATIME),
    ("remount", false, MS_REMOUNT),
    ("ro", false, MS_RDONLY),
    ("rw", true, MS_RDONLY),
    ("silent", false, MS_SILENT),
    ("strictatime", false, MS_STRICTATIME),
    ("suid", true, MS_NOSUID),
    ("sync", false, MS_SYNCHRONOUS),
    ("symfollow", true, MS_NOSYMFOLLOW),
];

const MS_RDONLY: u64 = 1;
const MS_NOSUID: u64 = 1 << 1;
const MS_NODEV: u64 = 1 << 2;
const MS_NOEXEC: u64 = 1 << 3;
const MS_SYNCHRONOUS: u64 = 1 << 4;
const MS_REMOUNT: u64 = 1 << 5;
const MS_MANDLOCK: u64 = 1 << 6;
const MS_DIRSYNC: u64 = 1 << 7;
const MS_NOSYMFOLLOW: u64 = 1 << 8;
const MS_NOATIME: u64 = 1 << 10;
const MS_NODIRATIME: u64 = 1 << 11;
const MS_SILENT: u64 = 1 << 15;
const MS_RELATIME: u64 = 1 << 21;
const MS_I_VERSION: u64 = 1 << 23;
const MS_STRICTATIME: u64 = 1 << 24;
const MS_LAZYTIME: u64 = 1 << 25;

/// Flags of the file system (and `remount`), not of one mount of it.
const OF_FILE_SYSTEMS: u64 =
    MS_SYNCHRONOUS | MS_REMOUNT | MS_MANDLOCK | MS_DIRSYNC | MS_I_VERSION | MS_LAZYTIME;

/// `mount_setattr(2)` attributes for a whole tree: the word, whether it clears, the bits.
const RECURSIVE: [(&str, bool, u64); 18] = [
    ("rro", false, 0x01),
    ("rrw", true, 0x01),
    ("rnosuid", false, 0x02),
    ("rsuid", true, 0x02),
    ("rnodev", false, 0x04),
    ("rdev", true, 0x04),
    ("rnoexec", false, 0x08),
    ("rexec", true, 0x08),
    ("rnodiratime", false, 0x80),
    ("rdiratime", true, 0x80),
    ("rrelatime", false, 0x00),
    ("rnorelatime", true, 0x00),
    ("rnoatime", false, 0x10),
    ("ratime", true, 0x10),
    ("rstrictatime", false, 0x20),
    ("rnostrictatime", true, 0x20),
    ("rnosymfollow", false, 0x20_0000),
    ("rsymfollow", true, 0x20_0000),
];

/// The access-time setting is a number, not a bit: to set any, all of it has to be cleared
/// (`mount_setattr(2)`, "The access-time settings").
const MOUNT_ATTR_ATIME: u64 = 0x70;

const PROPAGATION: [(&str, Propagation, Recursive); 8] = [
    ("private", Propagation::Private, Recursive::No),
    ("rprivate", Propagation::Private, Recursive::Yes),
    ("slave", Propagation::Slave, Recursive::No),
    ("rslave", Propagation::Slave, Recursive::Yes),
    ("shared", Propagation::Shared, Recursive::No),
    ("rshared", Propagation::Shared, Recursive::Yes),
    ("unbindable", Propagation::Unbindable, Recursive::No),
    ("runbindable", Propagation::Unbindable, Recursive::Yes),
];

/// Every option word that is honoured, sorted, for the features that `-info` tells.
pub(super) fn known_options() -> Vec<&'static str> {
    let flags = FLAGS.iter().map(|(word, ..)| *word);
    let recursive = RECURSIVE.iter().map(|(word, ..)| *word);
    let propagation = PROPAGATION.iter().map(|(word, ..)| *word);
    let mut words: Vec<_> = flags.chain(recursive).chain(propagation).collect();
    words.extend(["bind", "rbind", "defaults", "tmpcopyup", "idmap", "ridmap"]);
    words.sort_unstable();
    words
}

pub(super) fn propagation(word: &str) -> Option<(Propagation, Recursive)> {
    PROPAGATION
        .iter()
        .find(|(name, ..)| *name == word)
        .map(|(_, kind, recursive)| (*kind, *recursive))
}

/// For a bind mount the type is a dummy (runtime spec, config.md, "Mounts"): the options tell. A
/// type of `bind` with neither option can only mean one thing.
pub(super) fn is_bind(mount: &Given) -> bool {
    mount.typ().as_deref() == Some("bind")
        || options(mount).any(|word| word == "bind" || word == "rbind")
}

/// Absolute, or relative to the bundle.
pub(super) fn bind_source(mount: &Given, bundle: &Path) -> PathBuf {
    bundle.join(mount.source().as_deref().unwrap_or(Path::new("")))
}

fn options(mount: &Given) -> impl Iterator<Item = &str> {
    mount.options().iter().flatten().map(String::as_str)
}

/// `own` are the ids of the container's user namespace, if it has one.
pub(super) fn of(spec: &Spec, bundle: &Path, own: Option<&Ids>) -> Result<Vec<Mount>, Refusal> {
    let mounts = spec.mounts().iter().flatten().enumerate();
    mounts.map(|(n, mount)| one(&format!("mounts[{n}]"), mount, bundle, own)).collect()
}

fn one(field: &str, given: &Given, bundle: &Path, own: Option<&Ids>) -> Result<Mount, Refusal> {
    for path in [Some(given.destination()), given.source().as_ref()].into_iter().flatten() {
        no_nul(field, &path.to_string_lossy())?;
    }
    if given.destination().as_os_str().is_empty() {
        return Err(invalid(
            format!("{field}.destination"),
            "is empty: it must be an absolute path",
        ));
    }
    let name = format!("{field} ({})", given.destination().display());
    let field = name.as_str();
    let read = Options::read(field, given)?;
    let what = what(field, given, bundle, &read)?;
    let idmap = idmap(field, given, &read, own)?;
    if matches!(what, MountWhat::Bind { .. }) {
        only_for_binds(field, given, &read)?;
    } else if idmap.is_some() {
        return Err(invalid(field, "is id-mapped, which only a bind mount can be"));
    }
    let kind = given.typ().as_deref().unwrap_or_default();
    if read.copy_up && kind != "tmpfs" {
        return Err(invalid(
            field,
            format!("asks for tmpcopyup on {kind:?}: it works on tmpfs only"),
        ));
    }
    Ok(Mount {
        destination: clean(given.destination()),
        what,
        flags: read.flags,
        recursive: read.recursive,
        propagation: read.propagation,
        data: read.data.join(","),
        copy_up: read.copy_up,
        idmap,
    })
}

/// Mappings without the option count as well, for this mount alone (runc, `createLibcontainerMount`).
fn idmap(
    field: &str,
    given: &Given,
    read: &Options<'_>,
    own: Option<&Ids>,
) -> Result<Option<IdMap>, Refusal> {
    let some = |mappings: &Option<Vec<_>>| mappings.clone().filter(|given| !given.is_empty());
    let ids = match (some(given.uid_mappings()), some(given.gid_mappings())) {
        (None, None) if read.idmap.is_none() => return Ok(None),
        (None, None) => own.cloned().ok_or_else(|| {
            let why = "is to be id-mapped without uidMappings and gidMappings, and the container has \
                       no user namespace whose mappings could be taken";
            invalid(field, why)
        })?,
        (Some(uids), Some(gids)) => Ids::Mapped {
            uids: namespaces::ranges(&format!("{field}.uidMappings"), &uids)?,
            gids: namespaces::ranges(&format!("{field}.gidMappings"), &gids)?,
        },
        _ => {
            return Err(invalid(
                field,
                "has mappings of users or of groups alone: give uidMappings and gidMappings",
            ));
        }
    };
    Ok(Some(IdMap { ids, recursive: read.idmap.unwrap_or(Recursive::No) }))
}

/// A bind mount has no file system of its own. The kernel would ignore what is for one without a
/// word; runc refuses the options that it doesn't know (`checkBindOptions`) and passes the flags.
fn only_for_binds(field: &str, given: &Given, read: &Options<'_>) -> Result<(), Refusal> {
    let flag = |word: &&str| {
        find(&FLAGS, word).is_some_and(|(_, clears, bit)| !clears && bit & OF_FILE_SYSTEMS != 0)
    };
    let words: Vec<_> = read.data.iter().copied().chain(options(given).filter(flag)).collect();
    match words.is_empty() {
        true => Ok(()),
        false => Err(invalid(
            field,
            format!(
                "is a bind mount with options for a file system ({}): leave them out",
                words.join(",")
            ),
        )),
    }
}

fn what(
    field: &str,
    given: &Given,
    bundle: &Path,
    read: &Options<'_>,
) -> Result<MountWhat, Refusal> {
    let source = given.source().as_deref().unwrap_or(Path::new(""));
    if is_bind(given) {
        if source.as_os_str().is_empty() {
            return Err(invalid(field, "is a bind mount without a source"));
        }
        let recursive = read.bind.unwrap_or(Recursive::No);
        return Ok(MountWhat::Bind { source: bind_source(given, bundle), recursive });
    }
    match given.typ().as_deref().unwrap_or_default() {
        "" => Err(invalid(field, "has neither a type nor the option bind")),
        "cgroup" => Ok(MountWhat::Cgroup),
        kind => Ok(MountWhat::Filesystem {
            kind: no_nul(field, kind)?.to_owned(),
            source: source.to_string_lossy().into_owned(),
        }),
    }
}

/// What the option words of one mount say together. Later words win over earlier ones.
#[derive(Default)]
struct Options<'a> {
    flags: MountFlags,
    recursive: MountFlags,
    propagation: Option<(Propagation, Recursive)>,
    bind: Option<Recursive>,
    copy_up: bool,
    idmap: Option<Recursive>,
    data: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn read(field: &str, given: &'a Given) -> Result<Options<'a>, Refusal> {
        let mut read = Options::default();
        for word in options(given) {
            read.word(field, no_nul(field, word)?)?;
        }
        Ok(read)
    }

    fn word(&mut self, field: &str, word: &'a str) -> Result<(), Refusal> {
        match word {
            "defaults" => {}
            "bind" => self.bind = self.bind.or(Some(Recursive::No)),
            "rbind" => self.bind = Some(Recursive::Yes),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(Recursive::No),
            "ridmap" => self.idmap = Some(Recursive::Yes),
            _ => {
                if let Some((_, clears, bit)) = find(&FLAGS, word) {
                    turn(&mut self.flags, clears, bit);
                } else if let Some((_, clears, bits)) = find(&RECURSIVE, word) {
                    turn(&mut self.recursive, clears, bits);
                    if bits & !MOUNT_ATTR_ATIME == 0 {
                        self.recursive.clear |= MOUNT_ATTR_ATIME;
                    }
                } else if let Some(new) = propagation(word) {
                    self.propagate(field, new)?;
                } else {
                    self.data.push(word);
                }
            }
        }
        Ok(())
    }

    fn propagate(&mut self, field: &str, new: (Propagation, Recursive)) -> Result<(), Refusal> {
        match self.propagation {
            Some((kind, _)) if kind != new.0 => Err(invalid(
                field,
                format!("asks for two propagations, {kind:?} and {:?}: name one", new.0),
            )),
            _ => {
                self.propagation = Some(new);
                Ok(())
            }
        }
    }
}

fn find(table: &[(&'static str, bool, u64)], word: &str) -> Option<(&'static str, bool, u64)> {
    table.iter().find(|(name, ..)| *name == word).copied()
}

fn turn(flags: &mut MountFlags, clears: bool, bits: u64) {
    let (on, off) = match clears {
        false => (&mut flags.set, &mut flags.clear),
        true => (&mut flags.clear, &mut flags.set),
    };
    *on |= bits;
    *off &= !bits;
}

/// Absolute and without `.` and `..`, as the path is written: the sandbox resolves links inside the
/// root. A relative destination is below `/` (runtime spec 1.2, config.md, "Mounts").
pub(super) fn clean(destination: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in destination.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}
