//! The built-in placement policy `available`; its algorithm is [`berth_core::native::available`].

use berth_builtin::{Adapter, Algorithm, Places};
use berth_core::native;
use berth_core::policy::{Candidates, Decision, Problem, Request};
use berth_sdk::NoConfig;

/// Divides by the room there is (dynamic weight); what runs stays.
#[derive(Debug)]
pub struct Available;

impl Algorithm for Available {
    const NAME: &'static str = "available";
    const DOC: &'static str = "Divides by the room there is (dynamic weight); what runs stays";
    const SCHEMA: &'static str = native::AVAILABLE_SCHEMA;
    type Config = NoConfig;
}

impl Places for Available {
    fn place(_: &NoConfig, request: &Request, candidates: &Candidates) -> Result<Decision, Problem> {
        native::available(request, candidates)
    }
}

berth_sdk::export_placement!(Adapter<Available>);
