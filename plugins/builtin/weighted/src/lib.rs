//! The built-in placement policy `weighted`; its algorithm is [`berth_core::native::weighted`].

use berth_builtin::{Adapter, Algorithm, Places};
use berth_core::native;
use berth_core::policy::{Candidates, Decision, Problem, Request};
use berth_sdk::NoConfig;

/// Divides by static weights (Webster); with division 0 every cluster gets all replicas.
#[derive(Debug)]
pub struct Weighted;

impl Algorithm for Weighted {
    const NAME: &'static str = "weighted";
    const DOC: &'static str = "Divides by static weights (Webster); with division 0 every cluster gets all replicas";
    const SCHEMA: &'static str = native::WEIGHTED_SCHEMA;
    type Config = NoConfig;
}

impl Places for Weighted {
    fn place(_: &NoConfig, request: &Request, candidates: &Candidates) -> Result<Decision, Problem> {
        native::weighted(request, candidates)
    }
}

berth_sdk::export_placement!(Adapter<Weighted>);
