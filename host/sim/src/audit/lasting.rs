//! Things that may be wrong for a moment, and must not stay so.

use std::collections::BTreeMap;

use berth_core::ids::Millis;

use super::breach::{Breach, Found, Invariant};

/// Looks over which something must last besides its time: a jump of the clock alone proves nothing.
const LOOKS: u32 = 4;

/// The time by the controller's clock, which may be set, and by that of the world.
#[derive(Clone, Copy, Debug, Default)]
struct Now {
    clock: Millis,
    world: Millis,
}

#[derive(Debug)]
struct Since {
    at: Now,
    looks: u32,
    told: bool,
    seen: bool,
}

/// What is wrong now, and since when.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    now: Now,
    since: BTreeMap<(Invariant, String), Since>,
}

impl Lasting {
    /// Begins a look.
    pub(super) fn begin(&mut self, clock: Millis, world: Millis) {
        self.now = Now { clock, world };
        self.since.values_mut().for_each(|since| since.seen = false);
    }

    /// Notes that something is wrong now. It is told once when it was at every look for longer than
    /// `grace` milliseconds by both clocks.
    pub(super) fn note(
        &mut self,
        invariant: Invariant,
        about: impl std::fmt::Display,
        grace: u64,
        found: &mut Found,
        what: impl FnOnce() -> String,
    ) {
        let (about, now) = (about.to_string(), self.now);
        let fresh = || Since { at: now, looks: 0, told: false, seen: false };
        let since = self.since.entry((invariant, about.clone())).or_insert_with(fresh);
        if now.clock < since.at.clock {
            *since = fresh();
        }
        let lasts = now.clock.since(since.at.clock).min(now.world.since(since.at.world));
        since.seen = true;
        since.looks = since.looks.saturating_add(1);
        if !since.told && since.looks > LOOKS && lasts > grace {
            since.told = true;
            let what = format!("{}, for {} s", what(), lasts / 1000);
            found.0.push(Breach { invariant, about, what });
        }
    }

    /// Counts anew what a process counts anew when it starts.
    pub(super) fn forget(&mut self, invariant: Invariant) {
        self.since.retain(|(known, _), _| *known != invariant);
    }

    /// Ends a look: what was not noted is over.
    pub(super) fn end(&mut self) {
        self.since.retain(|_, since| since.seen);
    }
}
