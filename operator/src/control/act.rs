//! What the loop writes. Every write asks first whether this process may ([`crate::lease::Fence`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
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
use super::view::{self, End};
use crate::agent::{self, TRANSACTION};
use crate::class;

/// How long after its Job a pod's end may be told.
const LATE_S: i64 = 30;

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
                Err(kube::Error::Api(status)) if [403, 409, 422].contains(&status.code) => {
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

    /// Jobs that have ended become what their nodes were observed to be, and then they go.
    pub(super) async fn harvest(&mut self, shim: &WasmShim) -> Result<()> {
        let (name, pods) = (shim.name_any(), self.pods.state());
        let mut failed = Ok(());
        for job in self.jobs.state_filter(|job| job.labels().get(SHIM_LABEL) == Some(&name)) {
            if let Some(ended) = view::ended(&job) {
                self.fence.check()?;
                let done = self.reap(shim, &job, ended, &pods).await;
                failed = failed.and(done.with_context(|| job.name_any()));
            }
        }
        failed
    }

    async fn reap(
        &mut self,
        shim: &WasmShim,
        job: &Job,
        ended: Timestamp,
        pods: &[Arc<Pod>],
    ) -> Result<()> {
        let hash = job.labels().get(NODE_LABEL).cloned().unwrap_or_default();
        let current = self.object(&format!("{}.{hash}", shim.name_any())).filter(|object| {
            let seen = object.status.as_ref().and_then(|it| it.observed.as_ref());
            job.annotations().get(TRANSACTION) == Some(&agent::transaction(object))
                && seen.map_or(0, |seen| seen.attempt) < object.spec.attempt
        });
        if let Some(object) = current
            && let Some(node) = self.node(&object.spec.node)
        {
            let now = Timestamp::now();
            let report = view::report(pods, &job.name_any(), &agent::transaction(&object));
            let late = now.duration_since(ended).as_secs() >= LATE_S;
            let end = match (report, view::turned_away(pods, &job.name_any())) {
                (Some(report), _) => End::Report(report.into()),
                (None, _) if !late => return Ok(()),
                (None, Some(why)) => End::TurnedAway(why),
                (None, None) => End::Silence,
            };
            let settled = self.settle(&object, &node, end, now).await?;
            self.condition(shim, &node, &settled).await?;
            let begun = job.creation_timestamp().map_or(ended, |time| time.0);
            self.traces.order(shim, &settled, begun, ended);
        }
        self.fence.check()?;
        let api: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        there(api.delete(&job.name_any(), &DeleteParams::background()).await).map(drop)
    }

    async fn settle(
        &mut self,
        object: &NodeShim,
        node: &Node,
        end: End,
        now: Timestamp,
    ) -> Result<NodeShim> {
        self.fence.check()?;
        let mut settled = object.clone();
        self.metrics.report(match &end {
            End::Report(report) => Some(report.as_ref()),
            End::TurnedAway(_) | End::Silence => None,
        });
        let status = view::status(object, node, end, now);
        info!(node = object.spec.node, phase = ?status.phase, message = status.message, "observed");
        settled.status = Some(status);
        let api: Api<NodeShim> = Api::all(self.client.clone());
        let written =
            api.replace_status(&object.name_any(), &PostParams::default(), &settled).await?;
        self.recent.wrote(object.name_any(), written.clone());
        Ok(written)
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
        let only_looked_at =
            before.as_ref().is_none_or(|it| view::only_looked_at(it)) && !order.action.disrupts();
        // Always written: a value that is left out of an apply stays, if a create wrote it.
        let only_looked_at = (ONLY_LOOKED_AT.into(), only_looked_at.to_string());
        wanted.annotations_mut().extend([only_looked_at]);
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
        there(api.create(&PostParams::default(), &job).await).map(drop)
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
