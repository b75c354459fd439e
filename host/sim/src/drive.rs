//! The driver: a controller and a simulated world, step by step, in one thread.
//!
//! [`Driver::pass`] lets everything happen that is due now and says when something is due next. Whoever calls it decides
//! how time passes until then: at once, or by the wall clock.

use std::time::Duration;

use berth_control::ports::{Events, StoreError};
use berth_control::{Controller, Refused, World};
use berth_core::ids::{Millis, WorkloadKey};
use berth_core::policy::Policies;

use crate::simulation::Simulation;

/// Steps at one instant after which time moves on although there is more to do: so many that only loops which never agree
/// reach it.
const MOST_STEPS: u64 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    #[error("the controller cannot go on")]
    Store(#[from] StoreError),
    #[error("replicas of {workload} cannot be set to {replicas}: {reason}")]
    Scale { workload: WorkloadKey, replicas: u32, reason: String },
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    pub steps: u64,
    pub actions: u64,
    pub decisions: u64,
    /// Time spent in policies, by the wall clock.
    pub policy_time: Duration,
    /// When something is due next: after now. `None` if nothing will happen by itself.
    pub next: Option<Millis>,
    /// When something is due next for the controller alone. `None` if nothing is left for it to do.
    pub wake: Option<Millis>,
}

impl Pass {
    pub(crate) fn add(&mut self, other: &Pass) {
        self.steps += other.steps;
        self.actions += other.actions;
        self.decisions += other.decisions;
        self.policy_time += other.policy_time;
        self.next = other.next;
        self.wake = other.wake;
    }
}

/// A controller, and the world that it steers.
pub struct Driver<'a> {
    pub controller: &'a mut Controller,
    pub simulation: &'a mut Simulation,
    pub policies: &'a mut dyn Policies,
    pub events: &'a mut dyn Events,
}

impl std::fmt::Debug for Driver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("simulation", &self.simulation).finish_non_exhaustive()
    }
}

impl Driver<'_> {
    /// Lets everything happen that is due now: load, then the control loops and the world in turn until neither has more
    /// to do.
    ///
    /// [`Driver::scale`] is part of it; call that first to learn what load sets.
    ///
    /// # Errors
    /// The store cannot be written, or is damaged; the program must stop then.
    pub fn pass(&mut self) -> Result<Pass, DriveError> {
        let now = self.simulation.now();
        let mut pass = Pass::default();
        self.scale()?;
        while pass.steps < MOST_STEPS {
            let ports = self.simulation.ports();
            let report = self.controller.step(&mut World {
                members: ports.members,
                provider: ports.provider,
                clock: ports.clock,
                events: &mut *self.events,
                policies: &mut *self.policies,
            })?;
            pass.steps += 1;
            pass.actions += report.actions as u64;
            pass.decisions += report.decisions as u64;
            pass.policy_time += report.policy_time;
            pass.wake = report.next_wake;
            let more = self.simulation.next_event().is_some_and(|at| at <= now);
            self.simulation.advance(now);
            if report.actions == 0 && !more {
                break;
            }
        }
        let next = [pass.wake, self.simulation.next_event()].into_iter().flatten().min();
        pass.next = next.map(|at| at.max(now.plus(1)));
        Ok(pass)
    }

    /// Lets time pass to `to` in the world alone; the loops see what happened at the next pass.
    pub fn advance(&mut self, to: Millis) {
        self.simulation.advance(to);
    }

    /// Passes until `end`, or until nothing will happen by itself.
    ///
    /// # Errors
    /// As [`Driver::pass`].
    pub fn run_until(&mut self, end: Millis) -> Result<Pass, DriveError> {
        let mut all = Pass::default();
        loop {
            all.add(&self.pass()?);
            match all.next.filter(|next| *next <= end) {
                Some(next) => self.simulation.advance(next),
                None => return Ok(all),
            }
        }
    }

    /// Sets the replicas that load series ask for now, and says which. Load for a workload that is not there is no fault: it
    /// was deleted.
    ///
    /// # Errors
    /// The workload's replicas cannot be set by one number, or the store cannot be written.
    pub fn scale(&mut self) -> Result<Vec<(WorkloadKey, u32)>, DriveError> {
        let now = self.simulation.now();
        let mut scaled = self.simulation.load();
        scaled.retain(|(workload, _)| self.controller.state().workload(workload).is_some_and(|known| known.exists));
        for (workload, replicas) in &scaled {
            let (workload, replicas) = (workload.clone(), *replicas);
            self.controller.scale(&workload, replicas, now).map_err(|refused| match refused {
                Refused::Store(error) => DriveError::Store(error),
                refused => DriveError::Scale { workload, replicas, reason: refused.to_string() },
            })?;
        }
        Ok(scaled)
    }
}
