//! Prefers the region with the lowest value of a column, and keeps a share of the replicas in the second best.

use std::collections::BTreeMap;

use berth_sdk::placement::{Assignment, Candidates, Decision, Request};
use berth_sdk::{Fleet, Placement, Policy, Problem, division, problem, term};

berth_sdk::config! {
    /// What is low, and how much stays out of the best region.
    pub struct Config {
        /// Column whose lowest value is best: carbon or latency-ms
        column: String = "carbon".into(),
        /// Per cent of the replicas for the second best region
        share: u32 = 20,
    }
}

/// One session.
#[derive(Debug)]
pub struct Region(Config);

impl Policy for Region {
    const NAME: &str = "region-rust";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DOC: &str = "The region with the lowest value of a column, with a share in the second best";
    const NEEDS: &[&str] = &["carbon", "latency-ms"];
    type Config = Config;

    fn new(config: Config, _: &Fleet) -> Result<Self, Problem> {
        if config.share > 100 { Err(problem::unsupported("share is above 100")) } else { Ok(Self(config)) }
    }
}

impl Placement for Region {
    fn place(&mut self, fleet: &Fleet, request: Request, candidates: Candidates) -> Result<Decision, Problem> {
        let Config { column, share } = &self.0;
        if request.together || request.division == division::DUPLICATED {
            return Err(problem::unsupported("this policy divides replicas between regions"));
        }
        // Candidates with a value: the best region first, within a region the lowest value first.
        let values = candidates.extra.iter().find(|extra| extra.name == *column).map_or(&[][..], |extra| &extra.values);
        let region = |row: usize| fleet.region(candidates.cluster[row]);
        let mut best: BTreeMap<&str, f64> = BTreeMap::new();
        let mut order: Vec<usize> = (0..values.len()).filter(|row| !values[*row].is_nan()).collect();
        for row in &order {
            let lowest = best.entry(region(*row)).or_insert(values[*row]);
            *lowest = lowest.min(values[*row]);
        }
        // Adding zero makes both zeros the same to the total order.
        let by = |a: f64, b: f64| (a + 0.0).total_cmp(&(b + 0.0));
        order.sort_by(|a, b| {
            let regions = by(best[region(*a)], best[region(*b)]).then(region(*a).cmp(region(*b)));
            regions.then(by(values[*a], values[*b]))
        });
        let Some(first) = order.first().map(|row| region(*row)) else {
            return Err(problem::no_candidate(format!("no candidate has a value of {column}")));
        };
        let second = order.iter().map(|row| region(*row)).find(|other| *other != first);

        let count = candidates.cluster.len();
        let mut decision = Decision { assignments: vec![], term_names: vec![], terms: vec![] };
        let mut used = vec![false; count];
        for (component, wanted) in request.components.iter().enumerate() {
            let apart = if second.is_some() { u64::from(wanted.replicas) * u64::from(*share) / 100 } else { 0 };
            let mut left = u64::from(wanted.replicas);
            let mut got = vec![0_u64; count];
            // Each region's part, then what did not fit, wherever there is room.
            for (part, only) in [(left - apart, Some(first)), (apart, second), (left, None)] {
                let mut part = part.min(left);
                for row in order.iter().copied().filter(|row| only.is_none_or(|only| only == region(*row))) {
                    let at = component * count + row;
                    let room = [candidates.current[at], candidates.ready[at], candidates.elastic[at]];
                    let more = part.min(room.into_iter().map(u64::from).sum::<u64>() - got[row]);
                    got[row] += more;
                    part -= more;
                    left -= more;
                }
            }
            let placed = u64::from(wanted.replicas) - left;
            if placed < u64::from(wanted.floor) || (placed == 0 && wanted.replicas > 0) {
                return Err(problem::no_room(format!(
                    "{placed} of {} replicas of {} fit",
                    wanted.replicas, wanted.name
                )));
            }
            for (row, replicas) in got.into_iter().enumerate().filter(|(_, replicas)| *replicas > 0) {
                let (component, candidate, replicas) = (component as u32, row as u32, replicas as u32);
                decision.assignments.push(Assignment { component, candidate, replicas });
                used[row] = true;
            }
        }
        for row in (0..count).filter(|row| used[*row]) {
            term(&mut decision, row as u32, column, values[row]);
        }
        Ok(decision)
    }
}

berth_sdk::export_placement!(Region);
