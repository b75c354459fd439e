//! A simulated world behind the controller's ports: member clusters that bind and start pods, a node provider with stock
//! that runs out, load, faults, and a driver that replays traces through the whole engine.
//!
//! One thread, one seed: no clock but the simulated one, no random source but the seed. Nothing here decides where work
//! runs; a member cluster only binds the pods that it was given to its own nodes.

pub mod alibaba;
pub mod audit;
mod cluster;
mod drive;
pub mod example;
mod faults;
mod fleet;
mod gather;
mod journal;
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
mod simulate;
mod simulation;
pub mod soak;
mod table;

pub use drive::{DriveError, Driver, Pass};
pub use faults::Chances;
pub use fleet::{FleetError, check_fleet};
pub use manifest::DURATION_ANNOTATION;
pub use members::SimMembers;
pub use node::Scoring;
pub use provider::{ProviderTotals, SimProvider};
pub use simulate::{FleetOptions, Progress, SimulateError, TraceOptions, simulate_fleet, simulate_trace};
pub use simulation::{Options, Ports, SimClock, Simulation, SimulationError};
pub use table::{SeriesError, Source};
