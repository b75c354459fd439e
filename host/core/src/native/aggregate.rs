//! As few clusters as possible.

use super::available::dynamic;
use crate::policy::{Candidates, Decision, Problem, Request};

/// It takes no configuration.
pub const CONFIG_SCHEMA: &str = "";

/// Uses the shortest row of clusters whose room is enough, those in use first, then in descending order of room (ties: the
/// lower row), and divides among them by room. What runs stays, as with `available`: a growing component divides only
/// what is new; a shrinking one keeps the clusters that have the most.
///
/// Tiers, together and Duplicated are as with `available`.
///
/// # Errors
/// `no-room` where the sum of what fits is too small; nothing is divided then.
pub fn aggregate(request: &Request, candidates: &Candidates) -> Result<Decision, Problem> {
    dynamic(request, candidates, narrow)
}

/// Keeps the weights of the shortest prefix that is enough. `in_use` is empty where use does not count.
fn narrow(in_use: &[u32], wanted: u32, weights: &mut [u32]) {
    let used = |candidate: usize| in_use.get(candidate).is_some_and(|replicas| *replicas > 0);
    let mut order: Vec<usize> = (0..weights.len()).filter(|candidate| weights[*candidate] > 0).collect();
    order.sort_unstable_by_key(|candidate| (!used(*candidate), u32::MAX - weights[*candidate], *candidate));
    let mut sum: u64 = 0;
    for candidate in order {
        if sum >= u64::from(wanted) {
            weights[candidate] = 0;
        }
        sum += u64::from(weights[candidate]);
    }
}
