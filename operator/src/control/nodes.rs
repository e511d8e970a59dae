//! What the loop writes on nodes: label, condition and startup taint, and evictions. Every write asks first whether this
//! process may ([`crate::lease::Fence`]).

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{EvictParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tracing::info;
use wherry_operator_core::crd::{
    self, NodeShim, READY, WasmShim, node_shim, proof_label, startup_taint,
};

use super::act::there;
use super::{Controller, view};

impl Controller {
    /// Label, condition and startup taint, each only ours.
    pub(super) async fn prove(&mut self, shim: &WasmShim, name: &str, proved: bool) -> Result<()> {
        let node = self.node(name).ok_or_else(|| anyhow!("there is no node {name}"))?;
        let (own, shim) = (shim, shim.name_any());
        let api: Api<Node> = Api::all(self.client.clone());
        let label = if proved { json!(READY) } else { Value::Null };
        let mut patch = json!({ "metadata": { "labels": { proof_label(&shim): label } } });
        if proved && view::tainted(&node, &shim) {
            let mut taints =
                node.spec.as_ref().and_then(|it| it.taints.clone()).unwrap_or_default();
            taints.retain(|it| {
                it.key != startup_taint(&shim) || it.value.as_deref() != Some(crd::PENDING)
            });
            // A list of taints is written whole, so nobody may have written it in between.
            patch["metadata"]["resourceVersion"] = json!(node.resource_version());
            patch["spec"]["taints"] = json!(taints);
        }
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        if let Some(object) = self.object(&node_shim(&shim, name)) {
            self.condition(own, &node, &object).await?;
        }
        info!(node = name, proved, "told its node");
        Ok(())
    }

    /// The node's condition says what its last order came to. A node that is to be left has none in the end.
    pub(super) async fn condition(
        &self,
        shim: &WasmShim,
        node: &Node,
        object: &NodeShim,
    ) -> Result<()> {
        let name = shim.name_any();
        let Some(told) =
            object.status.as_ref().and_then(|status| view::condition(shim, node, status))
        else {
            return Ok(());
        };
        if view::conditioned(node, &name)
            .is_some_and(|was| (&was.status, &was.message) == (&told.status, &told.message))
        {
            return Ok(());
        }
        self.fence.check()?;
        let api: Api<Node> = Api::all(self.client.clone());
        let patch = Patch::Strategic(json!({ "status": { "conditions": [told] } }));
        there(api.patch_status(&node.name_any(), &PatchParams::default(), &patch).await).map(drop)
    }

    pub(super) async fn unconditioned(&self, shim: &WasmShim, name: &str) -> Result<()> {
        let kind = shim.name_any();
        let told = self.node(name).is_some_and(|node| view::conditioned(&node, &kind).is_some());
        if !told {
            return Ok(());
        }
        let api: Api<Node> = Api::all(self.client.clone());
        let gone = json!({ "type": crd::condition(&kind), "$patch": "delete" });
        let patch = Patch::Strategic(json!({ "status": { "conditions": [gone] } }));
        there(api.patch_status(name, &PatchParams::default(), &patch).await).map(drop)
    }

    pub(super) async fn evict(&mut self, shim: &WasmShim, name: &str) -> Result<()> {
        let object = self.object(&node_shim(&shim.name_any(), name));
        let containers =
            object.and_then(|it| it.status.clone()).map(|it| it.in_use).unwrap_or_default();
        let pods: BTreeSet<&str> = containers.iter().map(|it| it.pod.as_str()).collect();
        for (namespace, pod) in pods.iter().filter_map(|pod| pod.split_once('/')) {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            match api.evict(pod, &EvictParams::default()).await {
                Ok(_) => info!(node = name, namespace, pod, "evicted"),
                // Gone, or its disruption budget is spent: the next time.
                Err(kube::Error::Api(status)) if [404, 429].contains(&status.code) => {}
                Err(error) => return Err(error).context(format!("{namespace}/{pod}")),
            }
        }
        Ok(())
    }
}
