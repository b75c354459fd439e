//! Berth's resources in Kubernetes form, and what they mean in the planner's terms.
//!
//! ```text
//! text -> load -> Object -> to_core -> berth_core definitions
//!                   |-> interpret   replicas, requests and health of workload kinds
//!                   |-> overrides   the manifest as one member cluster gets it
//! ```
//!
//! Everything here is a plain function over values: no client, no clock, no I/O. Input that is not valid is refused whole,
//! with every fault named at once: file, line, object, field and mend.

pub mod duration;
pub mod fleet_file;
pub mod foreign;
pub mod interpret;
pub mod issue;
pub mod load;
pub mod meta;
pub mod object;
pub mod overrides;
pub mod quantity;
pub mod resources;
pub mod schema;
pub mod select;
pub mod to_core;
mod validate;
pub mod yaml;

pub use issue::{Issue, LoadError};
pub use load::{Loaded, load};
pub use object::{Manifest, Object};

/// Group and version of Berth's own resources.
pub const API_VERSION: &str = "berth.dev/v1alpha1";
