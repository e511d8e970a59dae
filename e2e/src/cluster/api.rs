//! The API as a program uses it: objects as JSON, and conditions that are waited for by watching, not by asking.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kube::api::{Api as Objects, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::{Condition, await_condition};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::command::patient;

/// Where all that a suite makes is made.
pub const NAMESPACE: &str = "default";

/// A client whose connections begin in the cluster's network.
pub struct Api {
    /// Whose threads are in that network.
    runtime: Runtime,
    client: kube::Client,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api")
    }
}

impl Api {
    pub fn new(kubeconfig: &Path, network: File) -> Result<Api> {
        let network = Arc::new(network);
        let enter = move || {
            setns(&*network, CloneFlags::CLONE_NEWNET).expect("the cluster's network is there");
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(enter)
            .build()?;
        let config = Kubeconfig::read_from(kubeconfig)?;
        let connect = async {
            let options = KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(config, &options).await?;
            Ok(kube::Client::try_from(config)?)
        };
        let client = within(&runtime, Duration::from_secs(30), connect)?;
        Ok(Api { runtime, client })
    }

    /// Does something with the client on threads that are in the cluster's network.
    pub fn within<T: Send + 'static>(
        &self,
        limit: Duration,
        what: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        within(&self.runtime, limit, what)
    }

    /// Does something beside everything else, until the end of this.
    pub fn spawn(&self, what: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(what);
    }

    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The objects of the kind that this one is.
    fn of(&self, object: &Value) -> Result<Objects<DynamicObject>> {
        let word = |key: &str| object[key].as_str().with_context(|| format!("{key} of {object}"));
        let (version, kind) = (word("apiVersion")?, word("kind")?);
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let global = ["Namespace", "RuntimeClass", "Node", "WasmShim", "ShimRevision", "NodeShim"];
        if global.contains(&&*kind.kind) {
            return Ok(Objects::all_with(self.client(), &kind));
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE);
        Ok(Objects::namespaced_with(self.client(), namespace, &kind))
    }

    /// Makes an object; says what the API server made of it.
    pub fn create(&self, object: &Value) -> Result<Value> {
        let (objects, typed) = (self.of(object)?, serde_json::from_value(object.clone())?);
        let made =
            self.within(
                LIMIT,
                async move { Ok(objects.create(&PostParams::default(), &typed).await?) },
            );
        Ok(serde_json::to_value(made.with_context(|| name(object))?)?)
    }

    /// Has the object as it is in the cluster.
    pub fn get(&self, object: &Value) -> Result<Value> {
        let (objects, name) = (self.of(object)?, name(object));
        let found = self.within(LIMIT, async move { Ok(objects.get(&name).await?) })?;
        Ok(serde_json::to_value(found)?)
    }

    /// Changes what `change` (a merge patch) names, of the object or of a part that has a path of its own.
    pub fn change(&self, object: &Value, part: Option<&'static str>, change: Value) -> Result<()> {
        let (objects, name) = (self.of(object)?, name(object));
        self.within(LIMIT, async move {
            let (patch, how) = (Patch::Strategic(change), PatchParams::default());
            match part {
                None => objects.patch(&name, &how, &patch).await?,
                Some(part) => objects.patch_subresource(part, &name, &how, &patch).await?,
            };
            Ok(())
        })
    }

    /// Has an object deleted, with the time that it gives itself for that, and with all that it owns.
    pub fn delete(&self, object: &Value) -> Result<()> {
        let (objects, name) = (self.of(object)?, name(object));
        self.within(LIMIT, async move {
            match objects.delete(&name, &DeleteParams::background()).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Waits until an object is as wanted; of the time being over, tells how it was last.
    pub fn until(
        &self,
        object: &Value,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Result<Value> {
        self.watch(object, limit, move |found| found.is_some_and(&wanted))
    }

    /// Waits until there is no such object any more.
    pub fn gone(&self, object: &Value, limit: Duration) -> Result<()> {
        self.watch(object, limit, |found| found.is_none())?;
        Ok(())
    }

    fn watch(
        &self,
        object: &Value,
        limit: Duration,
        wanted: impl Fn(Option<&Value>) -> bool + Send + Sync + 'static,
    ) -> Result<Value> {
        let (objects, name) = (self.of(object)?, name(object));
        let last = Arc::new(Mutex::new(Value::Null));
        let look = Look { last: last.clone(), wanted };
        let told = name.clone();
        let waited = self.within(limit, async move {
            await_condition(objects, &name, look).await?;
            Ok(())
        });
        let last = std::mem::take(&mut *last.lock().expect("no holder panics"));
        waited.with_context(|| format!("{told} was last {}", last["status"]))?;
        Ok(last)
    }
}

const LIMIT: Duration = Duration::from_secs(30);

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_string()
}

/// A condition that remembers what it saw last.
struct Look<W> {
    last: Arc<Mutex<Value>>,
    wanted: W,
}

impl<W: Fn(Option<&Value>) -> bool> Condition<DynamicObject> for Look<W> {
    fn matches_object(&self, object: Option<&DynamicObject>) -> bool {
        let seen = object.map(|object| serde_json::to_value(object).expect("it came as JSON"));
        let done = (self.wanted)(seen.as_ref());
        if let Some(seen) = seen {
            *self.last.lock().expect("no holder panics") = seen;
        }
        done
    }
}

fn within<T: Send + 'static>(
    runtime: &Runtime,
    limit: Duration,
    what: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let limit = patient(limit);
    // On the runtime's own threads: the one that asks is in another network.
    let done = runtime.spawn(async move { tokio::time::timeout(limit, what).await });
    let done = runtime.block_on(done).map_err(|error| anyhow!("{error}"))?;
    done.map_err(|_| anyhow!("not within {limit:?}"))?
}
