//! What the built-in policies share: the algorithms that the host also has natively, behind the policy interface.
//!
//! Columns are moved, not copied; only names are, since the host shares them and a guest owns them. Nothing is decided
//! here, so that the native algorithm and the component cannot differ.

mod convert;

use std::fmt;

use berth_core::policy as core;
use berth_sdk::{Config, Fleet, Gang, Migration, Placement, Policy, Problem, from_json};
use berth_sdk::{gang, migration, placement};
use serde::de::DeserializeOwned;

/// An algorithm with a name and a configuration.
pub trait Algorithm: 'static {
    const NAME: &'static str;
    const DOC: &'static str;
    const NEEDS: &'static [&'static str] = &[];
    /// JSON Schema of the configuration; empty where there is none.
    const SCHEMA: &'static str;
    type Config: DeserializeOwned;
}

/// A placement algorithm.
pub trait Places: Algorithm {
    /// # Errors
    /// A reason for the workload to wait.
    fn place(
        config: &Self::Config,
        request: &core::Request,
        candidates: &core::Candidates,
    ) -> Result<core::Decision, core::Problem>;
}

/// A gang algorithm.
pub trait Admits: Algorithm {
    /// # Errors
    /// A reason for all jobs to wait.
    fn admit(config: &Self::Config, tables: &core::Tables, queue: &core::Queue)
    -> Result<core::Verdict, core::Problem>;
}

/// A migration algorithm.
pub trait Moves: Algorithm {
    /// # Errors
    /// A reason why nothing moves.
    fn moves(
        config: &Self::Config,
        tables: &core::Tables,
        state: &core::MigrationState,
    ) -> Result<Vec<core::Move>, core::Problem>;
}

/// A session of an algorithm.
pub struct Adapter<A: Algorithm> {
    config: A::Config,
    /// Made when an algorithm asks for them, and again after a change.
    tables: Option<core::Tables>,
}

/// The configuration of `A` as the SDK wants it.
pub struct Settings<A: Algorithm>(A::Config);

impl<A: Algorithm> fmt::Debug for Adapter<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(A::NAME)
    }
}

impl<A: Algorithm> fmt::Debug for Settings<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(A::NAME)
    }
}

impl<A: Algorithm> Config for Settings<A> {
    fn schema() -> String {
        A::SCHEMA.into()
    }

    fn parse(json: &str) -> Result<Self, String> {
        from_json(json).map(Self)
    }
}

impl<A: Algorithm> Policy for Adapter<A> {
    const NAME: &'static str = A::NAME;
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DOC: &'static str = A::DOC;
    const NEEDS: &'static [&'static str] = A::NEEDS;
    type Config = Settings<A>;

    fn new(config: Settings<A>, _: &Fleet) -> Result<Self, Problem> {
        Ok(Self { config: config.0, tables: None })
    }

    fn fleet_changed(&mut self, _: &Fleet) {
        self.tables = None;
    }
}

impl<A: Places> Placement for Adapter<A> {
    fn place(
        &mut self,
        _: &Fleet,
        request: placement::Request,
        candidates: placement::Candidates,
    ) -> Result<placement::Decision, Problem> {
        let (request, candidates) = (convert::request(request)?, convert::candidates(candidates));
        A::place(&self.config, &request, &candidates).map(convert::decision).map_err(convert::problem)
    }
}

impl<A: Admits> Gang for Adapter<A> {
    fn decide(&mut self, fleet: &Fleet, queue: gang::Queue) -> Result<gang::Verdict, Problem> {
        let tables = self.tables.get_or_insert_with(|| convert::tables(fleet));
        A::admit(&self.config, tables, &convert::queue(queue)).map(convert::verdict).map_err(convert::problem)
    }
}

impl<A: Moves> Migration for Adapter<A> {
    fn decide(&mut self, fleet: &Fleet, state: migration::State) -> Result<Vec<migration::Move>, Problem> {
        let tables = self.tables.get_or_insert_with(|| convert::tables(fleet));
        let moves = A::moves(&self.config, tables, &convert::state(state)).map_err(convert::problem)?;
        Ok(moves.into_iter().map(convert::a_move).collect())
    }
}
