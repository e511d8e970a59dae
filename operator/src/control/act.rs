//! What the loop writes. Every write asks first whether this process may ([`crate::lease::Fence`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tracing::{info, warn};
use wherry_operator_core::crd::{
    self, FIELD_MANAGER, FINALIZER, NODE_LABEL, NodeShim, NodeShimSpec, ONLY_LOOKED_AT,
    RevisionSpec, SHIM_LABEL, ShimRevision, WasmShim, WasmShimStatus, node_shim,
};
use wherry_operator_core::plan::{Action, Order, Refusal, conditions};

use super::Controller;
use super::events;
use super::recent::Turn;
use super::view;
use crate::agent::{self, TRANSACTION};
use crate::class;

impl Controller {
    fn apply() -> PatchParams {
        PatchParams::apply(FIELD_MANAGER).force()
    }

    /// Keeps the object until its nodes are clean; gives it back as it is then.
    pub(super) async fn hold(&self, shim: &Arc<WasmShim>) -> Result<Arc<WasmShim>> {
        match shim.finalizers().iter().any(|it| it == FINALIZER) {
            true => Ok(shim.clone()),
            false => Ok(Arc::new(self.finalizers(shim, &[FINALIZER]).await?)),
        }
    }

    /// With the object's uid: else applying to an object that is gone would make another one.
    async fn finalizers(&self, shim: &WasmShim, all: &[&str]) -> Result<WasmShim> {
        self.fence.check()?;
        let patch = json!({
            "apiVersion": WasmShim::api_version(&()), "kind": WasmShim::kind(&()),
            "metadata": { "name": shim.name_any(), "uid": shim.uid(), "finalizers": all },
        });
        let api: Api<WasmShim> = Api::all(self.client.clone());
        Ok(api.patch(&shim.name_any(), &Self::apply(), &Patch::Apply(patch)).await?)
    }

