//! Placement by score: the author says how good one candidate is, the SDK does the rest.

use std::cmp::Reverse;

use crate::bindings::Problem;
use crate::bindings::placement::{Candidates, Decision, Request};
use crate::fill::{fill, term};
use crate::fleet::Fleet;
use crate::problem;

/// Candidates without replicas whose score `explain` shows too, the best first.
const PASSED_OVER: usize = 8;

/// One cluster that may run the workload. Where a workload has several components, numbers are those of the main one: the
/// one with the most replicas, the first among equals.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    fleet: &'a Fleet,
    request: &'a Request,
    candidates: &'a Candidates,
    /// Where the main component's part of a column by component starts.
    main: usize,
    row: usize,
}

impl<'a> Candidate<'a> {
    /// Candidate `row` of `candidates`; `None` if there is no such row.
    pub fn new(fleet: &'a Fleet, request: &'a Request, candidates: &'a Candidates, row: u32) -> Option<Self> {
        let count = candidates.cluster.len();
        let components = request.components.iter().enumerate();
        let main = components.min_by_key(|(_, component)| Reverse(component.replicas)).map_or(0, |(number, _)| number);
        ((row as usize) < count).then_some(Self { fleet, request, candidates, main: main * count, row: row as usize })
    }

    /// The workload to place.
    pub fn request(&self) -> &'a Request {
        self.request
    }

    /// Name of the cluster.
    pub fn name(&self) -> &'a str {
        self.fleet.name(self.candidates.cluster[self.row])
    }

    /// Provider; empty where unknown.
    pub fn provider(&self) -> &'a str {
        self.fleet.provider(self.candidates.cluster[self.row])
    }

    /// Region; empty where unknown.
    pub fn region(&self) -> &'a str {
        self.fleet.region(self.candidates.cluster[self.row])
    }

    /// A label of the cluster.
    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.fleet.label(self.candidates.cluster[self.row], key)
    }

    /// Further replicas that fit on the nodes there are.
    pub fn ready(&self) -> u32 {
        self.candidates.ready[self.main + self.row]
    }

    /// Further replicas that fit on nodes that are being started or could still be ordered.
    pub fn elastic(&self) -> u32 {
        self.candidates.elastic[self.main + self.row]
    }

    /// Replicas placed there now; they are not part of `ready` and `elastic`.
    pub fn current(&self) -> u32 {
        self.candidates.current[self.main + self.row]
    }

    /// USD per hour for the next elastic replica; 0 where it needs no new node.
    pub fn price(&self) -> f64 {
        self.candidates.price[self.row]
    }

    /// USD per hour and replica of the replicas placed there now; 0 where there are none or no price is known.
    pub fn current_price(&self) -> f64 {
        self.candidates.current_price[self.row]
    }

    /// Seconds until an elastic replica can run.
    pub fn lead_seconds(&self) -> u32 {
        self.candidates.lead_seconds[self.row]
    }

    /// Share of instances that are reclaimed in a month, 0 to 1, for the next elastic replica; 0 on demand.
    pub fn interruption(&self) -> f64 {
        self.candidates.interruption[self.row]
    }

    /// Place in the order of preferred groups; 0 is the most preferred. The score counts within a tier only.
    pub fn tier(&self) -> u32 {
        self.candidates.tier[self.row]
    }

    /// Static weight; 1 for all where the distribution policy has no weight list.
    pub fn weight(&self) -> u32 {
        self.candidates.weight[self.row]
    }

    /// The candidate's value in an extra column that the policy `needs`; `None` where it is missing.
    pub fn extra(&self, name: &str) -> Option<f64> {
        let column = self.candidates.extra.iter().find(|column| column.name == name)?;
        column.values.get(self.row).copied().filter(|value| !value.is_nan())
    }
}

/// What a scoring function may return: a number, of which more is better, or `None` for a candidate that must not be used.
/// A score that is not a number counts as `None`.
pub trait Score {
    /// The score, if there is one.
    fn value(self) -> Option<f64>;
}

impl Score for f64 {
    fn value(self) -> Option<f64> {
        (!self.is_nan()).then_some(self)
    }
}

impl Score for Option<f64> {
    fn value(self) -> Option<f64> {
        self.and_then(Score::value)
    }
}

/// Places by score: the best candidate first, as [`fill`] says. Equal scores: the first by name.
///
/// The scores of the chosen candidates and of the best of the others become terms, so that `berth explain` shows them.
///
/// # Errors
/// `no-candidate` if every candidate was refused a score; `no-room` as [`fill`] says.
pub fn by_score<S: Score>(
    fleet: &Fleet,
    request: &Request,
    candidates: &Candidates,
    score: impl Fn(&Candidate) -> S,
) -> Result<Decision, Problem> {
    let Some(first) = Candidate::new(fleet, request, candidates, 0) else {
        return Err(problem::no_candidate("there are no candidates"));
    };
    let mut scored: Vec<(f64, u32)> = (0..candidates.cluster.len())
        .filter_map(|row| Some((score(&Candidate { row, ..first }).value()?, row as u32)))
        .collect();
    // Adding zero makes both zeros the same to the total order.
    scored.sort_unstable_by(|(a, i), (b, j)| (b + 0.0).total_cmp(&(a + 0.0)).then(i.cmp(j)));
    let order: Vec<u32> = scored.iter().map(|(_, row)| *row).collect();
    let mut decision = fill(request, candidates, &order)?;

    let mut chosen: Vec<u32> = decision.assignments.iter().map(|assignment| assignment.candidate).collect();
    chosen.sort_unstable();
    let mut others = PASSED_OVER;
    for (score, row) in scored {
        let shown = chosen.binary_search(&row).is_ok() || others > 0;
        if shown {
            term(&mut decision, row, "score", score);
        }
        if shown && chosen.binary_search(&row).is_err() {
            others -= 1;
        }
    }
    Ok(decision)
}

