//! What wit-bindgen makes of `wit/v0.1`, sorted into one module a kind. The fleet's types are shared by the three worlds.

pub use berth_world_placement::berth::policy::fleet::{
    Changes, ClusterRow, Column, Label, Problem, ProblemCode, Tables,
};

/// What a placement policy is asked and answers, as `wit/v0.1` documents it.
pub mod placement {
    pub use berth_world_placement::exports::berth::policy::placement::{
        Assignment, Candidates, Component, Decision, Offers, Request, Term,
    };
}

/// What a gang policy is asked and answers, as `wit/v0.1` documents it.
pub mod gang {
    pub use berth_world_gang::exports::berth::policy::gang::{
        Admit, Component, Fits, Hold, HoldCode, Job, Preempt, Queue, Quota, Running, Verdict,
    };
}

/// What a migration policy is asked and answers, as `wit/v0.1` documents it.
pub mod migration {
    pub use berth_world_migration::exports::berth::policy::migration::{Health, How, Move, Placed, State, Workload};
}
