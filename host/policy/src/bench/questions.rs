//! Questions about a made-up fleet: the same for the same size and number, of about the shape that a controller's have.

use std::sync::Arc;

use berth_core::plan::mix;
use berth_core::policy::{
    Candidates, Column, Component, Fit, Health, Job, JobComponent, Kind, MigrationState, MigrationWorkload, NO_ROW,
    Offers, Placed, Queue, QuotaUse, Request, Running, Tables,
};
use berth_core::workload::Division;

use crate::call::Question;

const PROVIDERS: [&str; 3] = ["north", "south", "own"];
const REGIONS: [&str; 6] = ["eu-1", "eu-2", "us-1", "us-2", "ap-1", "ap-2"];
/// Steps of price in a candidate's elastic room.
const OFFERS: u32 = 2;
/// Jobs in a queue, and the clusters that each fits into at the most.
const JOBS: u64 = 32;
const FITS: u32 = 64;
/// Placements that a migration policy sees for each cluster, up to so many in all.
const PLACED: u32 = 4;
const MOST_PLACED: u32 = 2_000;
const NOW_MS: u64 = 1_700_000_000_000;
/// A gibibyte and a core, in base units.
const GIB: u64 = 1 << 30;
const CORE: u64 = 1_000;

/// Tables, and the same after one cluster in twenty changed.
pub(super) struct Fleet {
    pub(super) tables: Arc<Tables>,
    pub(super) changed: Arc<Tables>,
}

/// A number from where it stands, spread evenly below `below`.
fn pick(number: u64, row: u32, salt: u64, below: u64) -> u64 {
    mix(number.wrapping_mul(1_000_003).wrapping_add(u64::from(row)).wrapping_add(salt << 48)) % below
}

impl Fleet {
    pub(super) fn new(clusters: u32) -> Self {
        let rows = 0..clusters;
        let of = |list: &[&str], row: u32| Arc::from(list[row as usize % list.len()]);
        let tables = Tables {
            names: rows.clone().map(|row| format!("cluster-{row:05}").into()).collect(),
            providers: rows.clone().map(|row| of(&PROVIDERS, row)).collect(),
            regions: rows.clone().map(|row| of(&REGIONS, row / PROVIDERS.len() as u32)).collect(),
            labels: rows.map(|row| (row, "tier".into(), of(&["gold", "silver"], row))).collect(),
            resources: ["cpu", "memory", "pods", "nvidia.com/gpu"].map(Arc::from).to_vec(),
        };
        let mut changed = tables.clone();
        changed.labels.iter_mut().step_by(20).for_each(|label| label.2 = "bronze".into());
        Self { tables: Arc::new(tables), changed: Arc::new(changed) }
    }

    pub(super) fn question(&self, kind: Kind, needs: &[Arc<str>], number: u64) -> Question {
        match kind {
            Kind::Placement => self.placement(needs, number),
            Kind::Gang => Question::Gang(self.queue(needs, number)),
            Kind::Migration => Question::Migration(self.state(number)),
        }
    }

    fn clusters(&self) -> u32 {
        self.tables.names.len() as u32
    }

    /// A workload of 4 to 35 replicas; a third of the candidates has nodes with room, nearly all could order some.
    fn placement(&self, needs: &[Arc<str>], number: u64) -> Question {
        let rows = 0..self.clusters();
        let column = |salt, below: u64| rows.clone().map(move |row| pick(number, row, salt, below) as u32);
        let price = |row: u32| 1.0 + pick(0, row, 3, 400) as f64 / 100.0;
        let elastic: Vec<u32> = column(2, 32).collect();
        let steps = || rows.clone().flat_map(|row| (0..OFFERS).map(move |step| (row, step)));
        let offers = Offers {
            candidate: steps().map(|(row, _)| row).collect(),
            replicas: steps().map(|(row, step)| (elastic[row as usize] + step) / OFFERS).collect(),
            price: steps().map(|(row, step)| price(row) + f64::from(step)).collect(),
            lead_seconds: steps().map(|_| 120).collect(),
            interruption: steps().map(|(row, _)| f64::from(row % 5) / 50.0).collect(),
        };
        let extra = needs
            .iter()
            .filter(|need| &***need != "offers")
            .map(|need| Column { name: need.clone(), values: column(7, 500).map(f64::from).collect() });
        let candidates = Candidates {
            cluster: rows.clone().collect(),
            ready: column(1, 24).map(|room| room.saturating_sub(16)).collect(),
            current: vec![0; elastic.len()],
            price: rows.clone().map(price).collect(),
            current_price: vec![0.0; elastic.len()],
            lead_seconds: vec![120; elastic.len()],
            interruption: rows.clone().map(|row| f64::from(row % 5) / 50.0).collect(),
            tier: vec![0; elastic.len()],
            weight: column(4, 4).map(|weight| weight + 1).collect(),
            offers: if needs.iter().any(|need| &**need == "offers") { offers } else { Offers::default() },
            extra: extra.collect(),
            elastic,
        };
        let replicas = 4 + pick(number, 0, 5, 32) as u32;
        let request = Request {
            namespace: "team".into(),
            name: format!("model-{number}").into(),
            labels: vec![("app".into(), "model".into())],
            division: Division::Free,
            components: vec![Component { name: "server".into(), replicas, floor: 0 }],
            now_ms: NOW_MS + number,
            seed: number,
            ..Request::default()
        };
        Question::Placement { request, candidates }
    }