/// Defines and exports a placement policy from one scoring function.
///
/// `score` is a closure or the name of a function; it takes the configuration and a [`Candidate`], and returns a [`Score`].
/// `needs` and `config` may be left out. The macro defines `Policy`, the type that [`crate::testing`] takes.
///
/// ```
/// berth_sdk::scoring! {
///     name: "calm",
///     doc: "Prefers capacity that is seldom reclaimed, then what starts soonest",
///     score: |_, candidate| -1000.0 * candidate.interruption() - f64::from(candidate.lead_seconds()),
/// }
///
/// # fn main() {
/// use berth_sdk::testing::Case;
/// let case = Case::new(2)
///     .cluster("spot", |spot| spot.elastic(9).interruption(0.2).lead_seconds(60))
///     .cluster("steady", |steady| steady.elastic(9).lead_seconds(90));
/// assert_eq!(case.place::<Policy>("{}").unwrap().at("steady"), 2);
/// # }
/// ```
#[macro_export]
macro_rules! scoring {
    (
        name: $name:literal,
        doc: $doc:literal,
        $(needs: [$($need:literal),* $(,)?],)?
        $(config: $config:ty,)?
        score: $score:expr $(,)?
    ) => {
        #[doc = $doc]
        pub struct Policy {
            config: <Self as $crate::Policy>::Config,
        }

        impl $crate::Policy for Policy {
            const NAME: &'static str = $name;
            const VERSION: &'static str = env!("CARGO_PKG_VERSION");
            const DOC: &'static str = $doc;
            const NEEDS: &'static [&'static str] = &[$($($need),*)?];
            type Config = $crate::__config!($($config)?);

            fn new(config: Self::Config, _: &$crate::Fleet) -> Result<Self, $crate::Problem> {
                Ok(Self { config })
            }
        }

        impl $crate::Placement for Policy {
            fn place(
                &mut self,
                fleet: &$crate::Fleet,
                request: $crate::placement::Request,
                candidates: $crate::placement::Candidates,
            ) -> Result<$crate::placement::Decision, $crate::Problem> {
                fn with<C, S: $crate::Score>(
                    config: &C,
                    score: impl Fn(&C, &$crate::Candidate) -> S,
                ) -> impl Fn(&$crate::Candidate) -> S {
                    move |candidate| score(config, candidate)
                }
                $crate::by_score(fleet, &request, &candidates, with(&self.config, $score))
            }
        }

        $crate::export_placement!(Policy);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __config {
    () => {
        $crate::NoConfig
    };
    ($config:ty) => {
        $config
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::ProblemCode;
    use crate::testing::Case;

    fn run<S: Score>(case: &Case, score: impl Fn(&Candidate) -> S) -> Result<Decision, Problem> {
        by_score(&case.fleet, &case.request, &case.candidates, score)
    }

    #[test]
    fn equal_scores_go_by_name_and_both_zeros_are_equal() {
        let case = Case::new(3).cluster("a", |a| a.ready(2).price(-0.0)).cluster("b", |b| b.ready(2).price(0.0));
        let decision = run(&case, |candidate| candidate.price()).unwrap();
        let replicas: Vec<_> = decision.assignments.iter().map(|it| (it.candidate, it.replicas)).collect();
        assert_eq!(replicas, [(0, 2), (1, 1)]);
    }

    #[test]
    fn what_has_no_score_is_not_used() {
        let case = Case::new(3).cluster("a", |a| a.ready(9)).cluster("b", |b| b.ready(9).extra("carbon", 5.0));
        let placed = case.decision(run(&case, |candidate| candidate.extra("carbon"))).unwrap();
        assert_eq!((placed.at("a"), placed.at("b")), (0, 3));
        assert_eq!(run(&case, |_| f64::NAN).unwrap_err().code, ProblemCode::NoCandidate);
        assert_eq!(run(&Case::new(3), |_| 1.0).unwrap_err().code, ProblemCode::NoCandidate);
    }

    #[test]
    fn terms_are_those_of_the_chosen_and_of_the_best_others() {
        let mut case = Case::new(2);
        for number in 0..20 {
            case =
                case.cluster(&format!("c{number:02}"), |c| c.ready(u32::from(number == 15)).price(f64::from(number)));
        }
        let decision = run(&case, |candidate| -candidate.price()).unwrap();
        let rows: Vec<u32> = decision.terms.iter().map(|term| term.candidate).collect();
        assert_eq!(rows, [0, 1, 2, 3, 4, 5, 6, 7, 15]);
    }

    #[test]
    fn the_main_component_has_the_most_replicas() {
        let case = Case::new(2).component("worker", 5, 0).component("other", 5, 0);
        let case = case.cluster("a", |a| a.ready(1).ready_of("worker", 7).ready_of("other", 9));
        let candidate = Candidate::new(&case.fleet, &case.request, &case.candidates, 0).unwrap();
        assert_eq!(candidate.ready(), 7);
        assert!(Candidate::new(&case.fleet, &case.request, &case.candidates, 1).is_none());
    }
}
