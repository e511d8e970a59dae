//! What OpenTelemetry is told: a trace for each rollout, with a span for each order of a node.
//!
//! ```text
//! rollout wherry ─────────────────────────────────────────►   from the first order to Complete or RolledBack
//!   ├─ Install node-a ──────►                                 from the order's Job to its end
//!   └─ Install node-b ───────────►
//! Verify node-a ──►                                           a trace of its own
//! ```
//!
//! A rollout outlives the process that began it. So its ids are read from the `WasmShim`, not made: whoever leads when
//! a Job ends tells its span as a part of the same trace.

use std::env;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider};
use sha2::{Digest as _, Sha256};
use tracing::warn;
use wherry_operator_core::crd::{Action, NodeShim, RolloutPhase, WasmShim};
use wherry_report::Outcome;

/// The first that is set says where spans go (OpenTelemetry, "OTLP Exporter Configuration"). Nobody is told without.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How long an end waits for the last spans.
const LAST: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, Default)]
pub(crate) struct Traces(Option<Told>);

#[derive(Clone, Debug)]
struct Told {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    ids: Ids,
}

impl Traces {
    /// # Errors
    /// The endpoint is none of OTLP over gRPC without TLS.
    pub(crate) fn from_environment(identity: &str) -> Result<Traces> {
        let set = |key| env::var(key).ok().filter(|value| !value.is_empty()).map(|it| (key, it));
        let Some((key, endpoint)) = ENDPOINTS.into_iter().find_map(set) else {
            return Ok(Traces::default());
        };
        let wrong =
            || format!("{key}={endpoint:?}: http://HOST:PORT of an OTLP receiver (gRPC) is wanted");
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(&endpoint);
        let exporter = exporter.build().with_context(wrong)?;
        let resource = Resource::builder()
            .with_service_name("wherry-operator")
            .with_attribute(KeyValue::new("service.instance.id", identity.to_string()))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let ids = Ids::default();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_id_generator(ids.clone())
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("wherry-operator");
        Ok(Traces(Some(Told { provider, tracer, ids })))
    }

    /// An order came to its end.
    pub(crate) fn order(&self, shim: &WasmShim, order: &NodeShim, from: Timestamp, to: Timestamp) {
        let (Some(told), Some(status)) = (&self.0, &order.status) else { return };
        let (spec, seen) = (&order.spec, status.observed.as_ref());
        let outcome = seen.map_or(Outcome::Failed, |seen| seen.outcome);
        let mut attributes = vec![
            KeyValue::new("wherry.shim", shim.name_any()),
            KeyValue::new("wherry.revision", spec.revision.clone()),
            KeyValue::new("wherry.action", format!("{:?}", spec.action)),
            KeyValue::new("wherry.attempt", i64::from(spec.attempt)),
            KeyValue::new("wherry.wave", spec.wave.clone()),
            KeyValue::new("wherry.outcome", format!("{outcome:?}")),
            KeyValue::new("k8s.node.name", spec.node.clone()),
        ];
        if let Some(last) = &status.last_transaction {
            let milliseconds = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
            attributes.extend([
                KeyValue::new("wherry.restarted", last.restarted),
                KeyValue::new("wherry.restart_ms", milliseconds(last.restart_ms)),
                KeyValue::new("wherry.cri_down_ms", milliseconds(last.cri_down_ms)),
            ]);
        }
        let span = SpanBuilder::from_name(format!("{:?} {}", spec.action, spec.node))
            .with_start_time(time(from))
            .with_attributes(attributes);
        let parent = match spec.action {
            Action::Verify | Action::Plan => Context::new(),
            Action::Install | Action::Remove => {
                Context::new().with_remote_span_context(rollout(shim))
            }
        };
        let mut span = told.tracer.build_with_context(span, &parent);
        if matches!(outcome, Outcome::Failed | Outcome::Reverted) {
            span.set_status(Status::error(status.message.clone()));
        }
        span.end_with_timestamp(time(to));
    }

    /// A rollout is over.
    pub(crate) fn rollout(&self, shim: &WasmShim, from: Timestamp, to: Timestamp) {
        let (Some(told), Some(status)) = (&self.0, &shim.status) else { return };
        let target = status.target_revision.clone().unwrap_or_default();
        let span = SpanBuilder::from_name(format!("rollout {}", shim.name_any()))
            .with_kind(SpanKind::Internal)
            .with_start_time(time(from))
            .with_attributes([
                KeyValue::new("wherry.shim", shim.name_any()),
                KeyValue::new("wherry.revision", target),
                KeyValue::new("wherry.phase", format!("{:?}", status.phase)),
                KeyValue::new("wherry.nodes", status.nodes.summary.clone()),
            ]);
        let mut span = told
            .ids
            .made_with(&rollout(shim), || told.tracer.build_with_context(span, &Context::new()));
        if status.phase == RolloutPhase::RolledBack {
            let rejected = status.rejected.as_ref().map(|it| it.message.clone());
            span.set_status(Status::error(rejected.unwrap_or_default()));
        }
        span.end_with_timestamp(time(to));
    }

    /// Tells what is not told yet.
    pub(crate) async fn end(self) {
        let Some(told) = self.0 else { return };
        // It waits for a thread that waits for this one's runtime.
        let ended = tokio::task::spawn_blocking(move || told.provider.shutdown_with_timeout(LAST));
        match ended.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %error, "the last spans were not told"),
            Err(error) => warn!(error = %error, "the last spans were not told"),
        }
    }
}

/// The span of the rollout that a `WasmShim` is in: of its spec, so that a way back is a part of it.
fn rollout(shim: &WasmShim) -> SpanContext {
    let key = format!("{} {}", shim.uid().unwrap_or_default(), shim.meta().generation.unwrap_or(0));
    let hash = Sha256::digest(key);
    let trace = TraceId::from_bytes(std::array::from_fn(|index| hash[index]));
    let span = SpanId::from_bytes(std::array::from_fn(|index| hash[16 + index]));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default())
}

fn time(at: Timestamp) -> SystemTime {
    at.into()
}

/// Random ids, but for a span whose ids others know already.
#[derive(Clone, Default)]
struct Ids(Arc<Mutex<Option<(TraceId, SpanId)>>>);

impl Ids {
    fn made_with<T>(&self, known: &SpanContext, make: impl FnOnce() -> T) -> T {
        let set = |ids| *self.0.lock().expect("no holder panics") = ids;
        set(Some((known.trace_id(), known.span_id())));
        let made = make();
        set(None);
        made
    }

    fn known(&self) -> Option<(TraceId, SpanId)> {
        *self.0.lock().expect("no holder panics")
    }
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        self.known().map_or_else(|| RandomIdGenerator::default().new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        self.known().map_or_else(|| RandomIdGenerator::default().new_span_id(), |(_, span)| span)
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}
