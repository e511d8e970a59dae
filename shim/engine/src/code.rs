//! Brings compiled code into the process without copying it.
//!
//! Pages of a private mapping that nobody writes are the page cache's: all guests of one program
//! share them. Wasmtime maps a file itself, and maps the data segments of every instance from the
//! same file, copy-on-write. For modules it takes an open file; for components only a path, and
//! in here there may be no path. So three ways, the best first:
//!
//! 1. a module: its open file;
//! 2. a component, where procfs is mounted: the file behind `/proc/self/fd/N`. The folder is
//!    checked to be procfs, because an image may bring a `/proc` of its own;
//! 3. a component otherwise: a mapping of our own. Code is shared just the same; the data segments
//!    are copied once per process, into a memfd of Wasmtime's.
//!
//! The bytes are native code. Whoever calls [`crate::load`] vouches that our compiler wrote them
//! and that nobody can change the file any more: the cache is root's alone, and its entries are
//! never written again.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use nix::fcntl::{OFlag, open};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mprotect, munmap};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::fchdir;
use wasmtime::component::Component;
use wasmtime::{Config, CustomCodeMemory, Engine, Module, Precompiled};

/// What a `.cwasm` holds.
pub(crate) enum Code {
    Module(Module),
    Component(Component),
}

/// Lets an engine execute code from mappings that are ours.
pub(crate) fn allow_own_mappings(config: &mut Config) {
    config.with_custom_code_memory(Some(Arc::new(OwnMappings)));
}

pub(crate) fn map(engine: &Engine, cwasm: File) -> wasmtime::Result<Code> {
    let mapping = Mapping::new(&cwasm)?;
    // SAFETY: the caller of `load` vouches for the file (module header). Wasmtime checks that the
    // code is this engine's, whatever the bytes are.
    unsafe {
        match Engine::detect_precompiled(mapping.bytes()) {
            Some(Precompiled::Module) => {
                Module::deserialize_open_file(engine, cwasm).map(Code::Module)
            }
            Some(Precompiled::Component) => component(engine, &cwasm, mapping).map(Code::Component),
            None => Err(wasmtime::Error::msg("the file is not compiled code")),
        }
    }
}

/// # Safety
///
/// As [`Component::deserialize_file`].
unsafe fn component(
    engine: &Engine,
    cwasm: &File,
    mapping: Mapping,
) -> wasmtime::Result<Component> {
    if let Some(before) = enter_own_descriptors() {
        let path = cwasm.as_raw_fd().to_string();
        // SAFETY: the working directory is procfs's list of our descriptors, so this is `cwasm`.
        let component = unsafe { Component::deserialize_file(engine, path) };
        fchdir(before)?;
        // Landlock or the file's mode may forbid to open it a second time.
        if component.is_ok() {
            return component;
        }
    }
    // SAFETY: the mapping is private and page-aligned, and from here on it is never unmapped.
    unsafe { Component::deserialize_raw(engine, mapping.leak()) }
}

/// Makes `/proc/self/fd` the working directory, if it is really procfs's, and returns the one
/// that was it before.
fn enter_own_descriptors() -> Option<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let descriptors = open("/proc/self/fd", flags, Mode::empty()).ok()?;
    let kind = fstatfs(&descriptors).ok()?.filesystem_type();
    (kind == PROC_SUPER_MAGIC).then_some(())?;
    let before = open(".", flags, Mode::empty()).ok()?;
    fchdir(&descriptors).ok()?;
    Some(before)
}

/// A private, read-only mapping of a whole file.
struct Mapping(NonNull<[u8]>);

impl Mapping {
    fn new(file: &File) -> io::Result<Mapping> {
        let length = file.metadata()?.len();
        let length = usize::try_from(length).ok().and_then(NonZeroUsize::new);
        let length = length.ok_or(io::ErrorKind::UnexpectedEof)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, file, 0)
                .map_err(io::Error::from)?
        };
        Ok(Mapping(NonNull::slice_from_raw_parts(start.cast(), length.get())))
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped as long as `self` lives, and nobody writes to the file (module header).
        unsafe { self.0.as_ref() }
    }

    fn leak(self) -> NonNull<[u8]> {
        let memory = self.0;
        std::mem::forget(self);
        memory
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: ours alone, and nothing refers to it.
        let _ = unsafe { munmap(self.0.cast(), self.0.len()) };
    }
}

/// Wasmtime does not change the protection of memory it did not map itself; it asks this.
struct OwnMappings;

impl CustomCodeMemory for OwnMappings {
    fn required_alignment(&self) -> usize {
        // Wasmtime aligns the text section of a `.cwasm` to 64 KiB pages at most.
        page_size()
    }

    fn publish_executable(&self, code: *const u8, length: usize) -> wasmtime::Result<()> {
        protect(code, length, ProtFlags::PROT_READ | ProtFlags::PROT_EXEC)
    }

    fn unpublish_executable(&self, code: *const u8, length: usize) -> wasmtime::Result<()> {
        protect(code, length, ProtFlags::PROT_READ)
    }
}

fn protect(code: *const u8, length: usize, protection: ProtFlags) -> wasmtime::Result<()> {
    let Some(start) = NonNull::new(code.cast_mut().cast()) else { return Ok(()) };
    let length = length.next_multiple_of(page_size());
    // SAFETY: the range is the text section of a mapping of compiled code: Wasmtime says so by
    // calling, and nothing of ours lives there.
    unsafe { mprotect(start, length, protection)? };
    Ok(())
}

fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096)
}
