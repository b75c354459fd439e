//! Whether replicas fit on nodes, by a search of its own.
//!
//! First each replica, largest first, goes to the fullest node that has room; mostly that settles it. Where it fails, all
//! ways are tried within bounds; beyond them the answer is that it is not known.

use std::collections::BTreeSet;
use std::fmt;

use berth_control::ports::NodeObservation;

use super::work::Amounts;

const GPU: &str = "nvidia.com/gpu";
const WHOLE: u64 = 1000;
/// Tries of the exact search.
const TRIES: u32 = 20_000;

/// What is free on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bin {
    free: Amounts,
    /// Free thousandths of GPUs that are shared, ascending.
    shared: Vec<u64>,
}

/// Replicas of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    requests: Amounts,
    share: u64,
    count: u64,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.requests.iter().map(|(name, amount)| format!("{amount} {name}")).collect();
        write!(f, "{} x ({}", self.count, sizes.join(", "))?;
        if self.share > 0 {
            write!(f, ", {} thousandths of a GPU", self.share)?;
        }
        f.write_str(")")
    }
}

impl Item {
    pub(super) fn add(items: &mut Vec<Item>, requests: &Amounts, share: u64, count: u64) {
        if count == 0 {
            return;
        }
        match items.iter_mut().find(|item| item.requests == *requests && item.share == share) {
            Some(item) => item.count += count,
            None => items.push(Item { requests: requests.clone(), share, count }),
        }
    }

    /// What of it was not among `others`.
    pub(super) fn less(&self, others: &[Item]) -> Option<Item> {
        let same = others.iter().find(|item| item.requests == self.requests && item.share == self.share);
        let count = self.count.saturating_sub(same.map_or(0, |same| same.count));
        (count > 0).then(|| Item { count, ..self.clone() })
    }

    /// Larger ones are harder to place.
    fn size(&self) -> (u64, u64, u64, u64) {
        let of = |name: &str| self.requests.get(name).copied().unwrap_or(0);
        (of(GPU), self.share, of("cpu"), of("memory"))
    }
}

impl Bin {
    pub(super) fn used(node: &NodeObservation) -> Self {
        let free = node.free.iter().map(|(name, amount)| (name.to_string(), *amount)).collect();
        let mut shared: Vec<u64> = node.shared.iter().map(|milli| u64::from(*milli)).collect();
        shared.sort_unstable();
        Self { free, shared }
    }

    pub(super) fn fresh(allocatable: &Amounts) -> Self {
        Self { free: allocatable.clone(), shared: Vec::new() }
    }

    /// The node with one replica on it, if it fits.
    fn with(&self, item: &Item) -> Option<Bin> {
        let mut bin = self.clone();
        for (name, amount) in &item.requests {
            let free = bin.free.get_mut(name)?;
            *free = free.checked_sub(*amount)?;
        }
        if item.share > 0 {
            match bin.shared.iter().position(|left| *left >= item.share) {
                Some(at) => bin.shared[at] -= item.share,
                None => {
                    let whole = bin.free.get_mut(GPU)?;
                    *whole = whole.checked_sub(1)?;
                    bin.shared.push(WHOLE - item.share);
                }
            }
            bin.shared.sort_unstable();
        }
        Some(bin)
    }

    fn left(&self) -> (u64, u64, u64) {
        let of = |name: &str| self.free.get(name).copied().unwrap_or(0);
        (of(GPU), of("cpu"), of("memory"))
    }
}

/// Whether all items fit; `None` where it is not known.
pub(super) fn packs(items: &[Item], bins: &[Bin]) -> Option<bool> {
    let mut items: Vec<&Item> = items.iter().filter(|item| item.count > 0).collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.size()));
    if greedy(&items, bins) {
        return Some(true);
    }
    if items.iter().any(|item| !alone(item, bins)) {
        return Some(false);
    }
    let pods: Vec<&Item> = items.iter().flat_map(|item| (0..item.count).map(move |_| *item)).collect();
    let mut tries = TRIES;
    search(&pods, bins.to_vec(), &mut tries)
}

