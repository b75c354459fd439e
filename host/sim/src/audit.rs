//! The independent check of everything that always holds, run after every step of a simulation.
//!
//! It reads what the store has as plain JSON, asks the simulated world what is true, and was told what users were promised;
//! it shares no code with what it checks: neither with the planner, its room, feasibility, quotas and checks, nor with the
//! controller's state, records and loops. What it knows of a form it reads with structs of its own.
//!
//! ```text
//! let mut auditor = Auditor::new(&settings);
//! controller.apply(objects, now)?;   objects.iter().for_each(|object| auditor.accepted(object));
//! controller.step(&mut world)?;      let breaches = auditor.look(&Sight { store, simulation, events, now });
//! simulation.advance(to);
//! ```
//!
//! A look belongs right after each apply, delete, scale and step, before the world moves on: then the world shows what the
//! controller saw when it decided, and a plan is judged by what could be known. So nothing is held against a plan that
//! became untrue later: what a plan must not do is make it new or worse.

mod accepted;
mod applied;
mod breach;
mod decision;
mod digest;
mod fleet;
mod history;
mod lasting;
mod nodes;
mod numbers;
mod orders;
mod pack;
mod plans;
mod record;
mod room;
mod store;
mod waiting;
mod work;

use berth_api::Object;
use berth_control::Settings;
use berth_control::event::Event;
use berth_control::ports::{ObjectKey, Store, StoreError};
use berth_core::ids::{Millis, WorkloadKey};

pub use breach::{Breach, Invariant};

use crate::simulation::Simulation;
use accepted::Accepted;
use applied::Applied;
use breach::Found;
use digest::Running;
use history::History;
use lasting::Lasting;
use nodes::Nodes;
use orders::Orders;
use plans::Plans;
use room::Arrived;
use store::Mirror;
use waiting::Waiting;

/// What one look sees.
pub struct Sight<'a> {
    /// The store behind all faults: what would be found after a restart.
    pub store: &'a dyn Store,
    pub simulation: &'a Simulation,
    /// What was told since the last look, in order.
    pub events: &'a [Event],
    /// The controller's clock.
    pub now: Millis,
}

impl std::fmt::Debug for Sight<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sight").field("now", &self.now).field("events", &self.events).finish_non_exhaustive()
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Auditor {
    settings: Settings,
    mirror: Mirror,
    history: History,
    plans: Plans,
    accepted: Accepted,
    applied: Applied,
    arrived: Arrived,
    orders: Orders,
    waiting: Waiting,
    nodes: Nodes,
    lasting: Lasting,
    digest: Running,
}

impl Auditor {
    /// For a controller with these settings, on an empty store.
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), ..Self::default() }
    }

    /// The controller acknowledged that it wrote this object.
    pub fn accepted(&mut self, object: &Object) {
        self.accepted.accept(object);
    }

    /// The controller acknowledged that it deleted this object.
    pub fn deleted(&mut self, key: &ObjectKey) {
        self.accepted.delete(key);
    }

    /// The controller acknowledged that it set the replicas of a workload.
    pub fn scaled(&mut self, workload: &WorkloadKey, replicas: u32) {
        self.accepted.scale(workload, replicas);
    }

    /// The controller was started anew on the same store: everything that was accepted is compared at the next look.
    pub fn restarted(&mut self) {
        self.accepted.recheck();
        self.arrived.forget();
        // How often an expired order was cancelled is known to no new process.
        self.lasting.forget(Invariant::ReservationLeaked);
    }

    /// A digest of all that was written up to the last look, in hexadecimal. Two runs from the same seed have the same.
    pub fn digest(&self) -> String {
        self.digest.hex()
    }

    /// Whether another run from the same store, clock, seed and policies went the same way, by its digest.
    pub fn same_as(&self, other: &str) -> Option<Breach> {
        let own = self.digest();
        (own != other).then(|| Breach {
            invariant: Invariant::PlansDiffer,
            about: "the whole run".to_owned(),
            what: format!("its digest is {own}, and that of another run {other}"),
        })
    }

    /// Everything that is not as it should be. Something that stays wrong is told once.
    pub fn look(&mut self, sight: &Sight<'_>) -> Vec<Breach> {
        let mut found = Found::default();
        if let Err(error) = self.try_look(sight, &mut found) {
            found.add(Invariant::Unreadable, "store", error.to_string());
        }
        found.0
    }

    fn try_look(&mut self, sight: &Sight<'_>, found: &mut Found) -> Result<(), StoreError> {
        self.lasting.begin(sight.now, sight.simulation.now());
        let news = self.mirror.read(sight.store, found)?;
        if !news.stored.is_empty() {
            let entries = self.history.read(sight.store, found)?;
            self.digest.read(&news.stored, &entries);
            let plans = self.plans.read(&entries, found);
            self.plans.check_changes(&news.placements, |key| self.mirror.works.contains_key(key), &plans, found);
            self.plans.check_head(self.mirror.head, found);
        }
        self.arrived.take(&self.mirror, sight);
        room::check(&self.mirror, &news.placements, &self.arrived, sight, found);
        numbers::check(&self.mirror, &news.placements, found);
        self.applied.take(&news.placements);
        let resend = self.settings.resend_ms;
        self.applied.check(&self.mirror, sight, resend, &mut self.lasting, found);
        self.accepted.check(sight.store, &news.stored, found)?;
        self.orders.take(&news.placements, found);
        self.orders.check(&self.mirror, sight, &mut self.lasting, found);
        self.waiting.hear(sight.events);
        self.waiting.check(&self.mirror, &news.placements, &mut self.lasting, found);
        if self.nodes.check(&self.mirror, sight, &self.settings, found) {
            self.orders.count(sight, found);
        }
        self.lasting.end();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