    /// Gangs of one master and 1 to 16 workers in two teams' quotas.
    fn queue(&self, needs: &[Arc<str>], number: u64) -> Queue {
        let amounts = |gpus: u64| vec![8 * CORE, 64 * GIB, 1, gpus];
        let job = |at: u64| {
            let replicas = 1 + pick(number, at as u32, 1, 16) as u32;
            let component = |name: &str, replicas, gpus| JobComponent {
                name: name.into(),
                replicas,
                floor: replicas,
                request: amounts(gpus),
            };
            Job {
                namespace: "research".into(),
                name: format!("train-{number}-{at}").into(),
                quota: 1 + (at % 2) as u32,
                age_ms: (JOBS - at) * 60_000,
                limit_ms: 3_600_000,
                together: true,
                components: vec![component("master", 1, 0), component("worker", replicas, 8)],
                ..Job::default()
            }
        };
        let fit = |job: u64| {
            (0..self.clusters().min(FITS)).map(move |row| {
                let now = pick(number, row, 2 + job, 4).saturating_sub(1) as u32;
                Fit { job: job as u32, cluster: row, now, empty: now + 2 }
            })
        };
        let quota = |name: &str, parent, max: u64, used: u64| QuotaUse {
            name: name.into(),
            parent,
            min: amounts(max / 2),
            max: vec![u64::MAX, u64::MAX, u64::MAX, max],
            used: amounts(used),
        };
        let running = (0..self.clusters().min(FITS)).map(|row| Running {
            namespace: "research".into(),
            name: format!("old-{row}").into(),
            quota: 1 + row % 2,
            priority: -1,
            cluster: row,
            age_ms: 600_000,
            usage: amounts(8),
        });
        let wanted = needs.iter().any(|need| &**need == "running");
        Queue {
            jobs: (0..JOBS).map(job).collect(),
            fits: (0..JOBS).flat_map(fit).collect(),
            quotas: vec![quota("all", NO_ROW, 4_096, 512), quota("a", 0, 1_024, 256), quota("b", 0, 1_024, 256)],
            running: if wanted { running.collect() } else { Vec::new() },
            now_ms: NOW_MS + number,
            seed: number,
        }
    }

    /// One cluster in fifty does not answer; one placement in ten has replicas that are not ready.
    fn state(&self, number: u64) -> MigrationState {
        let clusters = self.clusters();
        let rows: Vec<u32> = (0..(clusters * PLACED).min(MOST_PLACED)).collect();
        let unready = |row: u32| u32::from(pick(number, row, 1, 10) == 0);
        let column = |of: &dyn Fn(u32) -> u32| rows.iter().map(|row| of(*row)).collect::<Vec<u32>>();
        MigrationState {
            workloads: rows
                .iter()
                .map(|row| MigrationWorkload {
                    namespace: "team".into(),
                    name: format!("model-{row}").into(),
                    toleration_ms: 300_000,
                    ..MigrationWorkload::default()
                })
                .collect(),
            placed: Placed {
                workload: rows.clone(),
                component: vec![0; rows.len()],
                cluster: column(&|row| row % clusters.max(1)),
                desired: vec![4; rows.len()],
                ready: column(&|row| 4 - unready(row)),
                unschedulable: column(&unready),
                provisioning: vec![0; rows.len()],
                unready_ms: rows.iter().map(|row| u64::from(unready(*row)) * 600_000).collect(),
                price: rows.iter().map(|row| 1.0 + pick(0, *row, 3, 400) as f64 / 100.0).collect(),
                tier: column(&|row| row % 2),
            },
            health: Health {
                reachable: (0..clusters).map(|row| pick(number, row, 2, 50) > 0).collect(),
                since_ms: vec![600_000; clusters as usize],
            },
            now_ms: NOW_MS + number,
            seed: number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_lengths_that_the_interface_states() {
        let needs: Vec<Arc<str>> = vec!["offers".into(), "carbon".into()];
        for clusters in [1, 7, 100] {
            let fleet = Fleet::new(clusters);
            for number in 0..20 {
                let Question::Placement { request, candidates } = fleet.placement(&needs, number) else {
                    unreachable!("a placement was asked for")
                };
                candidates.check(request.components.len()).expect("as long as stated");
                assert!(candidates.offers.candidate.len() == 2 * clusters as usize && candidates.extra.len() == 1);
            }
        }
    }

    #[test]
    fn the_same_number_asks_the_same() {
        let (one, other) = (Fleet::new(10), Fleet::new(10));
        assert_eq!(one.queue(&[], 3), other.queue(&[], 3));
        assert_ne!(one.queue(&[], 3), one.queue(&[], 4));
        assert_eq!(one.state(3), other.state(3));
    }
}
