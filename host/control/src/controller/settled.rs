//! Whether anything is left to do.

use std::fmt;

use berth_core::ids::WorkloadKey;
use berth_core::reason::{Code, Reason};

use super::Controller;

/// Tries after which a workload that waits while nothing else moves counts as stuck.
const TRIES: u32 = 3;

/// A workload that waits while nothing else moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Stuck {
    pub workload: WorkloadKey,
    pub reason: Reason,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.workload, self.reason)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// All workloads run as wanted.
    Done,
    /// Something is under way.
    Working,
    /// Nothing is under way, and these cannot be placed, or not in full.
    Stuck(Vec<Stuck>),
}

impl Controller {
    /// Whether anything is left to do but to remove nodes that are not needed.
    pub fn settled(&self) -> Settled {
        let state = &self.state;
        let dirty = &state.dirty;
        let open = !dirty.manifests.is_empty()
            || !dirty.unverified.is_empty()
            || !dirty.workloads.is_empty()
            || !dirty.clusters.is_empty()
            || !dirty.rooms.is_empty()
            || !dirty.unbound.is_empty()
            || !state.orders.is_empty()
            || !state.retiring.is_empty()
            || !state.released.is_empty()
            || state.orphans.keys().any(|key| state.strays(key).next().is_some())
            || state.clusters.values().any(|member| member.object.is_some() && !member.seen);
        if open {
            return Settled::Working;
        }
        let mut stuck = Vec::new();
        for (key, workload) in state.workloads() {
            match (&workload.workload, &workload.waiting) {
                // Helpers such as a PriorityClass need not be distributed; what members have of one stays as it is.
                (Err(reason), _) if workload.plain && reason.code == Code::NoPolicy => continue,
                (Err(reason), _) => stuck.push(Stuck { workload: key.clone(), reason: reason.clone() }),
                (Ok(core), None) if core.rules.suspended && workload.record().is_none() => {
                    let why = format!("scheduling is suspended by {}", core.rules.policy);
                    stuck.push(Stuck { workload: key.clone(), reason: Reason::new(Code::Suspended, why) });
                }
                (Ok(_), Some(waiting)) => {
                    let gives_up = matches!(waiting.reason.code, Code::TooLarge | Code::Suspended);
                    let again = waiting.reason.code == Code::NoStock && self.orders_again_later();
                    if (waiting.attempts < TRIES || again) && !gives_up {
                        return Settled::Working;
                    }
                    stuck.push(Stuck { workload: key.clone(), reason: waiting.reason.clone() });
                }
                (Ok(_), None) => {
                    stuck.extend(workload.trouble.clone().map(|reason| Stuck { workload: key.clone(), reason }));
                }
            }
            let stuck_here = stuck.last().is_some_and(|last| last.workload == *key);
            if !stuck_here && self.unfinished(key) {
                return Settled::Working;
            }
        }
        if stuck.is_empty() { Settled::Done } else { Settled::Stuck(stuck) }
    }

    /// Whether an offering that failed is left alone for now, and may be tried again.
    fn orders_again_later(&self) -> bool {
        let now = self.state.snapshot.now();
        self.state.offerings().any(|(_, known)| known.stock().retry_at > now)
    }

    /// Whether some of its replicas are not ready, or a member does not show its manifest.
    fn unfinished(&self, key: &WorkloadKey) -> bool {
        let state = &self.state;
        let Some(workload) = state.workloads.get(key) else { return false };
        let Some(record) = workload.record().filter(|record| record.finished.is_none()) else { return false };
        let shown = |cluster: &berth_core::ids::ClusterName| workload.seen_in.contains(cluster);
        let ready = |share: &berth_core::placement::Share| {
            let placed = record.placement.at(share.component, &share.cluster);
            state.ready_at(key, share.component, &share.cluster) >= placed
        };
        let suspended = workload.workload.as_ref().is_ok_and(|core| core.rules.suspended);
        !suspended && (!record.placement.clusters.iter().all(shown) || !record.placement.shares.iter().all(ready))
    }
}
