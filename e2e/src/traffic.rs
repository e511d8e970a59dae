//! Requests one after another, from several clients at once, for as long as something else is done: whoever calls
//! a service that is updated, or whose node is restarted, should not see it.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns};

use crate::http;

/// Between an answer and the next request of the same client.
const PAUSE: Duration = Duration::from_millis(5);

/// What clients were answered.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub answers: usize,
    /// One sentence for each request without one, with when it was sent.
    pub failures: Vec<String>,
}

/// Clients at work.
#[derive(Debug)]
pub struct Traffic {
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Told>>,
}

impl Traffic {
    /// `clients` of them ask for `/` in the network namespace of a process, each on a new connection every time.
    pub fn start(network_of: u32, at: SocketAddr, clients: usize) -> Result<Traffic> {
        let ends = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        let clients = (0..clients).map(|_| {
            let network = File::open(format!("/proc/{network_of}/ns/net"))?;
            let ends = ends.clone();
            Ok(thread::spawn(move || match setns(&network, CloneFlags::CLONE_NEWNET) {
                Ok(()) => ask(at, &ends, begin),
                Err(error) => Told { answers: 0, failures: vec![format!("setns: {error}")] },
            }))
        });
        let clients = clients.collect::<Result<_>>()?;
        Ok(Traffic { ends, clients })
    }

    /// Ends it: an error if anything was not answered by 200, or if nothing was asked.
    pub fn end(mut self) -> Result<usize> {
        let mut all = Told::default();
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let told = client.join().map_err(|_| anyhow!("a client panicked"))?;
            all.answers += told.answers;
            all.failures.extend(told.failures);
        }
        let few = all.failures.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
        let (failed, answers) = (all.failures.len(), all.answers);
        ensure!(failed == 0, "{failed} requests failed and {answers} did not:\n{few}");
        ensure!(answers > 0, "nothing was asked");
        Ok(answers)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

fn ask(at: SocketAddr, ends: &AtomicBool, begin: Instant) -> Told {
    let mut told = Told::default();
    while !ends.load(Ordering::Relaxed) {
        let sent = begin.elapsed();
        match http::get(at, "/").context("no answer") {
            Ok((200, _)) => told.answers += 1,
            Ok((status, body)) => told.failures.push(format!("{sent:?}: {status} {body}")),
            Err(error) => told.failures.push(format!("{sent:?}: {error:#}")),
        }
        thread::sleep(PAUSE);
    }
    told
}
