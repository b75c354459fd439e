//! What is stored, decoded. Owns no state: what comes out follows from an object's bytes and, for manifests, from the
//! policies there are, so that many objects are decoded on all cores at once. In which order they are taken in does not
//! depend on it.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use berth_api::interpret::{Interpreted, Kind};
use berth_api::to_core::{self, PolicySet, PriorityClasses};
use berth_api::{Manifest, Object};
use berth_core::ids::Millis;
use berth_core::reason::Reason;
use berth_core::workload::{Component, Workload};

use super::objects::Head;
use super::workloads::no_policy;
use super::{Kept, State, is_head};
use crate::ports::{Revision, Stored};
use crate::record::{PLACEMENT_KIND, Record};
use crate::time::from_rfc3339;

/// Objects from which on it is worth while to start threads.
const MANY: usize = 1_024;
/// Objects that a thread decodes at a time.
const CHUNK: usize = 128;
/// Chunks that a thread may be ahead of what is taken in: they bound what is decoded and waits.
const AHEAD: usize = 2;
/// Taking in is done by one thread; more than these would wait for it.
const MOST_THREADS: usize = 8;

/// A stored object as the state takes it in.
#[derive(Debug)]
pub(super) enum Decoded {
    Gone,
    Head(Head),
    Record(Record),
    /// Of Berth's own kinds, but placements.
    Own(Box<Object>),
    Manifest(Asked),
}

/// What the state has to know of a manifest.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) created: Millis,
    /// Whether it is of a kind that holds nothing and need not be placed.
    pub(super) plain: bool,
    pub(super) workload: Result<Workload, Reason>,
    /// Its components, where it is not distributed.
    pub(super) unmatched: Vec<Component>,
    /// The manifest itself, of a priority class.
    pub(super) class: Option<Manifest>,
}

/// What workloads are matched with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matching<'a> {
    policies: &'a PolicySet,
    revisions: &'a BTreeMap<(Arc<str>, Arc<str>), Revision>,
    classes: &'a PriorityClasses,
}

impl State {
    pub(super) fn matching(&self) -> Matching<'_> {
        Matching { policies: &self.policies, revisions: &self.policy_revisions, classes: &self.classes }
    }

    /// Decodes objects and takes them in, in their order. Policies and classes among them count for those that follow only
    /// once all are taken in, or not at all where there are many.
    pub(super) fn take_all(&mut self, changes: &[&Stored], now: Millis) {
        let threads = match changes.len() {
            MANY.. => thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS),
            _ => 1,
        };
        if threads == 1 {
            for stored in changes {
                let decoded = decode(stored, &self.matching());
                self.take_or_put_aside(stored, decoded, now);
            }
            return;
        }
        let (policies, revisions) = (self.policies.clone(), self.policy_revisions.clone());
        let classes = self.classes.clone();
        let matching = Matching { policies: &policies, revisions: &revisions, classes: &classes };
        in_order(
            threads,
            changes,
            |stored| decode(stored, &matching),
            |stored, decoded| {
                self.take_or_put_aside(stored, decoded, now);
            },
        );
    }

    fn take_or_put_aside(&mut self, stored: &Stored, decoded: Result<Decoded, String>, now: Millis) {
        self.broken.remove(&stored.key);
        match decoded {
            Ok(decoded) => self.take(stored, decoded, now),
            Err(why) => drop(self.broken.insert(stored.key.clone(), why)),
        }
        self.revision = self.revision.max(stored.revision);
    }
}

