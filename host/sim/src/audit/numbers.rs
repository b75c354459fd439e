//! Promises 1 and 2, of numbers: nothing is placed in greater number than wanted, and a gang whole, in one cluster, or not.

use std::collections::BTreeSet;

use super::breach::{Found, Invariant};
use super::record::Placed;
use super::store::{Change, Mirror, Ruled};

pub(super) fn check(mirror: &Mirror, changes: &[Change], found: &mut Found) {
    for change in changes {
        let Some(now) = change.now.as_deref() else { continue };
        if change.before.as_ref().is_none_or(|before| before.plan != now.plan) {
            check_one(mirror, change.before.as_deref(), now, found);
        }
    }
}

fn check_one(mirror: &Mirror, before: Option<&Placed>, now: &Placed, found: &mut Found) {
    let key = &now.workload;
    // What stays of a decision, when a part of it is given back, is as it was decided then.
    let rest = |number: u32, count: u64| {
        before.is_some_and(|before| before.generation == now.generation && count <= before.total(number))
    };
    // A manifest that was changed after the decision is no measure of it.
    let Some(work) = mirror.works.get(key).filter(|work| work.revision.0 <= now.generation) else { return };
    let Some(Ruled { gang, duplicated, .. }) = mirror.rules(key) else { return };
    let used: BTreeSet<&str> = now.shares.iter().map(|share| share.cluster.as_str()).collect();
    let retiring = now.retiring.iter().map(|one| one.cluster.as_str());
    let holding: BTreeSet<&str> = used.iter().copied().chain(retiring).collect();
    if gang && holding.len() > 1 {
        found.add(Invariant::GangApart, key, format!("plan {} lets a gang run in {holding:?}", now.plan));
    }
    for (number, wanted) in (0_u32..).zip(&work.components) {
        let counts: Vec<u64> = match duplicated {
            true => used.iter().map(|cluster| now.at(number, cluster)).collect(),
            false => vec![now.total(number)],
        };
        for count in counts {
            if count > wanted.replicas && !rest(number, count) {
                let what = format!("component {number}: plan {} places {count} of {}", now.plan, wanted.replicas);
                found.add(Invariant::TooManyPlaced, key, what);
            }
            let floor = if wanted.floor == 0 { wanted.replicas } else { wanted.floor };
            if gang && !used.is_empty() && count < floor {
                let what = format!("component {number}: plan {} places {count}, the floor is {floor}", now.plan);
                found.add(Invariant::GangFloor, key, what);
            }
        }
    }
    if let Some(share) = now.shares.iter().find(|share| share.component as usize >= work.components.len()) {
        let what = format!("plan {} places component {}, which there is not", now.plan, share.component);
        found.add(Invariant::TooManyPlaced, key, what);
    }
}
