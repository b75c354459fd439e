//! The control loops, over ports.
//!
//! A loop is a plain function over the whole state: it takes what is (store contents, observations, time) and returns what
//! to do. The controller carries the actions out one by one. Nothing here assumes a simulation, and nothing here is
//! asynchronous: one thread owns the state, runs all loops and calls the policies.
//!
//! ```text
//! ports -> State (store + observations) -> loops -> actions -> Controller -> store, members, provider, events
//! ```

pub mod action;
pub mod controller;
pub mod event;
pub mod history;
pub mod loops;
pub mod ports;
mod query;
pub mod record;
pub mod settings;
pub mod state;
pub mod store;
#[cfg(test)]
mod tests;
mod time;
pub mod view;

pub use action::Action;
pub use controller::{
    Applied, ApplyOutcome, Controller, OpenError, Refusal, Refused, Settled, StepReport, Stuck, World,
};
pub use settings::Settings;
pub use state::State;
pub use time::rfc3339;