/// Makes something of each item on several threads, and gives it to `take` on this one, in the order of the items.
fn in_order<T: Sync, R: Send>(threads: usize, items: &[T], make: impl Fn(&T) -> R + Sync, mut take: impl FnMut(&T, R)) {
    let make = &make;
    let chunk = |items: &[T]| -> Vec<R> { items.iter().map(make).collect() };
    thread::scope(|scope| {
        let start = |thread: usize| -> Option<Receiver<Vec<R>>> {
            let (sender, receiver) = sync_channel(AHEAD);
            let work = move || {
                for items in items.chunks(CHUNK).skip(thread).step_by(threads) {
                    if sender.send(chunk(items)).is_err() {
                        return;
                    }
                }
            };
            thread::Builder::new().spawn_scoped(scope, work).ok().map(|_| receiver)
        };
        let receivers: Vec<Option<Receiver<Vec<R>>>> = (0..threads).map(start).collect();
        for (items, receiver) in items.chunks(CHUNK).zip(receivers.iter().cycle()) {
            // Where a thread could not be started, its part is done here. One that panicked ends the scope with its panic.
            let made = match receiver {
                Some(receiver) => receiver.recv().unwrap_or_default(),
                None => chunk(items),
            };
            items.iter().zip(made).for_each(|(item, made)| take(item, made));
        }
    });
}

fn decode(stored: &Stored, matching: &Matching<'_>) -> Result<Decoded, String> {
    let Some(bytes) = &stored.value else { return Ok(Decoded::Gone) };
    let text = |error: serde_json::Error| error.to_string();
    if is_head(&stored.key) {
        return serde_json::from_slice(bytes).map(Decoded::Head).map_err(text);
    }
    if &*stored.key.kind == PLACEMENT_KIND {
        return Record::from_json(bytes).map(Decoded::Record).map_err(text);
    }
    let parsed = Object::read_json(bytes).map_err(text)?;
    Ok(match parsed.object {
        Object::Manifest(manifest) => {
            Decoded::Manifest(asked(manifest, &parsed.asked.unwrap_or_default(), stored.revision, matching))
        }
        own => Decoded::Own(Box::new(own)),
    })
}

/// A workload's manifest as stored, read again; `None` where it is of another kind.
pub(super) fn reread(kept: &Kept, matching: &Matching<'_>) -> Result<Option<Asked>, String> {
    let parsed = Object::read_json(&kept.bytes).map_err(|error| error.to_string())?;
    let Object::Manifest(manifest) = parsed.object else { return Ok(None) };
    Ok(Some(asked(manifest, &parsed.asked.unwrap_or_default(), kept.revision, matching)))
}

fn asked(manifest: Manifest, asks: &Interpreted, revision: Revision, matching: &Matching<'_>) -> Asked {
    let created = manifest.value().pointer("/metadata/creationTimestamp").and_then(|text| text.as_str());
    let created = created.and_then(from_rfc3339).unwrap_or_default();
    let plain = manifest.interpreted_as() == Kind::Plain;
    let workload = matched(&manifest, asks, revision, matching);
    let unmatched = if workload.is_err() { asks.components.clone() } else { Vec::new() };
    let class = PriorityClasses::is_class(&manifest).then_some(manifest);
    Asked { created, plain, workload, unmatched, class }
}

fn matched(
    manifest: &Manifest,
    asks: &Interpreted,
    revision: Revision,
    matching: &Matching<'_>,
) -> Result<Workload, Reason> {
    let matched = matching.policies.matching(manifest).ok_or_else(no_policy)?;
    let metadata = &matched.policy.metadata;
    let place = (metadata.namespace.as_str().into(), metadata.name.as_str().into());
    let policy = matching.revisions.get(&place).copied().unwrap_or_default();
    to_core::workload(manifest, asks, matched, matching.classes, revision.max(policy).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_make_is_taken_in_the_order_of_the_items() {
        for count in [0, 1, CHUNK, 10 * CHUNK + 1] {
            let items: Vec<usize> = (0..count).collect();
            let mut taken = Vec::new();
            in_order(3, &items, |item| item * 2, |item, made| taken.push((*item, made)));
            assert_eq!(taken, items.iter().map(|item| (*item, item * 2)).collect::<Vec<_>>());
        }
    }
}