/// Largest first, each to the fullest node that has room.
fn greedy(items: &[&Item], bins: &[Bin]) -> bool {
    let mut bins = bins.to_vec();
    for item in items {
        for _ in 0..item.count {
            let fits = bins.iter().enumerate().filter_map(|(at, bin)| Some((at, bin.with(item)?)));
            let Some((at, bin)) = fits.min_by_key(|(_, bin)| bin.left()) else { return false };
            bins[at] = bin;
        }
    }
    true
}

/// Whether one size fits often enough where there is nothing else.
fn alone(item: &Item, bins: &[Bin]) -> bool {
    let mut left = item.count;
    for bin in bins {
        let mut bin = Some(bin.clone());
        while left > 0 {
            bin = bin.and_then(|bin| bin.with(item));
            if bin.is_none() {
                break;
            }
            left -= 1;
        }
    }
    left == 0
}

fn search(pods: &[&Item], bins: Vec<Bin>, tries: &mut u32) -> Option<bool> {
    let Some((first, rest)) = pods.split_first() else { return Some(true) };
    let mut seen = BTreeSet::new();
    let mut known = true;
    for at in 0..bins.len() {
        // Nodes that are alike are one choice.
        if !seen.insert(&bins[at]) {
            continue;
        }
        let Some(with) = bins[at].with(first) else { continue };
        if *tries == 0 {
            return None;
        }
        *tries -= 1;
        let mut next = bins.clone();
        next[at] = with;
        match search(rest, next, tries) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => known = false,
        }
    }
    known.then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(list: &[(&str, u64)]) -> Amounts {
        list.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
    }

    /// Requests, thousandths of a GPU, and how many.
    type Row<'a> = (&'a [(&'a str, u64)], u64, u64);

    fn items(list: &[Row<'_>]) -> Vec<Item> {
        let mut items = Vec::new();
        list.iter().for_each(|(requests, share, count)| Item::add(&mut items, &amounts(requests), *share, *count));
        items
    }

    #[test]
    fn totals_are_not_enough() {
        let bins = vec![Bin::fresh(&amounts(&[("cpu", 8), (GPU, 8)])); 2];
        assert_eq!(packs(&items(&[(&[(GPU, 5)], 0, 2)]), &bins), Some(true));
        assert_eq!(packs(&items(&[(&[(GPU, 5)], 0, 3)]), &bins), Some(false));
        assert_eq!(packs(&items(&[(&[(GPU, 5)], 0, 2), (&[(GPU, 3)], 0, 2)]), &bins), Some(true));
        assert_eq!(packs(&items(&[(&[(GPU, 5)], 0, 2), (&[(GPU, 4)], 0, 1)]), &bins), Some(false));
        assert_eq!(packs(&items(&[(&[("disk", 1)], 0, 1)]), &bins), Some(false));
    }

    #[test]
    fn what_the_largest_first_misses_is_found() {
        // 4+4 and 3+3+2 fill two nodes of 8; largest first onto the fullest puts 4+3 together.
        let bins = vec![Bin::fresh(&amounts(&[("a", 9), ("b", 9)])); 2];
        let list = items(&[
            (&[("a", 5), ("b", 4)], 0, 1),
            (&[("a", 4), ("b", 5)], 0, 1),
            (&[("a", 6), ("b", 3)], 0, 1),
            (&[("a", 3), ("b", 6)], 0, 1),
        ]);
        assert_eq!(packs(&list, &bins), Some(true));
    }

    #[test]
    fn shares_go_to_devices() {
        let bins = vec![Bin::fresh(&amounts(&[(GPU, 2)]))];
        assert_eq!(packs(&items(&[(&[], 600, 2)]), &bins), Some(true));
        assert_eq!(packs(&items(&[(&[], 600, 3)]), &bins), Some(false));
        assert_eq!(packs(&items(&[(&[], 600, 1), (&[], 400, 1), (&[(GPU, 1)], 0, 1)]), &bins), Some(true));
    }
}
