//! One policy's session: its tables kept up to date row by row, its calls limited and counted.
//!
//! Holds: a session that failed is never called again; the next call starts a new one from the tables as they are then.

use std::sync::Arc;
use std::time::Instant;

use berth_core::policy::{Problem, Tables};
use wasmtime::{Error, Store};

use crate::engine::{Guest, Runtime, failure};
use crate::load::Loaded;
use crate::stats::Failure;
use crate::version::Session;

/// The most rows that are sent as an update, as a share of all; beyond it a new session costs less.
const UPDATE_SHARE: usize = 4;

/// One row of the tables, as it is now.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) row: u32,
    pub(crate) name: &'a str,
    pub(crate) provider: &'a str,
    pub(crate) region: &'a str,
    pub(crate) labels: Vec<(&'a str, &'a str)>,
}

/// What changed between two states of the tables.
#[derive(Debug)]
pub(crate) struct Changes<'a> {
    pub(crate) rows: Vec<Row<'a>>,
    pub(crate) resources: &'a [Arc<str>],
}

fn labels_of(tables: &Tables, row: u32) -> &[(u32, Arc<str>, Arc<str>)] {
    let start = tables.labels.partition_point(|(cluster, ..)| *cluster < row);
    let end = tables.labels.partition_point(|(cluster, ..)| *cluster <= row);
    &tables.labels[start..end]
}

/// What to send so that a session with `before` has `after`; `None` where it cannot be sent, or not cheaply.
fn changes<'a>(before: &Tables, after: &'a Tables) -> Option<Changes<'a>> {
    let resources = after.resources.strip_prefix(before.resources.as_slice())?;
    let rows = after.names.len();
    if before.names.len() > rows {
        return None;
    }
    let same = |row: usize| {
        let one = row as u32;
        before.names.get(row) == after.names.get(row)
            && before.providers.get(row) == after.providers.get(row)
            && before.regions.get(row) == after.regions.get(row)
            && labels_of(before, one) == labels_of(after, one)
    };
    let changed: Vec<usize> = (0..rows).filter(|row| !same(*row)).collect();
    if changed.len() > rows / UPDATE_SHARE + 1 {
        return None;
    }
    let row = |row: usize| Row {
        row: row as u32,
        name: &after.names[row],
        provider: after.providers.get(row).map_or("", |provider| provider),
        region: after.regions.get(row).map_or("", |region| region),
        labels: labels_of(after, row as u32).iter().map(|(_, key, value)| (&**key, &**value)).collect(),
    };
    Some(Changes { rows: changed.into_iter().map(row).collect(), resources })
}

/// A call that failed.
#[derive(Clone, Debug)]
pub(crate) struct CallError {
    pub(crate) failure: Failure,
    pub(crate) what: String,
}

/// What a call gives: an error of the call, or the policy's answer, which may be a problem.
pub(crate) type Called<T> = Result<Result<T, Problem>, Error>;

/// A session slot of one policy.
#[derive(Default)]
pub(crate) struct Slot {
    live: Option<(Box<dyn Session>, Arc<Tables>)>,
}

impl Slot {
    /// Calls, with fuel and time for one call, a session with these tables. Returns the answer and the fuel it took.
    pub(crate) fn ask<T>(
        &mut self,
        runtime: &Runtime,
        policy: &Loaded,
        tables: &Arc<Tables>,
        call: impl FnOnce(&mut dyn Session) -> Called<T>,
    ) -> Result<(Result<T, Problem>, u64), CallError> {
        let started = Instant::now();
        let asked = self.call(runtime, policy, tables, call);
        let mut stats = policy.stats();
        stats.called(started.elapsed());
        let (answer, fuel, memory) = asked?;
        stats.answered(fuel, memory);
        Ok((answer, fuel))
    }

    fn call<T>(
        &mut self,
        runtime: &Runtime,
        policy: &Loaded,
        tables: &Arc<Tables>,
        call: impl FnOnce(&mut dyn Session) -> Called<T>,
    ) -> Result<(Result<T, Problem>, u64, usize), CallError> {
        let mut session = self.take(runtime, policy, tables)?;
        let armed = runtime.arm(session.store(), &policy.limits);
        let called = armed.and_then(|()| call(session.as_mut()));
        let store = session.store();
        let answer = called.map_err(|error| call_error(store, &error))?;
        let fuel = policy.limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
        let memory = store.data().memory;
        self.live = Some((session, tables.clone()));
        Ok((answer, fuel, memory))
    }