    /// Why one of the RuntimeClasses is not as it is to be, if the API server has a reason that stays.
    pub(super) async fn classes(&mut self, shim: &WasmShim) -> Result<Option<String>> {
        let mut refused = None;
        for class in class::classes(shim) {
            let (name, text) = (class.name_any(), serde_json::to_string(&class)?);
            match self.recent.turn(&name, &text) {
                Turn::Apply => {}
                Turn::Rest => continue,
                Turn::Wait(sentence) => {
                    refused.get_or_insert(sentence);
                    continue;
                }
            }
            self.fence.check()?;
            let api: Api<RuntimeClass> = Api::all(self.client.clone());
            match api.patch(&name, &Self::apply(), &Patch::Apply(&class)).await {
                Ok(_) => self.recent.applied(&name, text),
                Err(kube::Error::Api(status)) if [400, 403, 409, 422].contains(&status.code) => {
                    let sentence = format!(
                        "the RuntimeClass {name} is not taken: {}; if it is somebody else's, delete it, or make a \
                         WasmShim that names another",
                        status.message
                    );
                    self.recent.refused(&name, text, sentence.clone());
                    refused.get_or_insert(sentence);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("the RuntimeClass {name}"));
                }
            }
        }
        Ok(refused)
    }

    /// Makes a revision that is not there yet.
    pub(super) async fn revision(
        &self,
        shim: &WasmShim,
        name: &str,
        spec: RevisionSpec,
    ) -> Result<()> {
        if self.stored_revision(name).is_some() {
            return Ok(());
        }
        self.fence.check()?;
        let mut revision = ShimRevision::new(name, spec);
        revision.metadata.owner_references =
            Some(shim.controller_owner_ref(&()).into_iter().collect());
        revision.labels_mut().insert(SHIM_LABEL.into(), shim.name_any());
        let api: Api<ShimRevision> = Api::all(self.client.clone());
        there(api.create(&PostParams::default(), &revision).await).map(drop)
    }

    fn stored_revision(&self, name: &str) -> Option<Arc<ShimRevision>> {
        self.revisions.get(&kube::runtime::reflector::ObjectRef::new(name))
    }

    /// Writes the status if it is another one; gives back the object with it.
    pub(super) async fn tell(
        &mut self,
        shim: &WasmShim,
        mut status: WasmShimStatus,
        refused: Option<&Refusal>,
    ) -> Result<WasmShim> {
        let was = shim.status.clone().unwrap_or_default();
        let now = Time(Timestamp::now());
        status.conditions = conditions(&status, refused, &was.conditions, &now);
        self.metrics.status(&shim.name_any(), &status);
        if shim.status.as_ref() == Some(&status) {
            return Ok(shim.clone());
        }
        self.fence.check()?;
        let ended = over(&was.conditions, &status.conditions);
        let mut told = shim.clone();
        told.metadata.managed_fields = None;
        told.status = Some(status.clone());
        let api: Api<WasmShim> = Api::all(self.client.clone());
        let written = api.replace_status(&shim.name_any(), &PostParams::default(), &told).await?;
        let known = |it: &&Refusal| was.conditions.iter().any(|was| was.message == it.message());
        if let Some(refused) = refused.filter(|it| !known(it)) {
            self.publish(shim, events::refused(refused)).await;
        } else if was.phase != status.phase && refused.is_none() {
            self.publish(shim, events::phase(&status)).await;
        }
        if let Some((from, to)) = ended {
            self.traces.rollout(&written, from, to);
        }
        Ok(written)
    }

    pub(super) async fn act(&mut self, shim: &WasmShim, action: &Action) -> Result<()> {
        self.fence.check()?;
        match action {
            Action::Order { node, order } => self.order(shim, node, order).await,
            Action::Job { node } => self.ensure_job(shim, node).await,
            Action::Prove { node } => self.prove(shim, node, true).await,
            Action::Disprove { node } => self.prove(shim, node, false).await,
            Action::Evict { node } => self.evict(shim, node).await,
            Action::Forget { node } => {
                self.unconditioned(shim, node).await?;
                self.delete_object(&node_shim(&shim.name_any(), node)).await
            }
            Action::Release => self.release(shim).await,
        }
    }

    /// Refused by the API server if anybody wrote the object in between.
    async fn order(&mut self, shim: &WasmShim, name: &str, order: &Order) -> Result<()> {
        let node = self.node(name).ok_or_else(|| anyhow!("there is no node {name}"))?;
        let object = node_shim(&shim.name_any(), name);
        let spec = NodeShimSpec {
            shim: shim.name_any(),
            node: name.to_string(),
            node_uid: node.uid().unwrap_or_default(),
            revision: order.revision.clone(),
            action: order.action,
            attempt: order.attempt,
            wave: order.wave.clone(),
        };
        let before = self.object(&object);
        let mut wanted = NodeShim::new(&object, spec);
        wanted.metadata = ObjectMeta {
            name: Some(object.clone()),
            resource_version: before.as_ref().and_then(|it| it.resource_version()),
            owner_references: Some(node.owner_ref(&()).into_iter().collect()),
            ..ObjectMeta::default()
        };
        // Always written: a value that is left out of an apply stays, if a create wrote it.
        let looked_at = view::looked_at(before.as_deref(), order);
        wanted.annotations_mut().insert(ONLY_LOOKED_AT.into(), looked_at);
        wanted.labels_mut().insert(SHIM_LABEL.into(), shim.name_any());
        wanted.labels_mut().insert(NODE_LABEL.into(), crd::node_hash(name));
        let api: Api<NodeShim> = Api::all(self.client.clone());
        let written = match before {
            Some(_) => api.patch(&object, &Self::apply(), &Patch::Apply(&wanted)).await?,
            None => {
                api.create(
                    &PostParams {
                        field_manager: Some(FIELD_MANAGER.into()),
                        ..PostParams::default()
                    },
                    &wanted,
                )
                .await?
            }
        };
        info!(node = name, action = ?order.action, revision = order.revision, wave = order.wave, "ordered");
        self.metrics.ordered(order.action);
        self.recent.wrote(object, written);
        self.ensure_job(shim, name).await
    }

    async fn ensure_job(&mut self, shim: &WasmShim, name: &str) -> Result<()> {
        let object = self.object(&node_shim(&shim.name_any(), name));
        let object = object.ok_or_else(|| anyhow!("{name} has no order"))?;
        let job = crd::job(&shim.name_any(), name, object.spec.attempt);
        let api: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        if let Some(there) = self.job(&job) {
            // One of an earlier life of this node's object: it goes first.
            if there.annotations().get(TRANSACTION) != Some(&agent::transaction(&object)) {
                self::there(api.delete(&job, &DeleteParams::background()).await)?;
            }
            return Ok(());
        }
        let node = self.node(name).ok_or_else(|| anyhow!("there is no node {name}"))?;
        let revision = self.stored_revision(&object.spec.revision);
        let spec = match &revision {
            Some(revision) => revision.spec.clone(),
            // Just made, and not told yet.
            None => crd::revision_of(&shim.name_any(), &shim.spec).1,
        };
        let machine = view::info(&node).machine_id;
        let job = agent::job(shim, &object, &spec, &machine, &self.pull_secrets);
        match api.create(&PostParams::default(), &job).await {
            // By its rules, which will be the same the next moment.
            Err(kube::Error::Api(status)) if [400, 403, 422].contains(&status.code) => {
                let why =
                    format!("the API server does not take the agent's Job: {}", status.message);
                self.never_ran(shim, &object, &node, why).await
            }
            made => there(made).map(drop),
        }
    }

    /// Lets go of a `WasmShim`. Nodes that could not be reached keep what they have, and their `NodeShim`s.
    async fn release(&self, shim: &WasmShim) -> Result<()> {
        let name = shim.name_any();
        let left = self.objects.state();
        let left = left
            .iter()
            .filter(|it| it.spec.shim == name && !view::removed(it) && !view::only_looked_at(it));
        let left: Vec<&str> = left.map(|it| it.spec.node.as_str()).collect();
        if !left.is_empty() {
            warn!(shim = name, nodes = left.join(" "), "not reached, and left as they are");
            self.publish(shim, events::left(&left)).await;
        }
        self.finalizers(shim, &[]).await.map(drop)
    }

    async fn delete_object(&mut self, name: &str) -> Result<()> {
        let api: Api<NodeShim> = Api::all(self.client.clone());
        there(api.delete(name, &DeleteParams::default()).await)?;
        self.recent.forget(name);
        Ok(())
    }

    /// Revisions that nobody runs go, the oldest first.
    pub(super) async fn collect(&self, shim: &WasmShim) -> Result<()> {
        let name = shim.name_any();
        let status = shim.status.clone().unwrap_or_default();
        let kept =
            [status.target_revision, status.last_good_revision, status.previous_good_revision];
        let mut named: BTreeSet<String> = kept.into_iter().flatten().collect();
        for object in self.objects.state().iter().filter(|it| it.spec.shim == name) {
            named.insert(object.spec.revision.clone());
            let installed = object.status.as_ref().and_then(|it| it.installed.as_ref());
            named.extend(installed.map(|it| it.revision.clone()));
        }
        let free = |it: &ShimRevision| {
            it.labels().get(SHIM_LABEL) == Some(&name) && !named.contains(&it.name_any())
        };
        let mut old = self.revisions.state_filter(free);
        old.sort_by_key(|it| std::cmp::Reverse(it.creation_timestamp().map(|time| time.0)));
        for revision in old.iter().skip(shim.spec.revision_history_limit as usize) {
            self.fence.check()?;
            let api: Api<ShimRevision> = Api::all(self.client.clone());
            there(api.delete(&revision.name_any(), &DeleteParams::default()).await)?;
        }
        Ok(())
    }
}

/// From when to when there was a rollout, if it has just ended.
fn over(was: &[Condition], now: &[Condition]) -> Option<(Timestamp, Timestamp)> {
    let since = |all: &[Condition], holds: &str| {
        let found = all.iter().find(|it| it.type_ == "Progressing" && it.status == holds);
        found.map(|it| it.last_transition_time.0)
    };
    Some((since(was, "True")?, since(now, "False")?))
}

/// What was to be made is there, and what was to go is gone.
pub(super) fn there<T>(result: kube::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
