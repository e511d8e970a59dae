//! The clock by which guests give way to each other, and by which limits are looked at.

use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use wasmtime::{Engine, Store};

use super::permits::Permits;

/// How long a guest may compute before others get their turn.
const TICK: Duration = Duration::from_millis(10);

/// How often limits are looked at, in ticks, and at the first request after none.
const LOOK_TICKS: u32 = 10;

/// One thread per process that advances the engine's epoch, asleep while no request runs: an idle
/// container must not wake up its processor.
pub(super) struct Epochs {
    engine: Engine,
    permits: Arc<Permits>,
    started: Once,
    running: Arc<(Mutex<usize>, Condvar)>,
}

/// A request that runs.
pub(super) struct Running(Arc<(Mutex<usize>, Condvar)>);

impl Epochs {
    pub(super) fn new(engine: &Engine, permits: Arc<Permits>) -> Epochs {
        Epochs { engine: engine.clone(), permits, started: Once::new(), running: Arc::default() }
    }

    /// Makes guests of `store` yield to others, from now on until the result is dropped.
    pub(super) fn watch<T: 'static>(&self, store: &mut Store<T>) -> Running {
        self.started.call_once(|| self.start());
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let (count, changed) = &*self.running;
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        if *count == 1 {
            changed.notify_one();
        }
        Running(Arc::clone(&self.running))
    }

    fn start(&self) {
        let engine = self.engine.clone();
        let permits = Arc::clone(&self.permits);
        let running = Arc::clone(&self.running);
        let runtime = Handle::current();
        let tick = move || {
            let (count, changed) = &*running;
            let mut ticks = 0;
            loop {
                let idle = count.lock().unwrap_or_else(PoisonError::into_inner);
                if *idle == 0 {
                    ticks = 0;
                }
                drop(
                    changed
                        .wait_while(idle, |count| *count == 0)
                        .unwrap_or_else(PoisonError::into_inner),
                );
                if ticks == 0 {
                    permits.follow_limit(&runtime);
                }
                ticks = (ticks + 1) % LOOK_TICKS;
                thread::sleep(TICK);
                engine.increment_epoch();
            }
        };
        // Without the thread a guest that computes for long holds up others; nothing worse.
        let _ = thread::Builder::new().name("wherry-epoch".to_owned()).spawn(tick);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}
