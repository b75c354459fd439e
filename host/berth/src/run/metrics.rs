//! The controller in numbers, for Prometheus.

use std::collections::BTreeMap;

use berth_control::view::{ClusterRow, WorkloadRow};
use berth_core::fleet::StockState;
use berth_core::policy::Kind;
use berth_core::reason::Code;
use berth_policy::{PolicyState, PolicyStatus};

use super::engine::Engine;
use crate::server::metrics::Metrics;
use crate::server::metrics::Type::{Counter, Gauge};

impl Engine {
    pub(crate) fn metrics(&self) -> String {
        let mut metrics = Metrics::default();
        self.work(&mut metrics);
        self.fleet(&mut metrics);
        self.decided(&mut metrics);
        metrics.finish()
    }

    fn work(&self, metrics: &mut Metrics) {
        let rows = self.controller.workloads();
        let sum = |of: fn(&WorkloadRow) -> u32| rows.iter().map(|row| f64::from(of(row))).sum::<f64>();
        let replicas =
            [("wanted", sum(|row| row.wanted)), ("placed", sum(|row| row.placed)), ("ready", sum(|row| row.ready))];
        let mut waiting: BTreeMap<Code, f64> = Code::ALL.iter().map(|code| (*code, 0.0)).collect();
        for reason in rows.iter().filter_map(|row| row.waiting.as_ref()) {
            *waiting.entry(reason.code).or_default() += 1.0;
        }
        let waiting = waiting.iter().map(|(code, count)| (code.as_str(), *count));
        metrics.one("berth_workloads", Gauge, "Workloads that are known.", rows.len() as f64);
        metrics.by("berth_replicas", Gauge, "Replicas of all workloads.", "state", replicas);
        metrics.by("berth_waiting_workloads", Gauge, "Workloads that wait.", "reason", waiting);
    }

    fn fleet(&self, metrics: &mut Metrics) {
        let clusters = self.controller.clusters();
        let reachable = clusters.iter().filter(|row| row.reachable).count();
        let states = [("reachable", reachable as f64), ("unreachable", (clusters.len() - reachable) as f64)];
        let sum = |of: fn(&ClusterRow) -> f64| clusters.iter().map(of).sum::<f64>();
        let nodes = [("present", sum(|row| row.nodes.into())), ("ordered", sum(|row| row.ordered.into()))];
        let stock = self.controller.stock();
        let offerings = [
            ("in-stock", StockState::InStock),
            ("limited", StockState::Limited),
            ("out-of-stock", StockState::OutOfStock),
            ("unknown", StockState::Unknown),
        ]
        .map(|(name, state)| (name, stock.iter().filter(|row| row.stock.state == state).count() as f64));
        metrics.by("berth_clusters", Gauge, "Member clusters.", "state", states);
        metrics.by("berth_nodes", Gauge, "Nodes of all clusters.", "state", nodes);
        metrics.by("berth_offerings", Gauge, "Offerings by what is known of their stock.", "state", offerings);
        metrics.one("berth_nodes_usd_per_hour", Gauge, "What all nodes cost now.", sum(|row| row.usd_per_hour));
    }

    fn decided(&self, metrics: &mut Metrics) {
        let status = self.policies.status();
        let by_kind = |of: fn(&PolicyStatus) -> u64| {
            Kind::ALL.map(|kind| {
                let sum: u64 = status.iter().filter(|row| row.kind == Some(kind)).map(of).sum();
                (kind.as_str(), sum as f64)
            })
        };
        let (calls, failures) = (by_kind(|row| row.calls), by_kind(|row| row.failures.values().sum()));
        let refused = status.iter().filter(|row| row.state == PolicyState::Refused).count();
        let seconds = self.counts.policy_time.as_secs_f64();
        metrics.one("berth_decisions_total", Counter, "Decisions of this run.", self.counts.decisions as f64);
        metrics.one("berth_steps_total", Counter, "Passes over all loops.", self.counts.steps as f64);
        metrics.one("berth_policy_seconds_total", Counter, "Time spent in policies.", seconds);
        metrics.by("berth_policy_calls_total", Counter, "Calls of policies.", "kind", calls);
        metrics.by("berth_policy_failures_total", Counter, "Calls that failed or broke a rule.", "kind", failures);
        let records = self.journal.as_ref().map(|journal| journal.status()).unwrap_or_default();
        let calls =
            [("written", records.written as f64), ("dropped", records.dropped as f64), ("lost", records.lost as f64)];
        metrics.by("berth_policy_records_total", Counter, "Calls of policies for the records.", "state", calls);
        metrics.one("berth_policy_records_bytes", Gauge, "Bytes of recorded calls.", records.bytes as f64);
        let state = |state| status.iter().filter(|row| row.state == state).count() as f64;
        let beside = [PolicyState::Shadow, PolicyState::Canary, PolicyState::WentBack];
        let beside = beside.map(|one| (one.as_str(), state(one)));
        metrics.by(
            "berth_policies_beside",
            Gauge,
            "Policies that stand beside others, by what they do.",
            "state",
            beside,
        );
        metrics.one("berth_policies_refused", Gauge, "Policy files that are not loaded.", refused as f64);
    }
}
