//! The guest's memory within the container's: growth is refused before the kernel kills.
//!
//! A refused `memory.grow` is an answer that a program can handle. One that does not may end without
//! a word, and the reason of its end then names what was refused ([`Refused`]). The kernel's answer
//! is SIGKILL. It still comes for what is not linear memory: files on a tmpfs, for instance.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::component::Component;
use wasmtime::{Module, ResourceLimiter, ResourcesRequired};
use wherry_core::plan::Run;

/// What this process needs beside its guests: 1 to 2 MB of its own, stacks, the kernel's tables.
const HOST_BYTES: u64 = 4 << 20;

/// And more for larger guests: page tables, buffers of sockets and files.
const HOST_SHARE: u64 = 64;

/// The memory that all guests of this process may have together.
///
/// The limit is read again at each growth, since it may be changed while the guest runs (`docker
/// update`, a pod's in-place resize).
#[derive(Clone)]
pub(crate) struct Budget(Arc<Inner>);

struct Inner {
    /// The limit of the container's cgroup, as its file tells it now.
    file: Option<File>,
    /// What it was when the container was made, for where the file cannot be read.
    planned: Option<u64>,
    taken: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(run: &Run, file: Option<File>) -> Budget {
        Budget(Arc::new(Inner { file, planned: run.memory_limit, taken: AtomicUsize::new(0) }))
    }

    #[cfg(test)]
    pub(crate) fn of_file(file: File) -> Budget {
        Budget(Arc::new(Inner { file: Some(file), planned: None, taken: AtomicUsize::new(0) }))
    }

    /// Bytes for guests; `None` without a limit.
    pub(crate) fn bytes(&self) -> Option<usize> {
        self.limit().map(for_guests)
    }

    /// Bytes for the container; `None` without a limit.
    fn limit(&self) -> Option<u64> {
        match self.0.file.as_ref().and_then(read_limit) {
            Some(Limit::None) => None,
            Some(Limit::Bytes(bytes)) => Some(bytes),
            None => self.0.planned,
        }
    }

    fn take(&self, what: Growing, bytes: usize) -> Result<(), Refused> {
        let limit = self.limit();
        let most = limit.map_or(usize::MAX, for_guests);
        let enough = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= most);
        let taken = self.0.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough);
        // Without a limit a sum beyond all addresses is refused, which names no limit of ours.
        taken.map(drop).map_err(|taken| Refused { what, bytes, taken, most, limit })
    }
}

/// What of a container's limit is left for guests, in bytes.
fn for_guests(limit: u64) -> usize {
    let bytes = limit.saturating_sub(HOST_BYTES).saturating_sub(limit / HOST_SHARE);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[derive(Clone, Copy, Debug)]
enum Growing {
    Memory,
    Table,
}

/// A growth that did not fit into the budget: what a program that ends soon after may have died of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    what: Growing,
    bytes: usize,
    /// What all guests held, and the most that they may, in bytes.
    taken: usize,
    most: usize,
    limit: Option<u64>,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Growing::Memory => "memory",
            Growing::Table => "for a table",
        };
        write!(formatter, "before that it was refused {} more {what}", Size::of(self.bytes))?;
        let Some(limit) = self.limit else { return Ok(()) };
        write!(
            formatter,
            ": {} of {} for guests were taken; the container's memory limit is {} \
             (resources.limits.memory, docker --memory)",
            Size::of(self.taken),
            Size::of(self.most),
            Size(limit),
        )
    }
}

/// Bytes as people write limits, to a tenth.
struct Size(u64);

impl Size {
    fn of(bytes: usize) -> Size {
        Size(bytes as u64)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..KIB => return write!(formatter, "{} bytes", self.0),
            KIB..MIB => (KIB, "KiB"),
            MIB..GIB => (MIB, "MiB"),
            GIB.. => (GIB, "GiB"),
        };
        let tenths = u128::from(self.0) * 10 / u128::from(unit);
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(formatter, "{whole} {name}"),
            (whole, tenth) => write!(formatter, "{whole}.{tenth} {name}"),
        }
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[derive(Debug, PartialEq, Eq)]
enum Limit {
    None,
    Bytes(u64),
}

