//! The cheapest room first, counting new nodes, interruption and the wait for them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;

use serde::Deserialize;

use super::room::{Room, Seats};
use super::select::least;
use crate::policy::{Candidates, Decision, Problem, ProblemCode, Request};
use crate::workload::Division;

/// What it needs beside the plain columns.
pub const NEEDS: &[&str] = &["offers"];

pub const CONFIG_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "interruptionPenalty": {
      "description": "Added to a price, as a share of it, where all instances are reclaimed within a month; in proportion below that",
      "type": "number", "minimum": 0, "default": 1.0
    },
    "leadUsdPerHour": {
      "description": "USD per replica and hour of its price that one hour of waiting for a new node is worth",
      "type": "number", "minimum": 0, "default": 1.0
    },
    "maxLeadSeconds": {
      "description": "New nodes that take longer are not used; 0 is no limit",
      "type": "integer", "minimum": 0, "maximum": 4294967295, "default": 0
    },
    "keepCurrent": {
      "description": "Share of its price that a running replica must save to be moved; 1 never moves one for its price",
      "type": "number", "minimum": 0, "maximum": 1, "default": 1.0
    }
  }
}"#;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CostConfig {
    /// Added to a price, as a share of it, where all instances are reclaimed within a month; in proportion below that.
    pub interruption_penalty: f64,
    /// USD per replica and hour of its price that one hour of waiting for a new node is worth.
    pub lead_usd_per_hour: f64,
    /// New nodes that take longer are not used; 0 is no limit.
    pub max_lead_seconds: u32,
    /// Share of its price that a running replica must save to be moved; 1 never moves one for its price.
    pub keep_current: f64,
}

impl Default for CostConfig {
    fn default() -> Self {
        Self { interruption_penalty: 1.0, lead_usd_per_hour: 1.0, max_lead_seconds: 0, keep_current: 1.0 }
    }
}

impl CostConfig {
    /// What a new replica costs for the comparison: its price, more for the risk that its node is reclaimed, and more for
    /// the wait.
    fn effective(&self, price: f64, lead_seconds: u32, interruption: f64) -> f64 {
        price * (1.0 + self.interruption_penalty * interruption)
            + self.lead_usd_per_hour * f64::from(lead_seconds) / 3600.0
    }
}

/// Fills the cheapest room first: what runs stays (see `keepCurrent`), then ready room, which costs nothing new, then
/// offers in ascending order of price x (1 + interruption penalty) + lead penalty. Within a candidate the host's order of
/// offers holds, so a candidate competes with its next offer. Ties: the lower row.
///
/// With tiers, a lower tier goes first whatever it costs. Replicas leave the last tier first, and within it those that cost
/// the most now; then those whose next one would; then those of the higher row.
/// Together: where the whole set costs least. Duplicated: every candidate gets all replicas, or as many as it holds.
/// Components other than the main one go by the candidates' one price column, as they have no offers.
///
/// # Errors
/// `no-room` where a component stays below its floor, or where nothing fits at all.
pub fn cost(config: &CostConfig, request: &Request, candidates: &Candidates) -> Result<Decision, Problem> {
    let room = Room::new(request, candidates)?;
    if request.division == Division::Duplicated && !request.together {
        return room.duplicated();
    }
    let steps = Steps::new(config, &room)?;
    let seats = if request.together {
        room.together(config.keep_current >= 1.0, |candidate| {
            Some((candidates.tier[candidate], steps.whole_set(candidate)?))
        })?
    } else {
        let mut seats = Seats::new(&room);
        for component in 0..room.components() {
            steps.fill(component, seats.of(component));
        }
        room.check_floors(&seats)?;
        seats
    };
    let main = seats.at(room.main).to_vec();
    Ok(seats.decision(vec![
        ("usd-per-hour", Box::new(|candidate| steps.bought(candidate, main[candidate]).map(|bought| bought.usd))),
        ("lead-seconds", Box::new(|candidate| steps.bought(candidate, main[candidate]).map(|bought| bought.lead))),
        ("interruption", Box::new(|candidate| steps.bought(candidate, main[candidate]).map(|bought| bought.risk))),
        (
            "ready",
            Box::new(|candidate| {
                let new = main[candidate].saturating_sub(room.current(room.main)[candidate]);
                let ready = new.min(room.ready(room.main)[candidate]);
                (ready > 0).then(|| f64::from(ready))
            }),
        ),
        ("usd-per-replica-hour", Box::new(|candidate| steps.shrinks(candidate))),
    ]))
}

/// New replicas at a candidate in total: USD per hour, the longest wait, the highest interruption.
#[derive(Clone, Copy, Debug, Default)]
struct Bought {
    usd: f64,
    effective: f64,
    lead: f64,
    risk: f64,
}

