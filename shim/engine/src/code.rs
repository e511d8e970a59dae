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
use std::os::unix::fs::FileExt;
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
    let mut header = [0; 64];
    cwasm.read_exact_at(&mut header, 0)?;
    // SAFETY: the caller of `load` vouches for the file (module header). Wasmtime checks that the
    // code is this engine's, whatever the bytes are.
    unsafe {
        match Engine::detect_precompiled(&header) {
            Some(Precompiled::Module) => {
                Module::deserialize_open_file(engine, cwasm).map(Code::Module)
            }
            Some(Precompiled::Component) => component(engine, &cwasm).map(Code::Component),
            None => Err(wasmtime::Error::msg("the file is not compiled code")),
        }
    }
}

/// # Safety
///
/// As [`Component::deserialize_file`].
unsafe fn component(engine: &Engine, cwasm: &File) -> wasmtime::Result<Component> {
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
    let memory = map_private(cwasm)?;
    // SAFETY: the mapping is private, page-aligned, and is never unmapped when loading succeeds.
    let component = unsafe { Component::deserialize_raw(engine, memory) };
    if component.is_err() {
        // SAFETY: loading failed, nothing refers to the mapping.
        let _ = unsafe { munmap(memory.cast(), memory.len()) };
    }
    component
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

fn map_private(file: &File) -> io::Result<NonNull<[u8]>> {
    let length = file.metadata()?.len();
    let length = usize::try_from(length).ok().and_then(NonZeroUsize::new);
    let length = length.ok_or(io::ErrorKind::UnexpectedEof)?;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe {
        mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, file, 0)
            .map_err(io::Error::from)?
    };
    Ok(NonNull::slice_from_raw_parts(start.cast(), length.get()))
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
