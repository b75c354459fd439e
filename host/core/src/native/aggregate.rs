//! As few clusters as possible.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

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
    let used = in_use.iter().map(|replicas| *replicas > 0).chain(std::iter::repeat(false));
    let candidates = weights.iter().zip(used).zip(0_u32..).filter(|((weight, _), _)| **weight > 0);
    let mut order: BinaryHeap<(bool, u32, Reverse<u32>)> =
        candidates.map(|((weight, used), candidate)| (used, *weight, Reverse(candidate))).collect();
    let mut kept = Vec::new();
    let mut sum: u64 = 0;
    while sum < u64::from(wanted)
        && let Some((_, weight, Reverse(candidate))) = order.pop()
    {
        sum += u64::from(weight);
        kept.push((candidate, weight));
    }
    weights.fill(0);
    for (candidate, weight) in kept {
        weights[candidate as usize] = weight;
    }
}
