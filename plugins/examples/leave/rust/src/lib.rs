//! Leaves clusters that cannot be reached, and clusters that have no node for replicas.

use berth_sdk::migration::{How, Move, State};
use berth_sdk::{Fleet, Migration, NoConfig, Policy, Problem};

/// One session, which keeps nothing.
#[derive(Debug)]
pub struct Leave;

impl Policy for Leave {
    const NAME: &str = "leave-rust";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DOC: &str = "Leaves clusters that cannot be reached, or have no node for replicas";
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Fleet) -> Result<Self, Problem> {
        Ok(Self)
    }
}

impl Migration for Leave {
    fn decide(&mut self, _: &Fleet, state: State) -> Result<Vec<Move>, Problem> {
        let mut moves = vec![];
        let mut leave = |row: usize, replicas, how, reason: &str| {
            moves.push(Move { row: row as u32, replicas, how, reason: reason.into() });
        };
        let (placed, health) = (&state.placed, &state.health);
        for row in 0..placed.workload.len() {
            let workload = &state.workloads[placed.workload[row] as usize];
            let cluster = placed.cluster[row] as usize;
            if !health.reachable[cluster] && health.since_ms[cluster] >= workload.toleration_ms {
                leave(row, placed.desired[row], How::AtOnce, "its cluster cannot be reached");
            } else if placed.unschedulable[row] > 0
                && placed.unready_ms[row] >= workload.toleration_ms
                && !workload.together
            {
                leave(row, placed.unschedulable[row], How::Gracefully, "no node takes them");
            }
        }
        Ok(moves)
    }
}

berth_sdk::export_migration!(Leave);