    /// A session with these tables: the one there is, brought up to date, or a new one.
    fn take(
        &mut self,
        runtime: &Runtime,
        policy: &Loaded,
        tables: &Arc<Tables>,
    ) -> Result<Box<dyn Session>, CallError> {
        match self.live.take() {
            Some((session, seen)) if Arc::ptr_eq(&seen, tables) => Ok(session),
            Some((session, seen)) => match changes(&seen, tables) {
                Some(changes) => update(runtime, policy, session, &changes),
                None => start(runtime, policy, tables),
            },
            None => start(runtime, policy, tables),
        }
    }

    /// Has a session with these tables ready, and asks it nothing.
    pub(crate) fn prepare(
        &mut self,
        runtime: &Runtime,
        policy: &Loaded,
        tables: &Arc<Tables>,
    ) -> Result<(), CallError> {
        let session = self.take(runtime, policy, tables)?;
        self.live = Some((session, tables.clone()));
        Ok(())
    }

    /// Gives the session up.
    pub(crate) fn drop_session(&mut self) {
        self.live = None;
    }
}

fn call_error(store: &Store<Guest>, error: &Error) -> CallError {
    let (failure, what) = failure(store, error);
    CallError { failure, what }
}

fn start(runtime: &Runtime, policy: &Loaded, tables: &Tables) -> Result<Box<dyn Session>, CallError> {
    let mut store = runtime.store(&policy.limits);
    runtime.arm(&mut store, &policy.limits.of_start()).map_err(|error| call_error(&store, &error))?;
    policy.prepared.session(store, tables, &policy.config_text).map_err(|(store, error)| {
        let CallError { failure, what } = call_error(&store, &error);
        CallError { failure, what: format!("no session could be made: {what}") }
    })
}

fn update(
    runtime: &Runtime,
    policy: &Loaded,
    mut session: Box<dyn Session>,
    changes: &Changes<'_>,
) -> Result<Box<dyn Session>, CallError> {
    let armed = runtime.arm(session.store(), &policy.limits.of_start());
    match armed.and_then(|()| session.update(changes)) {
        Ok(()) => Ok(session),
        Err(error) => Err(call_error(session.store(), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(rows: &[(&str, &[(&str, &str)])], resources: &[&str]) -> Tables {
        let labels = rows.iter().zip(0..).flat_map(|((_, labels), row)| {
            labels.iter().map(move |(key, value)| (row, Arc::from(*key), Arc::from(*value)))
        });
        Tables {
            names: rows.iter().map(|(name, _)| Arc::from(*name)).collect(),
            providers: rows.iter().map(|_| Arc::from("p")).collect(),
            regions: rows.iter().map(|_| Arc::from("r")).collect(),
            labels: labels.collect(),
            resources: resources.iter().map(|name| Arc::from(*name)).collect(),
        }
    }

    #[test]
    fn only_rows_that_differ_are_sent() {
        let before = tables(&[("a", &[]), ("b", &[("x", "1")]), ("c", &[]), ("d", &[])], &["cpu"]);
        let after = tables(&[("a", &[]), ("b", &[("x", "2")]), ("c", &[]), ("d", &[]), ("e", &[])], &["cpu", "gpu"]);
        let changes = changes(&before, &after).expect("an update is enough");
        let rows: Vec<(u32, &str)> = changes.rows.iter().map(|row| (row.row, row.name)).collect();
        assert_eq!(rows, [(1, "b"), (4, "e")]);
        assert_eq!(changes.rows[0].labels, [("x", "2")]);
        assert_eq!(changes.resources, [Arc::from("gpu")]);
    }

    #[test]
    fn what_is_too_much_or_no_extension_needs_a_new_session() {
        let before = tables(&[("a", &[]), ("b", &[]), ("c", &[]), ("d", &[])], &["cpu"]);
        assert!(changes(&before, &tables(&[("e", &[]), ("f", &[]), ("g", &[]), ("d", &[])], &["cpu"])).is_none());
        assert!(changes(&before, &tables(&[("a", &[])], &["cpu"])).is_none());
        assert!(changes(&before, &tables(&[("a", &[]), ("b", &[]), ("c", &[]), ("d", &[])], &["gpu"])).is_none());
    }
}
