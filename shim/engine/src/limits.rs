//! The guest's memory within the container's: growth is refused before the kernel kills.
//!
//! A refused `memory.grow` is an answer that a program can handle, and one that does not says so
//! itself (`memory allocation of … bytes failed`). The kernel's answer is SIGKILL. It still comes
//! for what is not linear memory: files on a tmpfs, for instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::ResourceLimiter;
use wherry_core::plan::Run;

/// What this process needs beside its guests: 1 to 2 MB of its own, stacks, the kernel's tables.
const HOST_BYTES: u64 = 4 << 20;

/// And more for larger guests: page tables, buffers of sockets and files.
const HOST_SHARE: u64 = 64;

/// The memory that all guests of this process may have together.
#[derive(Clone)]
pub(crate) struct Budget {
    bytes: usize,
    taken: Arc<AtomicUsize>,
}

impl Budget {
    /// `None` without a limit.
    pub(crate) fn new(run: &Run) -> Option<Budget> {
        let limit = run.memory_limit?;
        let bytes = limit.saturating_sub(HOST_BYTES).saturating_sub(limit / HOST_SHARE);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Some(Budget { bytes, taken: Arc::default() })
    }

    fn take(&self, bytes: usize) -> bool {
        let enough = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.bytes);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }
}

/// What a program starts with: whether it is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Initial {
    /// A command has its memory for itself.
    Counted,
    /// Many requests run at once, and most of what each starts with is never touched.
    Free,
}

/// One store's part of the budget.
pub(crate) struct Memory {
    budget: Option<Budget>,
    initial: Initial,
    held: usize,
}

impl Memory {
    pub(crate) fn new(budget: Option<Budget>, initial: Initial) -> Memory {
        Memory { budget, initial, held: 0 }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let Some(budget) = &self.budget else { return Ok(true) };
        let more = desired.saturating_sub(current);
        if current == 0 {
            // What is declared need not be touched: a large memory is not refused for its size.
            if self.initial == Initial::Counted {
                self.held += more;
                budget.taken.fetch_add(more, Ordering::Relaxed);
            }
            return Ok(true);
        }
        let granted = budget.take(more);
        if granted {
            self.held += more;
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.taken.fetch_sub(self.held, Ordering::Relaxed);
        }
    }
}
