//! The built-in placement policy `cost`; its algorithm is [`berth_core::native::cost`].

use berth_builtin::{Adapter, Algorithm, Places};
use berth_core::native::{self, CostConfig};
use berth_core::policy::{Candidates, Decision, Problem, Request};

/// The cheapest room first, counting new nodes, interruption and the wait for them.
#[derive(Debug)]
pub struct Cost;

impl Algorithm for Cost {
    const NAME: &'static str = "cost";
    const DOC: &'static str = "The cheapest room first, counting new nodes, interruption and the wait for them";
    const NEEDS: &'static [&'static str] = native::COST_NEEDS;
    const SCHEMA: &'static str = native::COST_SCHEMA;
    type Config = CostConfig;
}

impl Places for Cost {
    fn place(config: &CostConfig, request: &Request, candidates: &Candidates) -> Result<Decision, Problem> {
        native::cost(config, request, candidates)
    }
}

berth_sdk::export_placement!(Adapter<Cost>);
