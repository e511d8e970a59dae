//! The loop: what the API holds becomes a plan, and the plan is carried out.
//!
//! Nothing is asked for again after the first lists: watches tell. What was written here and is not yet told by a
//! watch is remembered until it is ([`recent`]), so that no decision is made on what was true before.

mod act;
mod events;
mod handlers;
mod harvest;
mod nodes;
mod pods;
mod recent;
mod view;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{info, warn};
use wherry_operator_core::crd::{
    self, NodeShim, SHIM_LABEL, ShimRevision, WasmShim, node_shim, revision_of,
};
use wherry_operator_core::in_words;
use wherry_operator_core::plan::{self, Fleet};

use crate::Settings;
use crate::lease::Fence;
use crate::metrics::Metrics;
use crate::traces::Traces;
use handlers::Handlers;
use recent::Recent;

/// At least so often, as time passes without anybody telling.
const TICK: Duration = Duration::from_secs(5);
/// Not more often: what comes together is decided together.
const BREATH: Duration = Duration::from_millis(500);

/// The longest wait after a round that failed; a node that cannot be served must not keep others waiting for long.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often in a row, and when to go on.
struct Failed {
    times: u32,
    again: Instant,
}

/// What it asks before it writes, and whom it tells what it did.
pub(crate) struct Telling {
    pub(crate) fence: Fence,
    pub(crate) metrics: Metrics,
    pub(crate) traces: Traces,
}

pub(crate) struct Controller {
    client: Client,
    namespace: String,
    fence: Fence,
    metrics: Metrics,
    traces: Traces,
    /// Of the agents' pods.
    pull_secrets: Vec<String>,
    recorder: Recorder,
    shims: Store<WasmShim>,
    revisions: Store<ShimRevision>,
    objects: Store<NodeShim>,
    nodes: Store<Node>,
    jobs: Store<Job>,
    pods: Store<Pod>,
    recent: Recent,
    handlers: Handlers,
    /// Those whose last round failed.
    failed: HashMap<String, Failed>,
    /// Of the last round.
    known: BTreeSet<String>,
    changed: Arc<Notify>,
    /// Ends with the controller.
    watches: JoinSet<()>,
}

impl Controller {
    /// Starts the watches, and returns when all of them have told what there is.
    pub(crate) async fn new(
        client: Client,
        settings: &Settings,
        with: Telling,
    ) -> Result<Controller> {
        let Settings { namespace, identity, pull_secrets, .. } = settings.clone();
        let Telling { fence, metrics, traces } = with;
        let (changed, mut watches) = (Arc::new(Notify::new()), JoinSet::new());
        let mut feed = Feed { changed: changed.clone(), watches: &mut watches };
        let ours = watcher::Config::default().labels(SHIM_LABEL);
        let reporter = Reporter { controller: "wherry-operator".into(), instance: Some(identity) };
        let controller = Controller {
            shims: feed.watch(Api::all(client.clone()), watcher::Config::default(), |_| ()),
            revisions: feed.watch(Api::all(client.clone()), watcher::Config::default(), strip),
            objects: feed.watch(Api::all(client.clone()), watcher::Config::default(), strip),
            nodes: feed.watch(
                Api::all(client.clone()),
                watcher::Config::default(),
                view::strip_node,
            ),
            jobs: feed.watch(
                Api::namespaced(client.clone(), &namespace),
                ours.clone(),
                view::strip_job,
            ),
            pods: feed.watch(Api::namespaced(client.clone(), &namespace), ours, pods::strip_pod),
            recorder: Recorder::new(client.clone(), reporter),
            client,
            namespace,
            fence,
            metrics,
            traces,
            pull_secrets,
            recent: Recent::default(),
            handlers: Handlers::default(),
            failed: HashMap::new(),
            known: BTreeSet::new(),
            changed,
            watches,
        };
        controller.synced().await?;
        Ok(controller)
    }

    async fn synced(&self) -> Result<()> {
        self.shims.wait_until_ready().await.context("WasmShims are not told")?;
        self.revisions.wait_until_ready().await.context("ShimRevisions are not told")?;
        self.objects.wait_until_ready().await.context("NodeShims are not told")?;
        self.nodes.wait_until_ready().await.context("Nodes are not told")?;
        self.jobs.wait_until_ready().await.context("Jobs are not told")?;
        self.pods.wait_until_ready().await.context("Pods are not told")
    }

