//! The permits for connections and requests, of which there are more when the memory limit grows.
//!
//! A limit is changed while the service runs (a pod's in-place resize, `docker update`), and nobody
//! tells: it is looked at now and then while there are requests ([`super::epoch`]).

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::places::Places;
use crate::limits::Budget;

pub(super) struct Permits {
    pub(super) connections: Arc<Semaphore>,
    pub(super) requests: Arc<Semaphore>,
    /// Without a limit of memory.
    most: Places,
    /// What an instance begins with, in bytes.
    instance: usize,
    budget: Budget,
    /// How many permits there are; `None` when that must not change any more.
    now: Mutex<Option<Places>>,
}

impl Permits {
    pub(super) fn new(most: Places, budget: Budget, instance: usize) -> Permits {
        let now = most.within(budget.bytes(), instance);
        Permits {
            connections: Arc::new(Semaphore::new(now.connections)),
            requests: Arc::new(Semaphore::new(now.requests)),
            most,
            instance,
            budget,
            now: Mutex::new(Some(now)),
        }
    }

    /// As many as the limit allows now.
    pub(super) fn follow_limit(&self, runtime: &Handle) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(now) = &mut *now else { return };
        let wanted = self.most.within(self.budget.bytes(), self.instance);
        adjust(&self.connections, now.connections, wanted.connections, runtime);
        adjust(&self.requests, now.requests, wanted.requests, runtime);
        *now = wanted;
    }

    /// Waits until no request runs, and leaves no permit for one.
    pub(super) async fn all_requests(&self) {
        let all = self.now.lock().unwrap_or_else(PoisonError::into_inner).take();
        let all = all.map_or(0, |places| u32::try_from(places.requests).unwrap_or(u32::MAX));
        if let Ok(permits) = self.requests.acquire_many(all).await {
            permits.forget();
        }
    }
}

/// Those that are in use are taken away when they come back, before anybody who waits gets them.
fn adjust(permits: &Arc<Semaphore>, now: usize, wanted: usize, runtime: &Handle) {
    if wanted > now {
        permits.add_permits(wanted - now);
        return;
    }
    let in_use = (now - wanted) - permits.forget_permits(now - wanted);
    let Ok(in_use @ 1..) = u32::try_from(in_use) else { return };
    let permits = Arc::clone(permits);
    runtime.spawn(async move {
        if let Ok(permits) = permits.acquire_many_owned(in_use).await {
            permits.forget();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};
    use tokio::task::yield_now;

    #[tokio::test(flavor = "current_thread")]
    async fn permits_follow_the_limit_both_ways() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut limit = |mebibytes: u64| {
            file.rewind().unwrap();
            file.as_file().set_len(0).unwrap();
            write!(file, "{}", mebibytes << 20).unwrap();
            file.reopen().unwrap()
        };
        let budget = Budget::of_file(limit(24));
        let most = Places { connections: 1000, requests: 124 };
        let permits = Permits::new(most, budget, 1 << 20);
        let free =
            || (permits.connections.available_permits(), permits.requests.available_permits());
        let runtime = Handle::current();
        assert_eq!(free(), (78, 8));
        limit(512);
        permits.follow_limit(&runtime);
        assert_eq!(free(), (1000, 124));
        let running = permits.requests.acquire_many(120).await.unwrap();
        limit(24);
        permits.follow_limit(&runtime);
        yield_now().await;
        assert_eq!(free(), (78, 0));
        drop(running);
        yield_now().await;
        assert_eq!(free(), (78, 8));
        permits.all_requests().await;
        limit(512);
        permits.follow_limit(&runtime);
        assert_eq!(free(), (78, 0));
    }
}
