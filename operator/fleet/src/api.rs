//! The API of Kubernetes, as far as this program needs it.

use std::fmt::Debug;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::{Client, Config, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use wherry_operator_core::crd::{HOLD, NodeShim, SHIM_LABEL, ShimRevision, WasmShim};

use crate::change::FIELD_MANAGER;
use crate::cluster::{Cluster, Machine};

#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: Client,
}

impl Api {
    pub(crate) async fn connect(context: Option<String>, file: Option<&Path>) -> Result<Api> {
        // Two crates below could bring a provider; one of them is told to.
        rustls::crypto::ring::default_provider()
            .install_default()
            .map_err(|_| anyhow!("TLS has a provider already"))?;
        let chosen = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let config = match (file, &chosen.context) {
            (Some(file), _) => {
                let read = Kubeconfig::read_from(file)
                    .with_context(|| format!("no kubeconfig {}", file.display()))?;
                Config::from_custom_kubeconfig(read, &chosen).await?
            }
            (None, Some(_)) => Config::from_kubeconfig(&chosen).await?,
            (None, None) => Config::infer().await.context("there is no cluster to talk to")?,
        };
        let server = config.cluster_url.to_string();
        Ok(Api { client: Client::try_from(config).with_context(|| server)? })
    }

    fn all<K: kube::Resource<Scope = kube::core::ClusterResourceScope>>(&self) -> kube::Api<K>
    where
        K::DynamicType: Default,
    {
        kube::Api::all(self.client.clone())
    }

    pub(crate) async fn shims(&self) -> Result<Vec<WasmShim>> {
        list(self.all(), ListParams::default(), "WasmShims").await
    }

    pub(crate) async fn shim(&self, name: &str) -> Result<WasmShim> {
        let found = self.all::<WasmShim>().get_opt(name).await.map_err(told);
        found?.ok_or_else(|| anyhow!("there is no WasmShim {name}"))
    }

    pub(crate) async fn revisions(&self, shim: Option<&str>) -> Result<Vec<ShimRevision>> {
        list(self.all(), of(shim), "ShimRevisions").await
    }

    /// What there is of one `WasmShim`, or of all.
    pub(crate) async fn read(&self, shim: Option<&str>) -> Result<Cluster> {
        let shims = async {
            match shim {
                Some(name) => {
                    let found = self.all::<WasmShim>().get_opt(name).await.map_err(told)?;
                    Ok(found.into_iter().collect())
                }
                None => self.shims().await,
            }
        };
        let objects = list::<NodeShim>(self.all(), of(shim), "NodeShims");
        let (shims, objects, revisions, machines) =
            tokio::try_join!(shims, objects, self.revisions(shim), self.machines())?;
        Ok(Cluster { shims, objects, revisions, machines })
    }

    /// Names and labels only: whole nodes are long. `None` if they are not to be seen.
    async fn machines(&self) -> Result<Option<Vec<Machine>>> {
        match self.all::<Node>().list_metadata(&ListParams::default()).await {
            Ok(all) => Ok(Some(all.items.iter().map(machine).collect())),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            Err(error) => Err(told(error).context("nodes")),
        }
    }

    /// Writes what the patch names, as its own field manager.
    pub(crate) async fn patch(&self, shim: &str, patch: &Value, dry_run: bool) -> Result<()> {
        let manager = Some(FIELD_MANAGER.to_string());
        let how = PatchParams { dry_run, field_manager: manager, ..PatchParams::default() };
        self.all::<WasmShim>().patch(shim, &how, &Patch::Merge(patch)).await.map_err(told)?;
        Ok(())
    }
}

fn of(shim: Option<&str>) -> ListParams {
    match shim {
        Some(shim) => ListParams::default().labels(&format!("{SHIM_LABEL}={shim}")),
        None => ListParams::default(),
    }
}

async fn list<K>(api: kube::Api<K>, params: ListParams, what: &'static str) -> Result<Vec<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    Ok(api.list(&params).await.map_err(told).context(what)?.items)
}

pub(crate) fn machine(node: &PartialObjectMeta<Node>) -> Machine {
    Machine {
        name: node.name_any(),
        labels: node.labels().clone(),
        held: node.annotations().contains_key(HOLD),
    }
}

/// What the API server says is for people; that there is no such path means that Wherry is not installed.
fn told(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status)
            if status.code == 404 && status.message.contains("page not found") =>
        {
            anyhow!("this cluster does not know wherry.dev: is Wherry installed there?")
        }
        kube::Error::Api(status) => anyhow!("{}", status.message),
        error => error.into(),
    }
}
