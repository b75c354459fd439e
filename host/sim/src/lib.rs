//! A simulated world behind the controller's ports: member clusters that bind and start pods, a node provider with stock
//! that runs out, load, faults, and a driver that replays traces through the whole engine.
//!
//! One thread, one seed: no clock but the simulated one, no random source but the seed. Nothing here decides where work
//! runs; a member cluster only binds the pods that it was given to its own nodes.

mod cluster;
pub mod example;
mod faults;
mod fleet;
mod load;
mod manifest;
mod members;
mod node;
mod pods;
mod provider;
mod random;
pub mod report;
mod save;
pub mod series;
mod simulation;

pub use faults::Chances;
pub use fleet::FleetError;
pub use manifest::DURATION_ANNOTATION;
pub use members::SimMembers;
pub use node::Scoring;
pub use provider::{ProviderTotals, SimProvider};
pub use series::{SeriesError, Source};
pub use simulation::{Options, Ports, SimClock, Simulation, SimulationError};
