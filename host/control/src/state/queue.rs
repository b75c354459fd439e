//! The queue: workloads that wait for a decision, found by what makes them due, never by a look at all of them.
//!
//! An entry waits until its back-off is over, or until there may be more room than at its last try; then it is ripe, and
//! stands in the order in which workloads are decided. It stays ripe until it is put anew or dropped. What an entry was put
//! with is kept here, so that taking it out needs nothing else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use berth_core::ids::{Millis, WorkloadKey};

/// When a workload is due, and where it stands among those that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) due: Millis,
    /// When it was last tried, and the epoch then.
    pub(crate) tried: Option<(Millis, u64)>,
    pub(crate) priority: i32,
    pub(crate) since: Millis,
    /// Whether a gang policy must see it before it is due.
    pub(crate) gang: bool,
}

/// The order in which workloads are decided: by priority, longest wait, key.
type Rank = (Reverse<i32>, Millis, WorkloadKey);

#[derive(Debug, Default)]
pub(crate) struct Queue {
    places: BTreeMap<WorkloadKey, Place>,
    due: BTreeSet<(Millis, WorkloadKey)>,
    /// Entries that were tried, by the epoch of the try.
    tried: BTreeSet<(u64, Millis, WorkloadKey)>,
    /// Entries that were tried before the present epoch, by the time of the try.
    hopeful: BTreeSet<(Millis, WorkloadKey)>,
    ripe: BTreeSet<Rank>,
    ripe_gangs: usize,
    /// Gangs that are not ripe.
    gangs: BTreeSet<WorkloadKey>,
}

fn rank(key: &WorkloadKey, place: &Place) -> Rank {
    (Reverse(place.priority), place.since, key.clone())
}

impl Queue {
    /// Puts a workload into the queue, or puts it elsewhere.
    pub(crate) fn put(&mut self, key: &WorkloadKey, place: Place) {
        self.drop(key);
        self.due.insert((place.due, key.clone()));
        if let Some((at, epoch)) = place.tried {
            self.tried.insert((epoch, at, key.clone()));
        }
        if place.gang {
            self.gangs.insert(key.clone());
        }
        self.places.insert(key.clone(), place);
    }

    pub(crate) fn drop(&mut self, key: &WorkloadKey) {
        let Some(place) = self.places.remove(key) else { return };
        if self.ripe.remove(&rank(key, &place)) {
            self.ripe_gangs -= usize::from(place.gang);
            return;
        }
        self.unlist(key, &place);
    }

    /// Takes an entry that is not ripe off every list.
    fn unlist(&mut self, key: &WorkloadKey, place: &Place) {
        self.due.remove(&(place.due, key.clone()));
        if let Some((at, epoch)) = place.tried
            && !self.tried.remove(&(epoch, at, key.clone()))
        {
            self.hopeful.remove(&(at, key.clone()));
        }
        self.gangs.remove(key);
    }

    /// Finds what became ripe. `epoch`: grows when there may be more room; `wait`: from a try until more room counts.
    pub(crate) fn ripen(&mut self, now: Millis, epoch: u64, wait: u64) {
        while self.tried.first().is_some_and(|(tried, ..)| *tried < epoch) {
            self.hopeful.extend(self.tried.pop_first().map(|(_, at, key)| (at, key)));
        }
        while let Some((_, key)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.make_ripe(&key);
        }
        while let Some((_, key)) = self.hopeful.first().filter(|(at, _)| now.since(*at) >= wait).cloned() {
            self.make_ripe(&key);
        }
    }

    fn make_ripe(&mut self, key: &WorkloadKey) {
        let Some(place) = self.places.get(key).copied() else { return };
        self.unlist(key, &place);
        self.ripe.insert(rank(key, &place));
        self.ripe_gangs += usize::from(place.gang);
    }

