//! The built-in placement policy `aggregate`; its algorithm is [`berth_core::native::aggregate`].

use berth_builtin::{Adapter, Algorithm, Places};
use berth_core::native;
use berth_core::policy::{Candidates, Decision, Problem, Request};
use berth_sdk::NoConfig;

/// As few clusters as possible, those in use first.
#[derive(Debug)]
pub struct Aggregate;

impl Algorithm for Aggregate {
    const NAME: &'static str = "aggregate";
    const DOC: &'static str = "As few clusters as possible, those in use first";
    const SCHEMA: &'static str = native::AGGREGATE_SCHEMA;
    type Config = NoConfig;
}

impl Places for Aggregate {
    fn place(_: &NoConfig, request: &Request, candidates: &Candidates) -> Result<Decision, Problem> {
        native::aggregate(request, candidates)
    }
}

berth_sdk::export_placement!(Adapter<Aggregate>);