/// `memory.limit_in_bytes` or `memory.max`; `None` if it cannot be read.
fn read_limit(file: &File) -> Option<Limit> {
    let mut text = [0; 32];
    let length = file.read_at(&mut text, 0).ok()?;
    limit(std::str::from_utf8(text.get(..length)?).ok()?)
}

/// Version 2 says `max` for no limit, version 1 the largest number of pages.
fn limit(text: &str) -> Option<Limit> {
    match text.trim() {
        "max" => Some(Limit::None),
        number => match number.parse().ok()? {
            bytes @ 0..UNLIMITED_FROM => Some(Limit::Bytes(bytes)),
            UNLIMITED_FROM.. => Some(Limit::None),
        },
    }
}

/// More than any machine has.
const UNLIMITED_FROM: u64 = 1 << 60;

/// The largest element of a table: a function's is a pointer, a continuation's two.
const ELEMENT_BYTES: usize = 16;

/// What a program declares and a store is thus asked for while it instantiates it, each once and
/// before any function of the instance runs.
///
/// That a memory grows from nothing does not tell a declaration: `(memory 0)` grows from nothing
/// later, too, and in a start function while the store is still being instantiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    memories: u32,
    tables: u32,
}

impl Declared {
    pub(crate) fn by_module(module: &Module) -> Declared {
        Declared::of(&module.resources_required())
    }

    /// Of a component that imports modules nothing is known; nothing provides such imports either.
    pub(crate) fn by_component(component: &Component) -> Declared {
        component.resources_required().as_ref().map(Declared::of).unwrap_or_default()
    }

    fn of(required: &ResourcesRequired) -> Declared {
        Declared { memories: required.num_memories, tables: required.num_tables }
    }
}

/// One store's part of the budget.
pub(crate) struct Memory {
    budget: Budget,
    /// What is still to be instantiated.
    declared: Declared,
    held: usize,
    /// The last growth that was.
    refused: Option<Refused>,
}

impl Memory {
    pub(crate) fn new(budget: Budget, declared: Declared) -> Memory {
        Memory { budget, declared, held: 0, refused: None }
    }

    /// What is declared need not be touched: a large memory is not refused for its size.
    fn declare(&mut self, bytes: usize) {
        self.held = self.held.saturating_add(bytes);
        self.budget.0.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    fn grow(&mut self, what: Growing, bytes: usize) -> bool {
        match self.budget.take(what, bytes) {
            Ok(()) => self.held += bytes,
            Err(refused) => {
                self.refused = Some(refused);
                return false;
            }
        }
        true
    }

    /// The end of this store's guest; if that is a failure, with what had been refused as context.
    pub(crate) fn explain<T>(&self, end: wasmtime::Result<T>) -> wasmtime::Result<T> {
        match (end, self.refused) {
            (Err(error), Some(refused)) => Err(error.context(refused)),
            (end, _) => end,
        }
    }
}

/// Takes one of what is left; false if nothing is.
fn take_one(left: &mut u32) -> bool {
    let one_less = left.checked_sub(1);
    *left = one_less.unwrap_or(0);
    one_less.is_some()
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if current == 0 && take_one(&mut self.declared.memories) {
            self.declare(more);
            return Ok(true);
        }
        // Wasmtime refuses it after us, and what is taken by then would stay taken.
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.grow(Growing::Memory, more))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current).saturating_mul(ELEMENT_BYTES);
        if current == 0 && take_one(&mut self.declared.tables) {
            self.declare(more);
            return Ok(true);
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.grow(Growing::Table, more))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.budget.0.taken.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_either_version_of_cgroups_writes_it() {
        assert_eq!(limit("67108864\n"), Some(Limit::Bytes(67_108_864)));
        assert_eq!(limit("max\n"), Some(Limit::None));
        assert_eq!(limit("9223372036854771712\n"), Some(Limit::None));
        assert_eq!(limit(""), None);
    }

    #[test]
    fn sizes_are_told_to_a_tenth_and_never_as_more_than_they_are() {
        let sizes = [0, 1023, 1024, 65_536, 50_000_000, 48 << 20, u64::MAX].map(Size);
        let told = sizes.map(|size| size.to_string()).join(", ");
        let expected = "0 bytes, 1023 bytes, 1 KiB, 64 KiB, 47.6 MiB, 48 MiB, 17179869183.9 GiB";
        assert_eq!(told, expected);
    }
}