/// A candidate's room as a row of steps, each with the cost of a replica.
struct Steps<'a> {
    config: &'a CostConfig,
    room: &'a Room<'a>,
    /// First row of each candidate in the offer columns, and their end.
    starts: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    replicas: u32,
    cost: f64,
}

const CURRENT: usize = 0;
const READY: usize = 1;
const FIRST_OFFER: usize = 2;

impl<'a> Steps<'a> {
    fn new(config: &'a CostConfig, room: &'a Room<'a>) -> Result<Self, Problem> {
        let columns = &room.candidates.offers;
        let next = columns.candidate.iter().skip(1);
        let order = columns.candidate.iter().zip(next).fold(true, |order, (one, next)| order & (one <= next));
        let known = columns.candidate.last().is_none_or(|last| (*last as usize) < room.n);
        if !order || !known {
            let code = ProblemCode::Unsupported;
            return Err(Problem { code, message: "the offer columns are not in order".into() });
        }
        let mut starts = Vec::with_capacity(room.n + 1);
        for (row, candidate) in columns.candidate.iter().enumerate() {
            while starts.len() <= *candidate as usize {
                starts.push(row as u32);
            }
        }
        starts.resize(room.n + 1, columns.candidate.len() as u32);
        Ok(Self { config, room, starts })
    }

    /// Rows of a candidate in the offer columns.
    fn offers(&self, candidate: usize) -> Range<usize> {
        self.starts[candidate] as usize..self.starts[candidate + 1] as usize
    }

    /// Step `number` of a candidate; `None` after its last, and from the first offer that takes too long.
    fn step(&self, component: usize, candidate: usize, number: usize) -> Option<Step> {
        let columns = self.room.candidates;
        match number {
            CURRENT => Some(Step { replicas: self.room.current(component)[candidate], cost: self.kept(candidate) }),
            READY => Some(Step { replicas: self.room.ready(component)[candidate], cost: 0.0 }),
            _ => {
                let offers = self.offers(candidate);
                let (replicas, price, lead, risk) = if component != self.room.main || offers.is_empty() {
                    if number > FIRST_OFFER {
                        return None;
                    }
                    let elastic = self.room.elastic(component)[candidate];
                    (
                        elastic,
                        columns.price[candidate],
                        columns.lead_seconds[candidate],
                        columns.interruption[candidate],
                    )
                } else {
                    let row = offers.start + (number - FIRST_OFFER);
                    if row >= offers.end {
                        return None;
                    }
                    let offers = &columns.offers;
                    (offers.replicas[row], offers.price[row], offers.lead_seconds[row], offers.interruption[row])
                };
                let limit = self.config.max_lead_seconds;
                let in_time = limit == 0 || lead <= limit;
                in_time.then(|| Step { replicas, cost: self.config.effective(price, lead, risk) })
            }
        }
    }

    /// What a running replica counts for: its price, or what the next one would cost where that is not known. Beside ready
    /// room it is as cheap as that.
    fn kept(&self, candidate: usize) -> f64 {
        if self.room.ready(self.room.main)[candidate] > 0 {
            return 0.0;
        }
        let price = self.current_price(candidate).unwrap_or(self.room.candidates.price[candidate]);
        price * (1.0 - self.config.keep_current)
    }

    /// What a running replica costs now. How likely it is to be interrupted is not known.
    fn current_price(&self, candidate: usize) -> Option<f64> {
        Some(self.room.candidates.current_price[candidate]).filter(|price| *price > 0.0)
    }

    /// The price of a replica that runs, for those of which some must go; `None` where all may stay.
    fn shrinks(&self, candidate: usize) -> Option<f64> {
        let current = self.room.current(self.room.main);
        let placed: u64 = current.iter().copied().map(u64::from).sum();
        let fewer = placed > u64::from(self.room.wanted(self.room.main)) && current[candidate] > 0;
        self.current_price(candidate).filter(|_| fewer)
    }

    /// Gives `seats` the wanted replicas of a component, step by step from the least of all candidates' next steps.
    fn fill(&self, component: usize, seats: &mut [u32]) {
        let mut rest = self.room.wanted(component);
        let keep = self.config.keep_current >= 1.0;
        if keep {
            rest -= self.keep(component, rest, seats);
        }
        let first = if keep { READY } else { CURRENT };
        // Whoever comes first takes at least one replica, so that no more than `rest` candidates have their turn.
        let open = |head: &Head| self.room.holds(component, head.candidate) > seats[head.candidate];
        let all = (0..self.room.n).filter_map(|candidate| self.head(component, candidate, first)).filter(open);
        let mut heads: BinaryHeap<Reverse<Head>> = least(rest as usize, all).into_iter().map(Reverse).collect();
        while rest > 0 {
            let Some(Reverse(head)) = heads.pop() else { break };
            let taken = head.replicas.min(rest);
            // The host's room bounds an answer, whatever its offers add up to.
            let open = self.room.holds(component, head.candidate) - seats[head.candidate];
            seats[head.candidate] += taken.min(open);
            rest -= taken.min(open);
            if let Some(next) = self.head(component, head.candidate, head.number + 1) {
                heads.push(Reverse(next));
            }
        }
    }