    /// Goes on until it is dropped, or a watch ends, which none should.
    pub(crate) async fn run(mut self) -> Result<()> {
        loop {
            let shims = self.shims.state();
            self.forget(&shims);
            for shim in shims {
                self.round(&shim).await;
            }
            tokio::time::sleep(BREATH).await;
            let changed = self.changed.clone();
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep(TICK) => {}
                ended = self.watches.join_next() => {
                    return Err(anyhow::anyhow!("a watch ended: {ended:?}"));
                }
            }
        }
    }

    async fn round(&mut self, shim: &Arc<WasmShim>) {
        let (name, begun) = (shim.name_any(), Instant::now());
        if self.failed.get(&name).is_some_and(|failed| begun < failed.again) {
            return;
        }
        match self.reconcile(shim).await {
            Ok(()) => drop(self.failed.remove(&name)),
            Err(error) => {
                self.metrics.failed(&name);
                warn!(shim = name, error = in_words(error.as_ref()), "not done");
                let failed =
                    self.failed.entry(name).or_insert(Failed { times: 0, again: Instant::now() });
                failed.again = Instant::now() + (BREATH * (1 << failed.times)).min(PATIENCE);
                failed.times = (failed.times + 1).min(10);
            }
        }
        self.metrics.reconciled(begun.elapsed());
    }

    /// Nothing more is told of a `WasmShim` that is gone.
    fn forget(&mut self, there: &[Arc<WasmShim>]) {
        let now: BTreeSet<String> = there.iter().map(|shim| shim.name_any()).collect();
        for gone in self.known.difference(&now) {
            self.metrics.gone(gone);
            self.failed.remove(gone);
            self.handlers.retain(gone, |_| false);
        }
        self.known = now;
    }

    async fn reconcile(&mut self, shim: &Arc<WasmShim>) -> Result<()> {
        let (name, mut shim) = (shim.name_any(), shim.clone());
        let mut class = None;
        if shim.metadata.deletion_timestamp.is_none() {
            shim = self.hold(&shim).await?;
            class = self.classes(&shim).await?;
            let (revision, spec) = revision_of(&name, &shim.spec);
            self.revision(&shim, &revision, spec).await?;
        }
        // Who cannot be served must not keep others from being.
        let mut failed = self.harvest(&shim).await;
        let now = Timestamp::now();
        let nodes = self.fleet(&shim, now);
        let fleet = Fleet { shim: &shim, nodes: &nodes, now, class: class.as_deref() };
        let plan = plan::plan(&fleet);
        // First, so that what is done next is never better known than why.
        let shim = self.tell(&shim, plan.status, plan.refused.as_ref()).await?;
        for action in &plan.actions {
            self.fence.check()?;
            let done = self.act(&shim, action).await.with_context(|| action.to_string());
            failed = failed.and(done);
        }
        self.collect(&shim).await?;
        failed
    }

    /// The nodes that are selected or have a `NodeShim`, by their hash: neighbours by name are often of one pool.
    fn fleet(&mut self, shim: &WasmShim, now: Timestamp) -> Vec<plan::Node> {
        let name = shim.name_any();
        let mut nodes = Vec::new();
        for node in self.nodes.state() {
            let object = self.object(&node_shim(&name, &node.name_any()));
            if object.is_some() || view::selected(shim, &node) {
                let lost = self.handlers.lost(shim, &node, now);
                nodes.push(view::node(shim, &node, object.as_deref(), lost));
            }
        }
        let there: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        self.handlers.retain(&name, |node| there.contains(node));
        nodes.sort_by_cached_key(|node| crd::node_hash(&node.name));
        nodes
    }

    /// A `NodeShim`, as it was told or written last.
    fn object(&mut self, name: &str) -> Option<Arc<NodeShim>> {
        let told = self.objects.get(&reflector::ObjectRef::new(name));
        self.recent.newest(name, told)
    }

    fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.nodes.get(&reflector::ObjectRef::new(name))
    }

    fn job(&self, name: &str) -> Option<Arc<Job>> {
        self.jobs.get(&reflector::ObjectRef::new(name).within(&self.namespace))
    }
}

fn strip<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

struct Feed<'a> {
    changed: Arc<Notify>,
    watches: &'a mut JoinSet<()>,
}

impl Feed<'_> {
    /// What an API has, kept up to date, of each object only what `strip` leaves.
    fn watch<K>(&mut self, api: Api<K>, config: watcher::Config, strip: fn(&mut K)) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (reader, writer) = reflector::store();
        let events = watcher(api, config).modify(strip).default_backoff();
        let changed = self.changed.clone();
        self.watches.spawn(follow(reflector::reflector(writer, events), changed));
        reader
    }
}

async fn follow<K>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
    changed: Arc<Notify>,
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(_) => changed.notify_one(),
            Err(error) => warn!(error = in_words(&error), "a watch begins again"),
        }
    }
    info!("a watch ended");
}
