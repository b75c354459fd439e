//! The loops: each a plain step that reads the state and says what to do. None of them changes anything itself.

pub mod distribution;
pub mod intake;
pub mod migration;
pub mod observation;
pub mod pools;
pub mod reservation;
pub mod scaledown;
pub mod scheduling;
pub mod status;

use std::sync::Arc;

use crate::action::Action;
use crate::event::Event;
use crate::ports::{Batch, Expected, Revision, Write};
use crate::record::Record;

/// Writes a record in place of the one of `revision`.
pub(crate) fn write_record(record: &Record, revision: Option<Revision>) -> Write {
    let expected = revision.map_or(Expected::Absent, Expected::At);
    Write { key: record.key(), expected, value: Some(Arc::from(record.to_json())) }
}

/// Commits one record alone.
pub(crate) fn commit_record(record: &Record, revision: Revision, events: Vec<Event>) -> Action {
    let batch = Batch { writes: vec![write_record(record, Some(revision))], history: Vec::new() };
    Action::Commit { batch, events }
}