    /// Those that are ripe, in the order in which they are decided. A gang policy must see the head of its queue, or others
    /// would be let past it: with a gang among them come those that are not ripe, too. With each stands whether it is ripe.
    pub(crate) fn ripe(&self) -> impl Iterator<Item = (WorkloadKey, bool)> + '_ {
        let mut early: Vec<Rank> = Vec::new();
        if self.ripe_gangs > 0 {
            early.extend(self.gangs.iter().filter_map(|key| Some(rank(key, self.places.get(key)?))));
            early.sort();
        }
        let (mut early, mut ripe) = (early.into_iter().peekable(), self.ripe.iter().peekable());
        std::iter::from_fn(move || {
            let first = match (early.peek(), ripe.peek()) {
                (Some(one), Some(other)) => one < *other,
                (one, _) => one.is_some(),
            };
            let next = if first { early.next() } else { ripe.next().cloned() };
            next.map(|(_, _, key)| (key, !first))
        })
    }

    /// When time alone makes an entry ripe, as far as [`Queue::ripen`] has seen; the past where one is.
    pub(crate) fn next(&self, wait: u64) -> Option<Millis> {
        if !self.ripe.is_empty() {
            return Some(Millis(0));
        }
        let due = self.due.first().map(|(at, _)| *at);
        let hopeful = self.hopeful.first().map(|(at, _)| at.plus(wait));
        due.into_iter().chain(hopeful).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> WorkloadKey {
        WorkloadKey::new("apps/v1/Deployment", "default", name)
    }

    fn place(due: u64, tried: Option<(u64, u64)>, priority: i32, gang: bool) -> Place {
        Place {
            due: Millis(due),
            tried: tried.map(|(at, epoch)| (Millis(at), epoch)),
            priority,
            since: Millis(0),
            gang,
        }
    }

    fn ripe(queue: &Queue) -> Vec<String> {
        queue.ripe().map(|(key, _)| key.name.to_string()).collect()
    }

    #[test]
    fn what_is_due_is_ripe_in_the_order_of_decisions() {
        let mut queue = Queue::default();
        queue.put(&key("b"), place(10, None, 0, false));
        queue.put(&key("a"), place(10, None, 0, false));
        queue.put(&key("high"), place(20, None, 5, false));
        queue.ripen(Millis(10), 0, 100);
        assert_eq!(ripe(&queue), ["a", "b"]);
        queue.ripen(Millis(20), 0, 100);
        assert_eq!(ripe(&queue), ["high", "a", "b"]);
        queue.drop(&key("a"));
        queue.put(&key("b"), place(50, None, 0, false));
        assert_eq!(ripe(&queue), ["high"]);
        assert_eq!(queue.next(100), Some(Millis(0)));
        queue.drop(&key("high"));
        assert_eq!(queue.next(100), Some(Millis(50)));
    }

    #[test]
    fn more_room_makes_ripe_early_but_not_at_once() {
        let mut queue = Queue::default();
        queue.put(&key("old"), place(1000, Some((10, 1)), 0, false));
        queue.put(&key("new"), place(1000, Some((50, 2)), 0, false));
        queue.ripen(Millis(60), 2, 100);
        assert_eq!((ripe(&queue).len(), queue.next(100)), (0, Some(Millis(110))));
        queue.ripen(Millis(110), 2, 100);
        assert_eq!(ripe(&queue), ["old"]);
        queue.put(&key("old"), place(2000, Some((110, 2)), 0, false));
        queue.ripen(Millis(120), 3, 100);
        queue.ripen(Millis(209), 3, 100);
        assert_eq!(ripe(&queue), ["new"]);
    }

    #[test]
    fn gangs_come_with_the_first_that_is_ripe() {
        let mut queue = Queue::default();
        queue.put(&key("first"), place(500, None, 9, true));
        queue.put(&key("plain"), place(0, None, 5, false));
        queue.ripen(Millis(1), 0, 100);
        assert_eq!(ripe(&queue), ["plain"]);
        queue.put(&key("second"), place(1, None, 0, true));
        queue.ripen(Millis(1), 0, 100);
        assert_eq!(ripe(&queue), ["first", "plain", "second"]);
    }
}
