//! Booking a decision: within quota and budget, on the working snapshot, all or nothing where that is asked.

use super::cycle::{Cycle, Ticket};
use super::place::{Target, add_share, options};
use crate::ids::{ClusterName, OfferingRow, PoolRow};
use crate::placement::Share;
use crate::policy::Candidates;
use crate::quota::QuotaTree;
use crate::reason::{Code, Reason};
use crate::resources::Amounts;
use crate::workload::Division;

/// What a workload got.
#[derive(Debug, Default)]
pub(super) struct Booked {
    /// Ascending by component, cluster and pool.
    pub(super) shares: Vec<Share>,
    pub(super) clusters: Vec<ClusterName>,
    pub(super) orders: Vec<Ordered>,
    /// Why it is less than wanted.
    pub(super) short: Option<Reason>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ordered {
    pub(super) pool: PoolRow,
    pub(super) offering: OfferingRow,
    pub(super) nodes: u32,
}

impl Cycle<'_> {
    fn request_of(&self, ticket: &Ticket<'_>, component: usize) -> Amounts {
        self.work.need(ticket.shapes[component]).map(|need| need.request.clone()).unwrap_or_default()
    }

    /// The quota tree as if the workload had nothing.
    fn without(&self, ticket: &Ticket<'_>) -> QuotaTree {
        let mut tree = self.work.quotas().clone();
        if let Some(leaf) = ticket.leaf {
            for number in 0..ticket.shapes.len() {
                tree.refund(leaf, &self.request_of(ticket, number), u64::from(ticket.entry.charged(number as u32)));
            }
        }
        tree
    }

    /// The quota tree as if what lost its room were given back.
    pub(super) fn without_lost(&self, ticket: &Ticket<'_>) -> QuotaTree {
        let mut tree = self.work.quotas().clone();
        if let Some(leaf) = ticket.leaf {
            for (number, lost) in ticket.entry.lost.iter().enumerate().take(ticket.shapes.len()) {
                tree.refund(leaf, &self.request_of(ticket, number), u64::from(*lost));
            }
        }
        tree
    }

    pub(super) fn refund(&mut self, ticket: &Ticket<'_>) {
        *self.work.quotas_mut() = self.without(ticket);
    }

    /// Reduces sizes to what the quota allows, component by component; what is placed already is never refused. Duplicated
    /// workloads are reduced once it is known where they go.
    pub(super) fn within_quota(
        &self,
        ticket: &Ticket<'_>,
        sizes: &[u32],
    ) -> Result<(Vec<u32>, Option<Reason>), Reason> {
        let (Some(leaf), workload) = (ticket.leaf, &ticket.entry.workload) else { return Ok((sizes.to_vec(), None)) };
        if workload.rules.division == Division::Duplicated && !workload.rules.gang {
            return Ok((sizes.to_vec(), None));
        }
        // What lost its room makes room in the quota for what replaces it.
        let mut tree = self.without_lost(ticket);
        let mut within = Vec::with_capacity(sizes.len());
        let mut short = None;
        for (number, size) in sizes.iter().enumerate() {
            let (placed, request) = (ticket.placed(number), self.request_of(ticket, number));
            let more = size.saturating_sub(placed);
            let allowed = tree.headroom(leaf, &request, u64::from(more)) as u32;
            tree.charge(leaf, &request, u64::from(allowed));
            let size = if more == 0 { *size } else { placed + allowed };
            let quota = &tree.quotas[leaf.index()].name;
            if allowed < more {
                let name = &workload.components[number].name;
                let what = format!("quota {quota} allows {size} of {} replicas of {name}", placed + more);
                let reason = Reason::new(Code::QuotaExceeded, what);
                if size < ticket.least(number) || (size == 0 && sizes.len() == 1) {
                    return Err(reason);
                }
                short = short.or(Some(reason));
            }
            within.push(size);
        }
        Ok((within, short))
    }

