//! What a run says at its start and at its end.

use std::time::Duration;

use berth_control::Settled;

use super::Config;
use super::engine::{Engine, Finish};
use super::fleet::FleetFile;
use crate::output::text::{count, number, span};

impl Engine {
    /// What runs, where it is kept, who decides, and how to ask.
    pub(super) fn greeting(&self, config: &Config, fleet: &FleetFile, address: std::net::SocketAddr) -> String {
        let of = |kind: &str| fleet.loaded.objects.iter().filter(|object| object.kind() == kind).count() as u64;
        let (clusters, pools) = (count(of("Cluster"), "cluster"), count(of("NodePool"), "node pool"));
        let offerings = count(of("Offering"), "offering");
        let data = match (self.home.is_new, self.simulation.now().since(super::fleet::EPOCH)) {
            (true, _) => "new".to_owned(),
            (false, elapsed) => format!("goes on after {} of simulated time; --fresh starts over", span(elapsed)),
        };
        let names: Vec<String> = self.policies.set().policies.keys().map(ToString::to_string).collect();
        let speed = match config.speed {
            0.0 => "as fast as it can".to_owned(),
            speed => format!("{} simulated seconds a second", number(speed)),
        };
        let trust = config.trust.as_ref();
        let trust =
            trust.map(|trust| format!("; only what {} signed, and built-in ones", trust.keys())).unwrap_or_default();
        let lines = [
            format!("Berth {} runs {}: {clusters}, {pools}, {offerings}", env!("CARGO_PKG_VERSION"), fleet.name),
            format!("  data      {} ({data})", self.home.dir.display()),
            format!("  policies  {} ({}{trust})", names.join(", "), self.folder.display()),
            format!("  API       http://{address}  (try `berth top`, `berth get workloads -A`, `berth explain NAME`)"),
            format!("  pace      {speed}, seed {}; Ctrl-C stops", config.seed),
        ];
        lines.join("\n") + "\n"
    }

    /// Where every workload stands, and what could not be done.
    pub(super) fn outcome(&self) -> String {
        let mut lines = Vec::new();
        for row in self.controller.workloads().iter().filter(|row| row.wanted > 0) {
            let at: Vec<String> = row.clusters.iter().map(|at| format!("{} {}", at.cluster, at.replicas)).collect();
            let at = if at.is_empty() { String::new() } else { format!(": {}", at.join(", ")) };
            let ready = format!("{} of {} ready", row.ready, row.wanted);
            lines.push(format!("  {}: {ready}{at}", row.workload));
        }
        if let Settled::Stuck(reasons) = self.controller.settled() {
            lines.push("Cannot be done now:".to_owned());
            lines.extend(reasons.iter().map(|stuck| format!("  {stuck}")));
        }
        lines.join("\n")
    }

    pub(super) fn summary(&self, finish: Finish, wall: Duration) -> String {
        let how = match finish {
            Finish::Settled => "Settled",
            Finish::Stuck => "Settled, but something cannot be done,",
            Finish::Stopped => "Stopped",
            Finish::Interrupted => "Interrupted",
        };
        let elapsed = self.simulation.now().since(self.start);
        let totals = self.simulation.totals();
        let done = format!(
            "  {}, {} ordered ({} failed), {} removed, {} USD for nodes",
            count(self.counts.decisions, "decision"),
            count(totals.nodes_ordered, "node"),
            count(totals.orders_failed, "order"),
            totals.nodes_removed,
            number((self.simulation.cost() * 100.0).round() / 100.0),
        );
        let kept = format!("  The next run with --data-dir {} goes on from here.", self.home.dir.display());
        let head = format!("{how} after {} of simulated time ({:.1} s).", span(elapsed), wall.as_secs_f64());
        [head, self.outcome(), done, kept].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }
}
