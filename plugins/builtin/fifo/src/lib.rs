//! The built-in gang policy `fifo`; its algorithm is [`berth_core::native::fifo`].

use berth_builtin::{Adapter, Admits, Algorithm};
use berth_core::native::{self, FifoConfig};
use berth_core::policy::{Problem, Queue, Tables, Verdict};

/// All or nothing by priority and age, with backfill that never delays the head of the queue.
#[derive(Debug)]
pub struct Fifo;

impl Algorithm for Fifo {
    const NAME: &'static str = "fifo";
    const DOC: &'static str =
        "All or nothing by priority and age, with backfill that never delays the head of the queue";
    const SCHEMA: &'static str = native::FIFO_SCHEMA;
    type Config = FifoConfig;
}

impl Admits for Fifo {
    fn admit(config: &FifoConfig, tables: &Tables, queue: &Queue) -> Result<Verdict, Problem> {
        native::fifo(config, tables, queue)
    }
}

berth_sdk::export_gang!(Adapter<Fifo>);