    /// Takes off what would exceed the budget, the dearest first; and for Duplicated, what the quota does not hold.
    pub(super) fn trim(
        &self,
        ticket: &Ticket<'_>,
        candidates: &Candidates,
        targets: &mut Vec<Target>,
        short: &mut Option<Reason>,
    ) {
        let rules = &ticket.entry.workload.rules;
        if let Some(budget) = rules.budget {
            let before = count(targets);
            self.within_budget(ticket, candidates, targets, budget);
            let after = count(targets);
            if after < before {
                let what = format!("a budget of {budget} USD per hour leaves out {} replicas", before - after);
                *short = Some(Reason::new(Code::Budget, what));
            }
        }
        let (Some(leaf), Division::Duplicated, false) = (ticket.leaf, rules.division, rules.gang) else { return };
        // What runs keeps its quota; what is new takes from the rest, candidate by candidate, whole or not at all.
        let mut tree = self.without(ticket);
        let stays =
            |target: &Target, number: usize| ticket.held_at(target.cluster, number).min(target.replicas[number]);
        for target in targets.iter() {
            for number in 0..target.replicas.len() {
                tree.charge(leaf, &self.request_of(ticket, number), u64::from(stays(target, number)));
            }
        }
        for target in targets.iter_mut() {
            let mut with = tree.clone();
            let fits = (0..target.replicas.len()).all(|number| {
                let request = self.request_of(ticket, number);
                let more = u64::from(target.replicas[number] - stays(target, number));
                let fits = with.headroom(leaf, &request, more) == more;
                with.charge(leaf, &request, more);
                fits
            });
            if fits {
                tree = with;
                continue;
            }
            target.replicas = (0..target.replicas.len()).map(|number| stays(target, number)).collect();
            let what = format!("quota {} does not hold it in every cluster", tree.quotas[leaf.index()].name);
            *short = Some(Reason::new(Code::QuotaExceeded, what));
        }
        targets.retain(|target| target.replicas.iter().any(|replicas| *replicas > 0));
    }

    /// What the replicas that stay cost, as far as it is known: those in pools that can grow count with what a replica on
    /// a new node costs there at the least, since nobody knows on which nodes they run.
    fn cost_of_held(&self, ticket: &Ticket<'_>, targets: &[Target]) -> f64 {
        let mut cost = 0.0;
        for target in targets {
            for (component, replicas) in target.replicas.iter().enumerate() {
                let mut booked = Booked::default();
                self.keep(ticket, target, component, *replicas, &mut booked);
                for share in booked.shares {
                    let pool =
                        self.work.pool_row(target.cluster, share.pool.as_str()).and_then(|row| self.work.pool(row));
                    let (Some(pool), Some(need)) = (pool, self.work.need(ticket.shapes[component])) else { continue };
                    let price = pool.spec.offerings.iter().filter_map(|row| {
                        let offering = self.work.offering(*row)?;
                        let fits = need.fits_fresh(&offering.allocatable);
                        (fits > 0).then(|| offering.price / f64::from(fits))
                    });
                    cost += f64::from(share.replicas) * price.min_by(f64::total_cmp).unwrap_or(0.0);
                }
            }
        }
        cost
    }

    /// Takes off replicas that need new nodes, the dearest first, until the rest is within the budget.
    fn within_budget(&self, ticket: &Ticket<'_>, candidates: &Candidates, targets: &mut Vec<Target>, budget: f64) {
        let n = candidates.len();
        let max_lead = ticket.entry.workload.rules.max_lead_seconds;
        // New replicas by (price, target, component, count), in the order in which they are bought.
        let mut bought: Vec<(f64, usize, usize, u32)> = Vec::new();
        for (at, target) in targets.iter().enumerate() {
            for (component, replicas) in target.replicas.iter().enumerate() {
                let row = component * n + target.row;
                let free = candidates.current[row].saturating_add(candidates.ready[row]);
                let mut rest = replicas.saturating_sub(free);
                if rest == 0 {
                    continue;
                }
                for offer in self.work.offers(target.cluster, ticket.shapes[component], max_lead) {
                    let here = offer.replicas.min(rest);
                    if here > 0 {
                        bought.push((offer.price, at, component, here));
                    }
                    rest -= here;
                }
            }
        }
        let held = self.cost_of_held(ticket, targets);
        let mut cost: f64 = held + bought.iter().map(|(price, .., count)| price * f64::from(*count)).sum::<f64>();
        bought.sort_by(|one, other| other.0.total_cmp(&one.0).then((other.1, other.2).cmp(&(one.1, one.2))));
        for (price, at, component, count) in bought {
            if cost <= budget || price <= 0.0 {
                break;
            }
            let off = (((cost - budget) / price).ceil().min(f64::from(count)) as u32).max(1);
            targets[at].replicas[component] -= off;
            cost -= price * f64::from(off);
        }
        targets.retain(|target| target.replicas.iter().any(|replicas| *replicas > 0));
    }

