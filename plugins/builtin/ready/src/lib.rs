//! The built-in migration policy `ready`; its algorithm is [`berth_core::native::ready`].

use berth_builtin::{Adapter, Algorithm, Moves};
use berth_core::native::{self, ReadyConfig};
use berth_core::policy::{MigrationState, Move, Problem, Tables};

/// Moves replicas that are not ready for longer than they may be, and will not be.
#[derive(Debug)]
pub struct Ready;

impl Algorithm for Ready {
    const NAME: &'static str = "ready";
    const DOC: &'static str = "Moves replicas that are not ready for longer than they may be, and will not be";
    const SCHEMA: &'static str = native::READY_SCHEMA;
    type Config = ReadyConfig;
}

impl Moves for Ready {
    fn moves(config: &ReadyConfig, tables: &Tables, state: &MigrationState) -> Result<Vec<Move>, Problem> {
        native::ready(config, tables, state)
    }
}

berth_sdk::export_migration!(Adapter<Ready>);
