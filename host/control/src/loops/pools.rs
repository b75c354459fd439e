//! Node pools: how orders end, and what that teaches about stock.
//!
//! An order that failed is taken off its placement in the same batch that marks the offering, so that replicas which lost
//! their future node are placed elsewhere, and nothing orders there before its time.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_api::Object;
use berth_core::fleet::{OfferingKey, Stock};
use berth_core::ids::{Millis, OrderId, WorkloadKey};

use crate::action::Action;
use crate::event::{Event, What};
use crate::loops::reservation::{find, given_up};
use crate::loops::write_record;
use crate::ports::{Batch, Expected, NodeProvider, ObjectKey, OrderFailure, OrderState, Write};
use crate::record::{Record, Reservation};
use crate::settings::doubled;
use crate::state::State;

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All its nodes are there.
    Delivered,
    /// The part of a failed order that came is there.
    Rest,
    /// `delivered` nodes come, and no more.
    Failed { cause: OrderFailure, delivered: u32 },
    /// Not delivered within its time.
    Expired,
    /// Nobody needs it.
    Unwanted,
}

pub fn step(state: &State, provider: &dyn NodeProvider, now: Millis) -> Vec<Action> {
    let mut actions = Vec::new();
    // Each object is written once in a pass: of several orders of one placement the others have their turn in the next,
    // and several lessons about one offering at the same time are one.
    let mut taught = BTreeSet::new();
    let mut concluded = BTreeSet::new();
    for (id, key) in &state.orders {
        let Some((record, one)) = find(state, id, key).filter(|_| !concluded.contains(key)) else { continue };
        let known = provider.order_state(id);
        if let Some(ended) = ended(state, key, record, one, known, now) {
            concluded.insert(key);
            actions.extend(conclude(state, id, key, ended, now, &mut taught));
        }
    }
    actions
}

fn ended(
    state: &State,
    key: &WorkloadKey,
    record: &Record,
    one: &Reservation,
    known: Option<OrderState>,
    now: Millis,
) -> Option<Ended> {
    let arrived = state.arrived.get(&one.order.id).copied().unwrap_or(0);
    match known {
        Some(OrderState::Delivered) if arrived >= one.order.nodes => Some(Ended::Delivered),
        Some(OrderState::Failed { cause, delivered }) if delivered < one.order.nodes => {
            Some(Ended::Failed { cause, delivered })
        }
        Some(OrderState::Failed { .. }) if arrived >= one.order.nodes => Some(Ended::Rest),
        Some(OrderState::Cancelled) if now >= one.expires_at => Some(Ended::Expired),
        Some(OrderState::Cancelled) => Some(Ended::Unwanted),
        known => given_up(state, key, record, one, known.as_ref(), now),
    }
}

fn conclude(
    state: &State,
    id: &OrderId,
    key: &WorkloadKey,
    ended: Ended,
    now: Millis,
    taught: &mut BTreeSet<OfferingKey>,
) -> Vec<Action> {
    let Some((record, revision)) = state.workloads.get(key).and_then(|workload| workload.record.as_ref()) else {
        return Vec::new();
    };
    let mut next = (**record).clone();
    let Some(at) = next.reservations.iter().position(|one| one.order.id == *id) else { return Vec::new() };
    let order = next.reservations[at].order.clone();
    match ended {
        Ended::Failed { delivered, .. } if delivered > 0 => next.reservations[at].order.nodes = delivered,
        _ => drop(next.reservations.remove(at)),
    }
    let mut batch = Batch { writes: vec![write_record(&next, Some(*revision))], history: Vec::new() };
    let mut events = Vec::new();
    let new_lesson = ended != Ended::Unwanted && ended != Ended::Rest && taught.insert(order.offering.clone());
    let (cluster, pool, offering) = (order.cluster.clone(), order.pool.clone(), order.offering.clone());
    match ended {
        Ended::Delivered | Ended::Rest => {
            if ended == Ended::Delivered && new_lesson {
                batch.writes.extend(teach(state, &offering, None, |known| known.after_success()));
            }
            events.push(What::NodesReady { order: order.id, cluster, pool, nodes: order.nodes });
        }
        Ended::Failed { cause, delivered } => {
            batch.writes.extend(failure(state, &offering, cause, now).filter(|_| new_lesson));
            let wanted = order.nodes;
            events.push(What::OrderFailed { order: order.id, cluster, pool, offering, cause, delivered, wanted });
        }
        Ended::Expired => {
            let lesson = failure(state, &offering, OrderFailure::NoStock, now);
            batch.writes.extend(lesson.filter(|_| new_lesson));
            let delivered = state.arrived.get(id).copied().unwrap_or(0);
            let (cause, wanted) = (OrderFailure::NoStock, order.nodes);
            events.push(What::OrderFailed { order: order.id, cluster, pool, offering, cause, delivered, wanted });
        }
        Ended::Unwanted => {}
    }
    let events = events.into_iter().map(|what| Event { at: now, what }).collect();
    vec![Action::Commit { batch, events }]
}

fn failure(state: &State, offering: &OfferingKey, cause: OrderFailure, now: Millis) -> Option<Write> {
    teach(state, offering, Some(cause), |known| {
        let wait = doubled(state.settings.stock_retry_ms, known.failures());
        Some(known.after_failure(cause, now, wait))
    })
}

/// Writes what an order taught into the offering's status.
fn teach(
    state: &State,
    offering: &OfferingKey,
    failure: Option<OrderFailure>,
    lesson: impl FnOnce(&crate::state::KnownOffering) -> Option<Stock>,
) -> Option<Write> {
    let known = state.offerings.get(offering)?;
    let stock = lesson(known)?;
    let object = Object::Offering(known.taught(&stock, failure));
    let key = ObjectKey::from(&object.key());
    Some(Write { key, expected: Expected::At(known.revision), value: Some(Arc::from(object.to_json())) })
}