    /// Books all targets. A gang is booked whole, in the size decided or in the least that it
    /// starts or runs in; others get what fits.
    ///
    /// # Errors
    /// Why it waits; nothing is booked then.
    pub(super) fn book(&mut self, ticket: &Ticket<'_>, targets: &[Target]) -> Result<Booked, Reason> {
        let gang = ticket.entry.workload.rules.gang;
        // Only a workload with floors can fail after something was taken.
        let floors = (0..ticket.shapes.len()).any(|number| ticket.least(number) > 0);
        let saved = floors.then(|| self.work.clone());
        let mut booked = self.try_book(ticket, targets, gang);
        if booked.is_none() {
            // A gang is in one cluster, so nothing of it was applied.
            let least = |target: &Target| {
                let least = |at: usize| ticket.least(at).max(ticket.held_at(target.cluster, at));
                let replicas = target.replicas.iter().enumerate().map(|(at, size)| least(at).min(*size));
                Target { replicas: replicas.collect(), ..target.clone() }
            };
            booked = self.try_book(ticket, &targets.iter().map(least).collect::<Vec<_>>(), gang);
        }
        let result = booked.ok_or_else(|| Reason::new(Code::GangDoesNotFit, "the whole set does not fit together"));
        let result = result.and_then(|booked| self.floors(ticket, booked));
        match result {
            Ok(mut booked) => {
                booked.short = self.short(ticket, &booked);
                self.charge(ticket, &booked);
                Ok(booked)
            }
            Err(reason) => {
                if let Some(saved) = saved {
                    self.work = saved;
                }
                Err(reason)
            }
        }
    }

    fn try_book(&mut self, ticket: &Ticket<'_>, targets: &[Target], whole: bool) -> Option<Booked> {
        let mut booked = Booked::default();
        for target in targets {
            let mut order: Vec<usize> = (0..target.replicas.len()).collect();
            order.sort_by_key(|number| std::cmp::Reverse(target.replicas[*number]));
            let mut draft = None;
            for number in order {
                let (wanted, held) = (target.replicas[number], ticket.held_at(target.cluster, number));
                self.keep(ticket, target, number, wanted.min(held), &mut booked);
                let more = wanted.saturating_sub(held);
                if more == 0 {
                    continue;
                }
                let draft = draft.get_or_insert_with(|| self.work.draft(target.cluster));
                let (shape, options) = (ticket.shapes[number], options(ticket));
                let taken = match draft.take(&self.work, shape, more, options) {
                    Ok(taken) => taken,
                    Err(_) if whole => return None,
                    // Components compete for the same nodes, so less may fit than each was told.
                    Err(short) => draft.take(&self.work, shape, short.have, options).unwrap_or_default(),
                };
                let cluster = self.cluster_name(target.cluster)?;
                for (pool, replicas) in taken.shares {
                    let pool = self.work.pool(pool)?.spec.name.clone();
                    let share = Share { component: number as u32, cluster: cluster.clone(), pool, replicas };
                    add_share(&mut booked.shares, share);
                }
                let orders = taken.orders.into_iter().map(|(pool, offering, nodes)| Ordered { pool, offering, nodes });
                booked.orders.extend(orders);
            }
            if let Some(draft) = draft {
                self.work.apply(draft);
            }
        }
        booked.shares.sort();
        booked.clusters = booked.shares.iter().map(|share| share.cluster.clone()).collect();
        booked.clusters.sort();
        booked.clusters.dedup();
        Some(booked)
    }

