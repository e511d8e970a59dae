//! What becomes of orders: Jobs that have ended, those whose agent does not begin, and those that are no use any more.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};
use tracing::info;
use wherry_operator_core::crd::{
    self, NODE_LABEL, NodeShim, NodeShimStatus, SHIM_LABEL, WasmShim, revision_of,
};

use super::act::there;
use super::view::{self, End};
use super::{Controller, events, pods};
use crate::agent::{self, TRANSACTION};

/// How long after its Job a pod's end may be told.
const LATE_S: i64 = 30;

impl Controller {
    /// Jobs that have ended become what their nodes were observed to be, and then they go.
    pub(super) async fn harvest(&mut self, shim: &WasmShim) -> Result<()> {
        let (name, all) = (shim.name_any(), self.pods.state());
        let mut failed = Ok(());
        for job in self.jobs.state_filter(|job| job.labels().get(SHIM_LABEL) == Some(&name)) {
            self.fence.check()?;
            let done = match view::ended(&job) {
                Some(ended) => self.reap(shim, &job, ended, &all).await,
                None => self.attend(shim, &job, &all).await,
            };
            failed = failed.and(done.with_context(|| job.name_any()));
        }
        failed
    }

    /// The order that a Job is for, if that is the last one of its node and nothing came of it yet.
    fn current(&mut self, shim: &WasmShim, job: &Job) -> Option<(Arc<NodeShim>, Arc<Node>)> {
        let hash = job.labels().get(NODE_LABEL).cloned().unwrap_or_default();
        let object = self.object(&format!("{}.{hash}", shim.name_any())).filter(|object| {
            let seen = object.status.as_ref().and_then(|it| it.observed.as_ref());
            job.annotations().get(TRANSACTION) == Some(&agent::transaction(object))
                && seen.map_or(0, |seen| seen.attempt) < object.spec.attempt
        })?;
        let node = self.node(&object.spec.node)?;
        Some((object, node))
    }

    async fn reap(
        &mut self,
        shim: &WasmShim,
        job: &Job,
        ended: Timestamp,
        all: &[Arc<Pod>],
    ) -> Result<()> {
        if let Some((object, node)) = self.current(shim, job) {
            let now = Timestamp::now();
            let report = pods::report(all, &job.name_any(), &agent::transaction(&object));
            let late = now.duration_since(ended).as_secs() >= LATE_S;
            let waited = object.status.as_ref().map(|status| status.waits.clone());
            let waited = waited.filter(|why| !why.is_empty());
            let end = match (report, pods::turned_away(all, &job.name_any()), waited) {
                (Some(report), ..) => End::Report(report.into()),
                (None, ..) if !late => return Ok(()),
                (None, Some(why), _) => End::NeverRan(format!("the node let no agent in: {why}")),
                // Its pod is gone with the Job, whose time was over.
                (None, None, Some(why)) => End::NeverRan(why),
                (None, None, None) => End::Silence,
            };
            let settled = self.settle(&object, &node, end, now).await?;
            self.condition(shim, &node, &settled).await?;
            let begun = job.creation_timestamp().map_or(ended, |time| time.0);
            self.traces.order(shim, &settled, begun, ended);
        }
        self.end_job(job).await
    }

    async fn end_job(&self, job: &Job) -> Result<()> {
        self.fence.check()?;
        let api: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        there(api.delete(&job.name_any(), &DeleteParams::background()).await).map(drop)
    }

    /// An agent that does not begin is told of, and not waited for where nobody wants it any more.
    async fn attend(&mut self, shim: &WasmShim, job: &Job, all: &[Arc<Pod>]) -> Result<()> {
        let Some(begins) = pods::begins(all, &job.name_any()) else { return Ok(()) };
        let Some((object, node)) = self.current(shim, job) else { return Ok(()) };
        let waits = object.status.as_ref().map_or("", |status| status.waits.as_str());
        let why = match begins {
            Ok(()) if waits.is_empty() => return Ok(()),
            Ok(()) => return self.waits(&object, String::new()).await,
            Err(why) => format!("the agent does not begin: {why}"),
        };
        if !wanted(shim, &object, &node) {
            self.never_ran(shim, &object, &node, why).await?;
            return self.end_job(job).await;
        }
        // Kubelets vary their words.
        if waits.is_empty() {
            self.waits(&object, why.clone()).await?;
            self.publish(shim, events::agent("AgentWaits", &object.spec.node, &why)).await;
        }
        Ok(())
    }

    async fn waits(&mut self, object: &NodeShim, why: String) -> Result<()> {
        let status = object.status.clone().unwrap_or_default();
        self.write(object, NodeShimStatus { message: why.clone(), waits: why, ..status })
            .await
            .map(drop)
    }

    /// An order that nobody carries out, and why.
    pub(super) async fn never_ran(
        &mut self,
        shim: &WasmShim,
        object: &NodeShim,
        node: &Node,
        why: String,
    ) -> Result<()> {
        let event = events::agent("AgentNeverRan", &object.spec.node, &why);
        let settled = self.settle(object, node, End::NeverRan(why), Timestamp::now()).await?;
        self.condition(shim, node, &settled).await?;
        self.publish(shim, event).await;
        Ok(())
    }

    async fn settle(
        &mut self,
        object: &NodeShim,
        node: &Node,
        end: End,
        now: Timestamp,
    ) -> Result<NodeShim> {
        self.metrics.report(match &end {
            End::Report(report) => Some(report.as_ref()),
            End::NeverRan(_) | End::Silence => None,
        });
        let status = view::status(object, node, end, now);
        info!(node = object.spec.node, phase = ?status.phase, message = status.message, "observed");
        self.write(object, status).await
    }

    async fn write(&mut self, object: &NodeShim, status: NodeShimStatus) -> Result<NodeShim> {
        self.fence.check()?;
        let mut told = object.clone();
        told.status = Some(status);
        let api: Api<NodeShim> = Api::all(self.client.clone());
        let written = api.replace_status(&object.name_any(), &PostParams::default(), &told).await?;
        self.recent.wrote(object.name_any(), written.clone());
        Ok(written)
    }
}

/// Whether anybody waits for what an order is to bring. One that takes the shim off may be carried out by another agent.
fn wanted(shim: &WasmShim, object: &NodeShim, node: &Node) -> bool {
    let (target, _) = revision_of(&shim.name_any(), &shim.spec);
    let good = shim.status.as_ref().and_then(|status| status.last_good_revision.as_ref());
    let spec = &object.spec;
    shim.metadata.deletion_timestamp.is_none()
        && view::selected(shim, node)
        && spec.action != crd::Action::Remove
        && (spec.revision == target || Some(&spec.revision) == good)
}
