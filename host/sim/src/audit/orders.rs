//! Promises 5 and 6, of orders: none is made twice, and none is held or carried out for ever without an owner.

use std::collections::BTreeSet;

use berth_control::ports::OrderState;

use super::Sight;
use super::breach::{Found, Invariant};
use super::lasting::Lasting;
use super::store::Mirror;

/// Milliseconds after which an order that should have ended must have.
const GRACE_MS: u64 = 120_000;

pub(super) fn check(mirror: &Mirror, sight: &Sight<'_>, lasting: &mut Lasting, found: &mut Found) {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for (key, placed) in &mirror.placements {
        for one in &placed.reservations {
            if !known.insert(&one.id) {
                found.add(Invariant::OrderedTwice, &one.id, format!("is held twice, at last for {key}"));
            }
            if one.expires_at < sight.now.0 {
                let what = || format!("held for {key}, expired at {}", one.expires_at);
                lasting.note(Invariant::ReservationLeaked, &one.id, GRACE_MS, found, what);
            }
        }
    }
    for (id, order, state) in sight.simulation.provider.orders() {
        if *state == OrderState::Pending && !known.contains(id.as_str()) {
            let what = || {
                format!(
                    "{} nodes for {}/{} are on order, and no placement holds it",
                    order.nodes, order.cluster, order.pool
                )
            };
            lasting.note(Invariant::OrderLeaked, id, GRACE_MS, found, what);
        }
    }
}
