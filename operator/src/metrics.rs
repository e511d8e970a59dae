//! What Prometheus reads.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use wherry_operator_core::crd::{Action, Counts, WasmShimStatus};
use wherry_report::Report;

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    nodes: Family<Labels, Gauge>,
    wave: Family<Labels, Gauge>,
    rejected: Family<Labels, Gauge>,
    orders: Family<Labels, Counter>,
    reports: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    reconciles: Histogram,
    restarts: Histogram,
    cri_down: Histogram,
    leader: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("wherry");
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 18));
        let mut metrics = Metrics {
            registry: Arc::default(),
            nodes: Family::default(),
            wave: Family::default(),
            rejected: Family::default(),
            orders: Family::default(),
            reports: Family::default(),
            failures: Family::default(),
            reconciles: seconds(),
            restarts: seconds(),
            cri_down: seconds(),
            leader: Gauge::default(),
        };
        registry.register("shim_nodes", "Nodes of a WasmShim by phase", metrics.nodes.clone());
        registry.register("rollout_wave", "Wave of a rollout, from 0", metrics.wave.clone());
        registry.register(
            "rollout_rejected",
            "1 if the target is rolled back",
            metrics.rejected.clone(),
        );
        registry.register("orders", "Orders given to nodes", metrics.orders.clone());
        registry.register("reports", "Reports of nodes by outcome", metrics.reports.clone());
        registry.register(
            "reconcile_failures",
            "Rounds that ended early",
            metrics.failures.clone(),
        );
        registry.register(
            "reconcile_seconds",
            "Rounds of one WasmShim",
            metrics.reconciles.clone(),
        );
        registry.register(
            "runtime_restart_seconds",
            "Restarts of containerd",
            metrics.restarts.clone(),
        );
        registry.register("cri_unavailable_seconds", "Times without CRI", metrics.cri_down.clone());
        registry.register("leader", "1 if this process leads", metrics.leader.clone());
        metrics.registry = Arc::new(registry);
        metrics
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }

    pub(crate) fn leads(&self) {
        self.leader.set(1);
    }

    pub(crate) fn reconciled(&self, took: Duration) {
        self.reconciles.observe(took.as_secs_f64());
    }

    pub(crate) fn failed(&self, shim: &str) {
        self.failures.get_or_create(&vec![("shim", shim.to_string())]).inc();
    }

    pub(crate) fn ordered(&self, action: Action) {
        self.orders.get_or_create(&vec![("action", format!("{action:?}"))]).inc();
    }

    pub(crate) fn report(&self, report: Option<&Report>) {
        let outcome = report.map_or("None".to_string(), |it| format!("{:?}", it.outcome));
        self.reports.get_or_create(&vec![("outcome", outcome)]).inc();
        let restarted =
            report.and_then(|it| it.last_transaction.as_ref()).filter(|it| it.restarted);
        if let Some(last) = restarted {
            self.restarts.observe(Duration::from_millis(last.restart_ms).as_secs_f64());
            self.cri_down.observe(Duration::from_millis(last.cri_down_ms).as_secs_f64());
        }
    }

    pub(crate) fn status(&self, shim: &str, status: &WasmShimStatus) {
        let own = || vec![("shim", shim.to_string())];
        let wave = status.wave.as_ref().map_or(-1, |wave| wave.index.into());
        self.wave.get_or_create(&own()).set(wave);
        self.rejected.get_or_create(&own()).set(status.rejected.is_some().into());
        for (phase, count) in counts(&status.nodes) {
            self.nodes.get_or_create(&of_phase(shim, phase)).set(count.into());
        }
    }

    /// A `WasmShim` is deleted: an alert on it would never end.
    pub(crate) fn gone(&self, shim: &str) {
        let own = vec![("shim", shim.to_string())];
        self.wave.remove(&own);
        self.rejected.remove(&own);
        self.failures.remove(&own);
        for (phase, _) in counts(&Counts::default()) {
            self.nodes.remove(&of_phase(shim, phase));
        }
    }
}

fn of_phase(shim: &str, phase: &str) -> Labels {
    vec![("shim", shim.to_string()), ("phase", phase.to_string())]
}

fn counts(nodes: &Counts) -> [(&'static str, u32); 10] {
    [
        ("desired", nodes.desired),
        ("ready", nodes.ready),
        ("pending", nodes.pending),
        ("progressing", nodes.progressing),
        ("pending_restart", nodes.pending_restart),
        ("failed", nodes.failed),
        ("drifted", nodes.drifted),
        ("unsupported", nodes.unsupported),
        ("held", nodes.held),
        ("removing", nodes.removing),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `wherry_rollout_rejected` once stayed 1 of what was deleted.
    #[test]
    fn nothing_is_told_of_what_is_gone() {
        let metrics = Metrics::new();
        metrics.status("gone", &WasmShimStatus::default());
        metrics.status("stays", &WasmShimStatus::default());
        metrics.failed("gone");
        assert!(metrics.text().contains("wherry_rollout_rejected{shim=\"gone\"} 0"));
        metrics.gone("gone");
        let text = metrics.text();
        assert!(!text.contains("gone") && text.contains("shim=\"stays\""), "{text}");
    }

    /// Alerts and dashboards of the chart are checked against this list.
    #[test]
    fn the_list_of_metrics_is_complete() {
        let metrics = Metrics::new();
        // What nothing was counted of is not told.
        metrics.status("wherry", &WasmShimStatus::default());
        metrics.ordered(Action::Plan);
        metrics.report(None);
        metrics.failed("wherry");
        let text = metrics.text();
        let about = text.lines().filter(|line| line.starts_with('#') && *line != "# EOF");
        let text: String = about.map(|line| format!("{line}\n")).collect();
        expect_test::expect_file!["../metrics.txt"].assert_eq(&text);
    }
}
