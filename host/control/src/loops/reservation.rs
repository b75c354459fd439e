//! Reservations: held orders are handed over until the provider knows them, and rolled back when they expire or when nothing
//! needs them any more.
//!
//! An order's id is on record before it is first handed over, and never changes: handing it over again after a crash, or
//! because the provider never heard of it, orders nothing twice.

use berth_core::ids::{Millis, OrderId, WorkloadKey};

use crate::action::Action;
use crate::event::{Event, What};
use crate::loops::pools::Ended;
use crate::ports::{NodeProvider, OrderState};
use crate::record::{Record, Reservation};
use crate::state::State;

/// How often an expired order is cancelled before it is given up although the provider says that it is pending.
const CANCELS: u32 = 10;

/// What to do about one live order now; how orders ended is left to [`crate::loops::pools`].
pub fn step(state: &State, provider: &dyn NodeProvider, now: Millis) -> Vec<Action> {
    let mut actions = Vec::new();
    for (id, key) in &state.orders {
        let Some((record, one)) = find(state, id, key) else { continue };
        let known = provider.order_state(id);
        let wanted = wanted(state, key, record, one);
        let sent = state.order_sent.get(id).is_some_and(|at| now.since(*at) < state.settings.resend_ms);
        if wanted && known.is_none() && !sent && now < one.expires_at {
            actions.push(Action::Order { order: one.order.clone(), workload: key.clone() });
            if !state.order_sent.contains_key(id) {
                actions.push(Action::Emit(ordered(key, one, now)));
            }
        } else if (!wanted || now >= one.expires_at) && known == Some(OrderState::Pending) && !sent {
            actions.push(Action::Cancel(id.clone()));
        }
    }
    actions
}

/// Why a live order is over although it did not end by itself.
pub(crate) fn given_up(
    state: &State,
    key: &WorkloadKey,
    record: &Record,
    one: &Reservation,
    known: Option<&OrderState>,
    now: Millis,
) -> Option<Ended> {
    let open = known == Some(&OrderState::Pending);
    if now >= one.expires_at {
        // It is held until the provider has cancelled it, or its nodes would come for nobody; but not for ever. Counted are
        // requests, since a clock may jump.
        let asked = state.cancels.get(&one.order.id).copied().unwrap_or(0);
        return (!open || asked >= CANCELS).then_some(Ended::Expired);
    }
    (!wanted(state, key, record, one) && !open).then_some(Ended::Unwanted)
}

pub(crate) fn find<'a>(state: &'a State, id: &OrderId, key: &WorkloadKey) -> Option<(&'a Record, &'a Reservation)> {
    let record = state.record(key)?;
    Some((record, record.reservations.iter().find(|one| one.order.id == *id)?))
}

/// Whether the workload still has replicas that may need the nodes.
fn wanted(state: &State, key: &WorkloadKey, record: &Record, one: &Reservation) -> bool {
    let exists = state.workloads.get(key).is_some_and(|workload| workload.exists);
    exists && record.finished.is_none() && record.wants(&one.order)
}

fn ordered(key: &WorkloadKey, one: &Reservation, now: Millis) -> Event {
    let order = &one.order;
    let what = What::NodesOrdered {
        order: order.id.clone(),
        cluster: order.cluster.clone(),
        pool: order.pool.clone(),
        offering: order.offering.clone(),
        nodes: order.nodes,
        workload: key.clone(),
    };
    Event { at: now, what }
}
