//! Who of several operators decides: the holder of a Lease.
//!
//! ```text
//!            taken, or nobody's
//!  Waiting ────────────────────► Leading ──── renewed in time ───┐
//!     ▲                             │  ▲                         │
//!     └── (another holds it)        │  └─────────────────────────┘
//!                                   ├── not renewed in time: the process ends
//!                                   └── asked to end: given back, nobody's
//! ```
//!
//! A leader stops to write well before another may begin ([`Fence`]), by its own monotonic clock. Clocks of two
//! machines are never compared: a lease is stale when it was seen unchanged for its whole length.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tracing::{info, warn};
use wherry_operator_core::in_words;

/// The Lease, and what else is named by it.
pub(crate) const NAME: &str = "wherry-operator";
/// How long a holder that says nothing is still one.
const LENGTH: Duration = Duration::from_secs(15);
/// How long a leader writes after its last word.
const FENCE: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(3);

/// Lets a leader write, and nobody else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence(Arc<Mutex<Option<Instant>>>);

impl Fence {
    pub(crate) fn leads(&self) -> bool {
        self.0.lock().expect("no holder panics").is_some_and(|renewed| renewed.elapsed() < FENCE)
    }

    /// # Errors
    /// Another one may lead by now.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.leads(), "the lease was not renewed in time: another operator may lead");
        Ok(())
    }

    fn close(&self) {
        *self.0.lock().expect("no holder panics") = None;
    }

    fn renewed(&self, at: Instant) {
        *self.0.lock().expect("no holder panics") = Some(at);
    }
}

/// What was seen of the Lease, and when it last changed for us.
#[derive(Debug)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

pub(crate) struct Candidate {
    leases: Api<Lease>,
    me: String,
    fence: Fence,
    seen: Seen,
}

impl Candidate {
    pub(crate) fn new(client: Client, namespace: &str, me: String, fence: Fence) -> Candidate {
        let seen = Seen { version: None, since: Instant::now() };
        Candidate { leases: Api::namespaced(client, namespace), me, fence, seen }
    }

    /// Returns when this process leads.
    pub(crate) async fn elected(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return info!(holder = self.me, "leads"),
                Ok(false) => {}
                Err(error) => warn!(error = in_words(&error), "the Lease could not be asked for"),
            }
            // A stale one is taken when it becomes stale, not up to three seconds later.
            let left = LENGTH.saturating_sub(self.seen.since.elapsed());
            tokio::time::sleep(if left.is_zero() { EVERY } else { left.min(EVERY) }).await;
        }
    }

    /// Renews until that fails for too long.
    pub(crate) async fn lost(&mut self) {
        while self.fence.leads() {
            tokio::time::sleep(EVERY).await;
            match tokio::time::timeout(EVERY, self.attempt()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return,
                Ok(Err(error)) => warn!(error = in_words(&error), "the Lease could not be renewed"),
                Err(_) => warn!("the Lease could not be renewed: the API server does not answer"),
            }
        }
    }

    /// Gives it back, so that another one need not wait for its length. Call when nothing is written any more.
    pub(crate) async fn release(&self) {
        self.fence.close();
        match tokio::time::timeout(EVERY, self.give_back()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = in_words(&error), "the Lease could not be given back"),
            Err(_) => warn!("the Lease could not be given back: the API server does not answer"),
        }
    }

    async fn give_back(&self) -> kube::Result<()> {
        let Some(mut lease) = self.leases.get_opt(NAME).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
        if spec.holder_identity.as_ref() != Some(&self.me) {
            return Ok(());
        }
        // As client-go does (tools/leaderelection, `release`): nobody's, and not worth to wait for.
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
        self.leases.replace(NAME, &PostParams::default(), &lease).await.map(drop)
    }

    /// One try to have it, by a write that is refused if anybody else wrote in between.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let begun = Instant::now();
        let Some(lease) = self.leases.get_opt(NAME).await? else {
            let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
            let lease = Lease { metadata, ..Lease::default() };
            return self.write(lease, begun, false).await;
        };
        if self.seen.version != lease.metadata.resource_version {
            self.seen = Seen { version: lease.metadata.resource_version.clone(), since: begun };
        }
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        let mine = holder == Some(&self.me);
        let free = holder.is_none_or(str::is_empty) || self.seen.since.elapsed() >= LENGTH;
        if !mine && !free {
            return Ok(false);
        }
        self.write(lease, begun, true).await
    }

    async fn write(&self, mut lease: Lease, begun: Instant, exists: bool) -> kube::Result<bool> {
        let now = MicroTime(jiff::Timestamp::now());
        let before = lease.spec.take().unwrap_or_default();
        let mine = before.holder_identity.as_ref() == Some(&self.me);
        let changes = before.lease_transitions.unwrap_or(0) + i32::from(!mine);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: Some(LENGTH.as_secs() as i32),
            acquire_time: if mine { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(changes),
            ..LeaseSpec::default()
        });
        let written = match exists {
            true => self.leases.replace(NAME, &PostParams::default(), &lease).await,
            false => self.leases.create(&PostParams::default(), &lease).await,
        };
        match written {
            Ok(_) => {
                self.fence.renewed(begun);
                Ok(true)
            }
            // Somebody else was quicker.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}
