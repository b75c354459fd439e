//! Stores: where objects and history live.
//!
//! [`EmbeddedStore`] keeps them in one file on disk, [`MemoryStore`] in memory; one suite of tests holds both to the same
//! meaning. A batch is written whole or not at all, and every value is read back through a checksum, so that nothing that
//! was damaged is ever served. Nothing here knows what the objects mean.

mod embedded;
mod memory;
mod seal;
#[cfg(test)]
mod tests;
mod witness;

pub use embedded::EmbeddedStore;
pub use memory::MemoryStore;

use crate::ports::{Expected, ObjectKey, Revision, StoreError};

/// History entries that a store keeps unless told otherwise; the oldest go first.
pub const HISTORY_KEPT: usize = 50_000;

/// Whether an object last written at `found` (`None`: absent) is what a write expects.
fn check(key: &ObjectKey, expected: Expected, found: Option<Revision>) -> Result<(), StoreError> {
    let holds = match expected {
        Expected::Absent => found.is_none(),
        Expected::At(revision) => found == Some(revision),
        Expected::Anything => true,
    };
    if holds { Ok(()) } else { Err(StoreError::Conflict { key: key.clone(), expected, found }) }
}
