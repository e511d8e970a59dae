//! How much is done at once: as much as there are places in the pool, descriptors and memory.
//!
//! A process that runs out of descriptors fails requests it has already taken, and one that runs
//! out of memory is killed with all of them. So connections wait in the kernel, and requests for
//! their turn, before that happens.

use nix::sys::resource::{Resource, getrlimit};
use wherry_core::plan::Run;

use crate::config::CONCURRENT_REQUESTS;

/// Descriptors of the process itself: streams, code, the runtime's own.
const OWN: u64 = 32;

/// What an instance may need beside its preopens: a file, a connection of its own.
const BESIDE_PREOPENS: u64 = 2;

/// More connections than this at once do not make a service faster.
const CONNECTIONS: u64 = 16 * 1024;

/// What the host holds for an instance beside its memory: a stack, tables, buffers of its streams.
const HOST_BYTES: usize = 128 << 10;

/// What a connection may hold: buffers for reading and writing, in the process and in the kernel.
const CONNECTION_BYTES: usize = 64 << 10;

/// Only whole numbers above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) connections: usize,
    pub(super) requests: usize,
}

impl Places {
    /// Without a limit of memory.
    pub(super) fn of_process(run: &Run) -> Places {
        // It fails for numbers that are no resource only (`getrlimit(2)`).
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        // One more than the plan's: the initial directory may be given, too.
        Places::new(descriptors, run.preopens.len() as u64 + 1)
    }

    /// `memory` is what all guests may have together, if that is limited; `instance` what each
    /// begins with. Both in bytes.
    ///
    /// A quarter of the memory for connections, half for what instances begin with, and a quarter
    /// for what they come to need.
    pub(super) fn within(self, memory: Option<usize>, instance: usize) -> Places {
        let Some(memory) = memory else { return self };
        let requests = memory / 2 / instance.saturating_add(HOST_BYTES);
        let connections = memory / 4 / CONNECTION_BYTES;
        Places {
            connections: self.connections.min(connections).max(1),
            requests: self.requests.min(requests).max(1),
        }
    }

    fn new(descriptors: u64, preopens: u64) -> Places {
        let free = descriptors.saturating_sub(OWN);
        let each = preopens + BESIDE_PREOPENS;
        let requests = (free / 2 / each).clamp(1, CONCURRENT_REQUESTS.into());
        let connections = free.saturating_sub(requests * each).clamp(1, CONNECTIONS);
        // Both are far below what a usize holds.
        Places { connections: connections as usize, requests: requests as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_requests_share_the_descriptors() {
        let places = |descriptors, preopens| {
            let Places { connections, requests } = Places::new(descriptors, preopens);
            (connections, requests)
        };
        assert_eq!(places(1024, 2), (496, 124));
        assert_eq!(places(1024, 20), (508, 22));
        assert_eq!(places(1 << 20, 2), (16 * 1024, 256));
        assert_eq!(places(40, 2), (4, 1));
        assert_eq!(places(0, 2), (1, 1));
    }

    #[test]
    fn a_limit_of_memory_bounds_both() {
        let within = |memory, instance| {
            let Places { connections, requests } =
                Places::new(1 << 20, 2).within(Some(memory), instance);
            (connections, requests)
        };
        assert_eq!(within(60 << 20, 1 << 20), (240, 26));
        assert_eq!(within(12 << 20, 1 << 20), (48, 5));
        assert_eq!(within(1 << 20, 64 << 20), (4, 1));
        assert_eq!(within(1 << 40, 1 << 20), (16 * 1024, 256));
    }
}
