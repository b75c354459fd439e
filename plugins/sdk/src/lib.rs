//! Policies for Berth in Rust.
//!
//! A policy decides one thing that people differ about: where replicas run ([`Placement`]), which waiting jobs start
//! ([`Gang`]), or what moves away from where it is ([`Migration`]). It is a component without imports: what it knows, it is
//! given with each call, so the same input gives the same answer. Whatever it answers, the host checks against capacity,
//! quota and gang floors.
//!
//! Most placement policies only say which cluster is better. For these one function is enough, see [`scoring!`]:
//!
//! ```
//! berth_sdk::config! {
//!     /// How much clean power is worth.
//!     pub struct Config {
//!         /// USD that one gram of CO2 may cost.
//!         usd_per_gram: f64 = 0.0001,
//!     }
//! }
//!
//! berth_sdk::scoring! {
//!     name: "green",
//!     doc: "Prefers clusters whose power is clean, as far as that is worth its price",
//!     needs: ["carbon"],
//!     config: Config,
//!     score: |config, candidate| {
//!         let carbon = candidate.extra("carbon")?;
//!         Some(-(candidate.price() + config.usd_per_gram * carbon))
//!     },
//! }
//! # fn main() {}
//! ```
//!
//! The crate is built for `wasm32-unknown-unknown` as a `cdylib`. Everything but the exports works on the machine itself
//! too, so a policy is tested with `cargo test`, see [`testing`].

extern crate self as berth_sdk;

mod bindings;
mod config;
mod export;
mod fill;
mod fleet;
#[cfg(target_arch = "wasm32")]
mod memory;
mod policy;
pub mod problem;
mod scoring;
pub mod testing;

pub use bindings::{Changes, ClusterRow, Column, Label, Problem, ProblemCode, Tables};
pub use bindings::{gang, migration, placement};
pub use config::{Config, NoConfig, Setting, from_json};
pub use fill::{fill, term};
pub use fleet::Fleet;
pub use policy::{Gang, Migration, Placement, Policy};
pub use scoring::{Candidate, Score, by_score};

/// Derives for configurations; the macros refer to it by this path.
pub use serde;

/// What the macros expand to; nothing here is for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::config::{object_schema, property};
    pub use crate::export::Exported;
    pub use {berth_world_gang, berth_world_migration, berth_world_placement};
}

/// No row: a job without quota, a quota without parent.
pub const NO_ROW: u32 = u32::MAX;

/// How the distribution policy asks for replicas to be divided: the values of [`placement::Request::division`].
pub mod division {
    /// Every candidate gets all replicas.
    pub const DUPLICATED: u32 = 0;
    /// By static weights.
    pub const STATIC_WEIGHT: u32 = 1;
    /// By the room there is.
    pub const AVAILABLE_REPLICAS: u32 = 2;
    /// To as few clusters as possible.
    pub const AGGREGATED: u32 = 3;
    /// Left to the policy.
    pub const FREE: u32 = 4;
}