    /// Keeps replicas where they are, pool by pool in ascending order of name; the last pools give theirs up first.
    fn keep(&self, ticket: &Ticket<'_>, target: &Target, component: usize, count: u32, booked: &mut Booked) {
        let mut rest = count;
        let Some(cluster) = self.cluster_name(target.cluster) else { return };
        for share in ticket.entry.current.iter().flat_map(|current| &current.shares) {
            if share.component as usize == component && share.cluster == cluster && rest > 0 {
                let kept = share.replicas.min(rest);
                rest -= kept;
                add_share(&mut booked.shares, Share { replicas: kept, ..share.clone() });
            }
        }
    }

    /// A workload that starts at all has every component at its floor; Duplicated, in each cluster.
    fn floors(&self, ticket: &Ticket<'_>, mut booked: Booked) -> Result<Booked, Reason> {
        let workload = &ticket.entry.workload;
        let sum = |shares: &[Share], component: usize| -> u32 {
            let of = shares.iter().filter(|share| share.component as usize == component);
            of.fold(0_u32, |total, share| total.saturating_add(share.replicas))
        };
        let components = 0..workload.components.len();
        if workload.rules.division == Division::Duplicated && !workload.rules.gang {
            let clusters = std::mem::take(&mut booked.clusters);
            for cluster in clusters {
                let here: Vec<Share> = booked.shares.iter().filter(|share| share.cluster == cluster).cloned().collect();
                if components.clone().all(|number| sum(&here, number) >= ticket.least(number)) {
                    booked.clusters.push(cluster);
                } else if booked.orders.is_empty() {
                    booked.shares.retain(|share| share.cluster != cluster);
                } else {
                    // Nodes may have been ordered for it, so all is given back.
                    return Err(Reason::new(
                        Code::GangDoesNotFit,
                        format!("its floors do not fit together in {cluster}"),
                    ));
                }
            }
        } else if let Some(number) = components.clone().find(|at| sum(&booked.shares, *at) < ticket.least(*at)) {
            let component = &workload.components[number];
            let (name, fits) = (&component.name, sum(&booked.shares, number));
            let what = format!("{fits} replicas of {name} fit, and it does not start below {}", ticket.least(number));
            return Err(Reason::new(Code::GangDoesNotFit, what));
        }
        if booked.shares.is_empty() {
            return Err(Reason::new(Code::NotChosen, "the policy chose no cluster"));
        }
        Ok(booked)
    }

    /// What is missing of what the workload wants.
    fn short(&self, ticket: &Ticket<'_>, booked: &Booked) -> Option<Reason> {
        let workload = &ticket.entry.workload;
        let times = match workload.rules.division {
            Division::Duplicated if !workload.rules.gang => booked.clusters.len() as u64,
            _ => 1,
        };
        let missing = workload.components.iter().enumerate().find_map(|(number, component)| {
            let shares = booked.shares.iter().filter(|share| share.component as usize == number);
            let placed: u64 = shares.map(|share| u64::from(share.replicas)).sum();
            let wanted = u64::from(component.replicas) * times;
            (placed < wanted).then_some((placed, wanted, &component.name))
        });
        let (placed, wanted, name) = missing?;
        Some(Reason::new(
            Code::NoRoom,
            format!("{placed} of {wanted} replicas of {name} are placed; the rest waits for room"),
        ))
    }

    /// Charges the quota with what the workload has now instead of what it had.
    fn charge(&mut self, ticket: &Ticket<'_>, booked: &Booked) {
        let Some(leaf) = ticket.leaf else { return };
        self.refund(ticket);
        for share in &booked.shares {
            let request = self.request_of(ticket, share.component as usize);
            self.work.quotas_mut().charge(leaf, &request, u64::from(share.replicas));
        }
    }
}

fn count(targets: &[Target]) -> u64 {
    targets.iter().flat_map(|target| &target.replicas).map(|replicas| u64::from(*replicas)).sum()
}
