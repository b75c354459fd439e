//! The three kinds of policies as traits, and what they have in common.

use crate::bindings::Problem;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::{gang, migration, placement};

/// What every policy says about itself, and how its session starts.
///
/// A value of the type is one session: it may keep whatever makes later decisions fast, as long as the same fleet,
/// configuration and input still give the same answer. The host may drop a session at any time and make a new one.
pub trait Policy: Sized + 'static {
    /// Lower-case name, `[a-z0-9-]{1,63}`; unique among the loaded policies.
    const NAME: &'static str;
    /// The policy's own version; `env!("CARGO_PKG_VERSION")` is what one wants.
    const VERSION: &'static str;
    /// One line of documentation.
    const DOC: &'static str;
    /// Inputs that are sent only on request: `offers` (placement), `running` (gang), or names of extra columns (placement).
    const NEEDS: &'static [&'static str] = &[];
    /// Configuration; [`crate::NoConfig`] where there is none.
    type Config: Config;

    /// Starts a session.
    ///
    /// # Errors
    /// The problem that every call of this session then answers with.
    fn new(config: Self::Config, fleet: &Fleet) -> Result<Self, Problem>;

    /// Rows of the fleet changed; only policies that keep something derived from it need this.
    fn fleet_changed(&mut self, _fleet: &Fleet) {}
}

/// Decides how many replicas of each component of one workload run in which cluster.
///
/// ```
/// use berth_sdk::placement::{Assignment, Candidates, Decision, Request};
/// use berth_sdk::{Fleet, NoConfig, Placement, Policy, Problem};
///
/// /// Everything to the first candidate.
/// struct First;
///
/// impl Policy for First {
///     const NAME: &str = "first";
///     const VERSION: &str = env!("CARGO_PKG_VERSION");
///     const DOC: &str = "Everything to the first candidate";
///     type Config = NoConfig;
///
///     fn new(_: NoConfig, _: &Fleet) -> Result<Self, Problem> {
///         Ok(Self)
///     }
/// }
///
/// impl Placement for First {
///     fn place(&mut self, _: &Fleet, request: Request, _: Candidates) -> Result<Decision, Problem> {
///         let assignments = request.components.iter().enumerate().map(|(component, wanted)| Assignment {
///             component: component as u32,
///             candidate: 0,
///             replicas: wanted.replicas,
///         });
///         Ok(Decision { assignments: assignments.collect(), term_names: vec![], terms: vec![] })
///     }
/// }
///
/// berth_sdk::export_placement!(First);
/// # fn main() {}
/// ```
pub trait Placement: Policy {
    /// Places one workload. [`crate::fill`] and [`crate::by_score`] do the counting for policies that only have an order.
    ///
    /// # Errors
    /// A reason for the workload to wait.
    fn place(
        &mut self,
        fleet: &Fleet,
        request: placement::Request,
        candidates: placement::Candidates,
    ) -> Result<placement::Decision, Problem>;
}

/// Decides which of the waiting jobs start now, in what order and in which size, and what may be preempted for them.
///
/// ```
/// use berth_sdk::gang::{Admit, Queue, Verdict};
/// use berth_sdk::{Fleet, Gang, NoConfig, Policy, Problem};
///
/// /// Everybody starts at full size; who does not fit waits when it is placed.
/// struct Open;
///
/// impl Policy for Open {
///     const NAME: &str = "open";
///     const VERSION: &str = env!("CARGO_PKG_VERSION");
///     const DOC: &str = "Admits every job";
///     type Config = NoConfig;
///
///     fn new(_: NoConfig, _: &Fleet) -> Result<Self, Problem> {
///         Ok(Self)
///     }
/// }
///
/// impl Gang for Open {
///     fn decide(&mut self, _: &Fleet, queue: Queue) -> Result<Verdict, Problem> {
///         let admit = queue.jobs.iter().enumerate().map(|(job, waiting)| Admit {
///             job: job as u32,
///             sizes: waiting.components.iter().map(|component| component.replicas).collect(),
///             except: vec![],
///         });
///         Ok(Verdict { admit: admit.collect(), hold: vec![], preempt: vec![] })
///     }
/// }
///
/// berth_sdk::export_gang!(Open);
/// # fn main() {}
/// ```
pub trait Gang: Policy {
    /// Admits or holds each waiting job.
    ///
    /// # Errors
    /// A reason for all of them to wait.
    fn decide(&mut self, fleet: &Fleet, queue: gang::Queue) -> Result<gang::Verdict, Problem>;
}

/// Decides which running replicas should move away from where they are.
///
/// ```
/// use berth_sdk::migration::{How, Move, State};
/// use berth_sdk::{Fleet, Migration, NoConfig, Policy, Problem};
///
/// /// Leaves clusters that cannot be reached.
/// struct Leave;
///
/// impl Policy for Leave {
///     const NAME: &str = "leave";
///     const VERSION: &str = env!("CARGO_PKG_VERSION");
///     const DOC: &str = "Leaves clusters that cannot be reached";
///     type Config = NoConfig;
///
///     fn new(_: NoConfig, _: &Fleet) -> Result<Self, Problem> {
///         Ok(Self)
///     }
/// }
///
/// impl Migration for Leave {
///     fn decide(&mut self, fleet: &Fleet, state: State) -> Result<Vec<Move>, Problem> {
///         let placed = state.placed.cluster.iter().zip(&state.placed.desired).enumerate();
///         let gone = placed.filter(|(_, (cluster, _))| !state.health.reachable[**cluster as usize]);
///         Ok(gone
///             .map(|(row, (cluster, desired))| Move {
///                 row: row as u32,
///                 replicas: *desired,
///                 how: How::AtOnce,
///                 reason: format!("{} cannot be reached", fleet.name(*cluster)),
///             })
///             .collect())
///     }
/// }
///
/// berth_sdk::export_migration!(Leave);
/// # fn main() {}
/// ```
pub trait Migration: Policy {
    /// Names the replicas that should move.
    ///
    /// # Errors
    /// A reason why nothing moves.
    fn decide(&mut self, fleet: &Fleet, state: migration::State) -> Result<Vec<migration::Move>, Problem>;
}