    /// Keeps up to `wanted` running replicas: lower tiers first, then the cheapest now (nothing known is nothing spent),
    /// then where the next one would be the cheapest, then the lower row.
    fn keep(&self, component: usize, wanted: u32, seats: &mut [u32]) -> u32 {
        let current = self.room.current(component);
        let columns = self.room.candidates;
        let mut order: Vec<usize> = (0..self.room.n).filter(|candidate| current[*candidate] > 0).collect();
        order.sort_by(|a, b| {
            let tier = columns.tier[*a].cmp(&columns.tier[*b]);
            let current = columns.current_price[*a].total_cmp(&columns.current_price[*b]);
            tier.then(current).then(columns.price[*a].total_cmp(&columns.price[*b])).then(a.cmp(b))
        });
        let mut rest = wanted;
        for candidate in order {
            seats[candidate] = current[candidate].min(rest);
            rest -= seats[candidate];
        }
        wanted - rest
    }

    /// The first step from `number` on that has replicas.
    fn head(&self, component: usize, candidate: usize, number: usize) -> Option<Head> {
        (number..).map_while(|number| Some((number, self.step(component, candidate, number)?))).find_map(
            |(number, step)| {
                let tier = self.room.candidates.tier[candidate];
                let Step { replicas, cost } = step;
                let price = if number == CURRENT { self.room.candidates.current_price[candidate] } else { 0.0 };
                (replicas > 0).then_some(Head { tier, cost, price, candidate, number, replicas })
            },
        )
    }

    /// What the main component's replicas beyond current and ready cost at a candidate; `None` where there are none.
    fn bought(&self, candidate: usize, replicas: u32) -> Option<Bought> {
        let main = self.room.main;
        let had = self.room.current(main)[candidate].saturating_add(self.room.ready(main)[candidate]);
        let mut rest = replicas.checked_sub(had).filter(|rest| *rest > 0)?;
        let mut bought = Bought::default();
        let columns = self.room.candidates;
        let mut add = |replicas: u32, price: f64, lead: u32, risk: f64| {
            bought.usd += f64::from(replicas) * price;
            bought.effective += f64::from(replicas) * self.config.effective(price, lead, risk);
            bought.lead = bought.lead.max(f64::from(lead));
            bought.risk = bought.risk.max(risk);
        };
        for row in self.offers(candidate) {
            let offers = &columns.offers;
            let taken = offers.replicas[row].min(rest);
            if taken > 0 {
                add(taken, offers.price[row], offers.lead_seconds[row], offers.interruption[row]);
            }
            rest -= taken;
        }
        if rest > 0 {
            add(rest, columns.price[candidate], columns.lead_seconds[candidate], columns.interruption[candidate]);
        }
        Some(bought)
    }

    /// What all components cost at one candidate; `None` where the wait is too long.
    fn whole_set(&self, candidate: usize) -> Option<f64> {
        let main = self.room.main;
        let wanted = self.room.wanted(main);
        let kept = f64::from(self.room.current(main)[candidate].min(wanted)) * self.kept(candidate);
        let others = (0..self.room.components()).filter(|component| *component != main).map(|component| {
            let had = self.room.current(component)[candidate].saturating_add(self.room.ready(component)[candidate]);
            let new = self.room.wanted(component).saturating_sub(had);
            f64::from(new) * self.room.candidates.price[candidate]
        });
        let bought = self.bought(candidate, wanted);
        let slow = bought.is_some_and(|bought| {
            self.config.max_lead_seconds > 0 && bought.lead > f64::from(self.config.max_lead_seconds)
        });
        if slow {
            return None;
        }
        Some(kept + bought.map_or(0.0, |bought| bought.effective) + others.sum::<f64>())
    }
}

/// A candidate's next step.
#[derive(Clone, Copy, Debug)]
struct Head {
    tier: u32,
    cost: f64,
    /// What a replica costs now, where it runs already.
    price: f64,
    candidate: usize,
    number: usize,
    replicas: u32,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        // Room of the same cost: what is there before what must be ordered, then the cheapest now, then the lower row.
        let class = |head: &Head| head.number.min(FIRST_OFFER);
        self.tier
            .cmp(&other.tier)
            .then(self.cost.total_cmp(&other.cost))
            .then(class(self).cmp(&class(other)))
            .then(self.price.total_cmp(&other.price))
            .then(self.candidate.cmp(&other.candidate))
            .then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}
