//! A rollout as it goes: watches tell, and what is seen is told again.

use std::fmt::Debug;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api as Objects, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wherry_operator_core::crd::{NodeShim, RolloutPhase, SHIM_LABEL, ShimRevision, WasmShim};

use crate::api::{Api, machine};
use crate::args::Status;
use crate::cluster::Cluster;
use crate::diff;
use crate::text::{self, Manner};
use crate::view::{self, Shim, Verdict};

/// What comes together is told together.
const BREATH: Duration = Duration::from_millis(250);
/// So often a terminal is drawn anew if nothing happens: ages grow.
const TICK: Duration = Duration::from_secs(1);

/// Where it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    /// One picture, drawn over the last one.
    Terminal,
    /// A line for what is new.
    Log,
    /// All of it, one line of JSON for each change.
    Json,
}

/// Columns and lines of the terminal that is written to, if it is one.
pub(crate) fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Follows until every rollout has ended, or time is up.
pub(crate) async fn follow(
    api: Api,
    what: &Status,
    manner: Manner,
    screen: Screen,
) -> Result<Verdict> {
    let feed = Feed::start(api, what.shim.as_deref()).await?;
    let mut picture = Picture { manner, screen, before: Vec::new(), lines: 0 };
    let time_is_up = async {
        match what.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let mut time_is_up = std::pin::pin!(time_is_up);
    loop {
        let cluster = feed.cluster();
        let shims = view::shims(&cluster, what.shim.as_deref());
        picture.draw(&shims, feed.trouble())?;
        if shims.iter().all(|shim| ended(shim, &cluster)) {
            return Ok(text::verdict(&shims));
        }
        tokio::select! {
            () = feed.changed.notified() => tokio::time::sleep(BREATH).await,
            () = tokio::time::sleep(TICK) => {}
            () = &mut time_is_up => {
                eprintln!("not within {:?}", what.timeout.unwrap_or_default());
                return Ok(Verdict::UnderWay);
            }
        }
    }
}

fn ended(shim: &Shim, cluster: &Cluster) -> bool {
    match shim.phase {
        _ if !shim.seen => false,
        RolloutPhase::Complete | RolloutPhase::Refused => true,
        // Nodes are still to go back.
        RolloutPhase::RolledBack => diff::none(&diff::diffs(cluster, Some(&shim.name))),
        RolloutPhase::Progressing
        | RolloutPhase::Soaking
        | RolloutPhase::Paused
        | RolloutPhase::AwaitingApproval
        | RolloutPhase::AwaitingWindow
        | RolloutPhase::AwaitingRestart
        | RolloutPhase::Removing => false,
    }
}

struct Picture {
    manner: Manner,
    screen: Screen,
    before: Vec<Shim>,
    /// Of the last picture.
    lines: usize,
}

impl Picture {
    fn draw(&mut self, shims: &[Shim], trouble: Option<String>) -> Result<()> {
        let now = Timestamp::now();
        let mut out = std::io::stdout().lock();
        match self.screen {
            Screen::Terminal => {
                let (width, height) = size().unwrap_or((80, 24));
                self.manner.width = Some(width);
                let mut told = text::status(shims, &self.manner, now);
                if let Some(trouble) = trouble {
                    told += &format!("\n{trouble}\n");
                }
                let told: Vec<&str> = told.lines().take(height.saturating_sub(1)).collect();
                if self.lines > 0 {
                    // To the first line of the last picture, and away with it.
                    write!(out, "\x1b[{}F\x1b[J", self.lines)?;
                }
                writeln!(out, "{}", told.join("\n"))?;
                self.lines = told.len();
            }
            Screen::Log => {
                for line in text::news(&self.before, shims, now) {
                    writeln!(out, "{line}")?;
                }
            }
            Screen::Json if self.before != shims => {
                writeln!(out, "{}", serde_json::to_string(shims)?)?;
            }
            Screen::Json => {}
        }
        out.flush()?;
        self.before = shims.to_vec();
        Ok(())
    }
}

/// What the API has, kept up to date.
struct Feed {
    shims: Store<WasmShim>,
    objects: Store<NodeShim>,
    revisions: Store<ShimRevision>,
    /// Not everybody may see nodes.
    nodes: Option<Store<PartialObjectMeta<Node>>>,
    changed: Arc<Notify>,
    /// What a watch last complained of; nothing since it told something.
    trouble: Arc<Mutex<Option<String>>>,
    watches: JoinSet<()>,
}

impl Feed {
    /// Returns when everything was told once.
    async fn start(api: Api, shim: Option<&str>) -> Result<Feed> {
        // A first look tells what is wrong better than watches do, which try again.
        let sees_nodes = api.read(shim).await?.machines.is_some();
        let every = watcher::Config::default();
        let ours = match shim {
            Some(shim) => every.clone().labels(&format!("{SHIM_LABEL}={shim}")),
            None => every.clone(),
        };
        let (shims, shims_to) = reflector::store();
        let (objects, objects_to) = reflector::store();
        let (revisions, revisions_to) = reflector::store();
        let mut feed = Feed {
            shims,
            objects,
            revisions,
            nodes: None,
            changed: Arc::default(),
            trouble: Arc::default(),
            watches: JoinSet::new(),
        };
        let client = api.client;
        feed.follow(shims_to, watcher(Objects::all(client.clone()), every.clone()));
        feed.follow(objects_to, watcher(Objects::all(client.clone()), ours.clone()));
        feed.follow(revisions_to, watcher(Objects::all(client.clone()), ours));
        if sees_nodes {
            let (nodes, nodes_to) = reflector::store();
            feed.follow(nodes_to, watcher(Objects::<PartialObjectMeta<Node>>::all(client), every));
            nodes.wait_until_ready().await.context("nodes")?;
            feed.nodes = Some(nodes);
        }
        feed.shims.wait_until_ready().await.context("WasmShims")?;
        feed.objects.wait_until_ready().await.context("NodeShims")?;
        feed.revisions.wait_until_ready().await.context("ShimRevisions")?;
        Ok(feed)
    }

    fn follow<K>(
        &mut self,
        to: reflector::store::Writer<K>,
        events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (changed, trouble) = (self.changed.clone(), self.trouble.clone());
        let strip = |object: &mut K| object.meta_mut().managed_fields = None;
        let events = reflector::reflector(to, events.modify(strip).default_backoff());
        self.watches.spawn(async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                *trouble.lock().expect("no holder panics") = event.err().map(|it| it.to_string());
                changed.notify_one();
            }
        });
    }

    fn cluster(&self) -> Cluster {
        let nodes = self.nodes.as_ref().map(Store::state);
        Cluster {
            shims: owned(self.shims.state()),
            objects: owned(self.objects.state()),
            revisions: owned(self.revisions.state()),
            machines: nodes.map(|all| all.iter().map(|node| machine(node)).collect()),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().expect("no holder panics").clone()
    }
}

fn owned<K: Clone>(all: Vec<Arc<K>>) -> Vec<K> {
    all.iter().map(|it| K::clone(it)).collect()
}
