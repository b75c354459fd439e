//! Promises 5 and 6, of orders: none is made twice, and none is held or carried out for ever without an owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_control::ports::OrderState;
use berth_core::ids::OrderId;

use super::Sight;
use super::breach::{Found, Invariant};
use super::lasting::Lasting;
use super::store::{Change, Mirror};

/// Milliseconds after which an order that should have ended must have.
const GRACE_MS: u64 = 120_000;
/// For how long an expired reservation may be held until its order is cancelled.
const CANCEL_MS: u64 = 420_000;

#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Orders that were ever held, by id.
    held: BTreeSet<String>,
    /// Nodes that each order brought, by their names.
    brought: BTreeMap<OrderId, BTreeSet<Arc<str>>>,
}

impl Orders {
    /// An id is used for one order alone.
    pub(super) fn take(&mut self, changes: &[Change], found: &mut Found) {
        for change in changes {
            let before = change.before.iter().flat_map(|before| &before.reservations);
            let before: BTreeSet<&str> = before.map(|one| one.id.as_str()).collect();
            let now = change.now.iter().flat_map(|now| &now.reservations);
            for one in now.filter(|one| !before.contains(one.id.as_str())) {
                if !self.held.insert(one.id.clone()) {
                    let what = format!("was held before, and is held again for {}", change.workload);
                    found.add(Invariant::OrderedTwice, format!("order {}", one.id), what);
                }
            }
        }
    }

    pub(super) fn check(&mut self, mirror: &Mirror, sight: &Sight<'_>, lasting: &mut Lasting, found: &mut Found) {
        let mut known: BTreeSet<&str> = BTreeSet::new();
        for (key, placed) in &mirror.placements {
            for one in &placed.reservations {
                let about = || format!("order {}", one.id);
                if !known.insert(&one.id) {
                    lasting.note(Invariant::OrderedTwice, about(), 0, found, || {
                        format!("is held twice, at last for {key}")
                    });
                }
                if one.expires_at < sight.now.0 {
                    let what = || format!("held for {key}, expired at {}", one.expires_at);
                    // It is cancelled first, as often as it takes.
                    lasting.note(Invariant::ReservationLeaked, about(), CANCEL_MS, found, what);
                }
            }
        }
        for (id, order, state) in sight.simulation.provider.orders() {
            if *state == OrderState::Pending && !known.contains(id.as_str()) {
                let (nodes, cluster, pool) = (order.nodes, &order.cluster, &order.pool);
                let what = || format!("{nodes} nodes for {cluster}/{pool} are on order, and no placement holds it");
                lasting.note(Invariant::OrderLeaked, format!("order {id}"), GRACE_MS, found, what);
            }
        }
    }

    /// No order brings more nodes than it asked for.
    pub(super) fn count(&mut self, sight: &Sight<'_>, found: &mut Found) {
        let asked: BTreeMap<&OrderId, u32> =
            sight.simulation.provider.orders().map(|(id, order, _)| (id, order.nodes)).collect();
        self.brought.retain(|id, _| asked.contains_key(id));
        for cluster in sight.simulation.members.clusters.values() {
            for node in &cluster.observed.nodes {
                let Some((id, asked)) = node.order.as_ref().and_then(|id| asked.get_key_value(id)) else { continue };
                let names = self.brought.entry((*id).clone()).or_default();
                if names.insert(node.name.clone()) && names.len() as u64 == u64::from(*asked) + 1 {
                    let what = format!("asked for {asked} nodes and brought {names:?}");
                    found.add(Invariant::OrderedTwice, format!("order {id}"), what);
                }
            }
        }
    }
}
