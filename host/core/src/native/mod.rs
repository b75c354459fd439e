//! The built-in policies as plain functions: the fallback where a policy fails, and the yardstick for those in Wasm.
//!
//! The built-in Wasm policies are these same functions behind the policy interface, so nothing here may need more than the
//! types of [`crate::policy`]. All are pure: the same input gives the same answer, bit for bit. Whatever they answer is
//! checked afterwards, so nothing here is trusted.

mod aggregate;
mod available;
mod builtin;
pub mod cases;
mod cost;
mod divide;
mod fifo;
mod ready;
mod room;
mod select;
#[cfg(test)]
mod tests;
mod weighted;

pub use aggregate::{CONFIG_SCHEMA as AGGREGATE_SCHEMA, aggregate};
pub use available::{CONFIG_SCHEMA as AVAILABLE_SCHEMA, available};
pub use builtin::{Builtin, NO_POLICY, for_division, place, policy_ref};
pub use cost::{CONFIG_SCHEMA as COST_SCHEMA, CostConfig, NEEDS as COST_NEEDS, cost};
pub use divide::webster;
pub use fifo::{CONFIG_SCHEMA as FIFO_SCHEMA, FifoConfig, fifo};
pub use ready::{CONFIG_SCHEMA as READY_SCHEMA, ReadyConfig, ready};
pub use weighted::{CONFIG_SCHEMA as WEIGHTED_SCHEMA, weighted};
