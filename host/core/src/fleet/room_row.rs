//! One cluster's room for one shape, in a form that is cheap to bring up to date.
//!
//! What a change leaves alone is not looked at again: the order in which offerings would be used follows from what is
//! declared, the room on nodes from each pool by itself, and what may be ordered is read of pools whose stock changed.
//! The result is the same as that of a look at everything.

use crate::fleet::{ClusterRoom, Offer, Offering, Pool, Snapshot};
use crate::ids::{OfferingRow, PoolRow};

use super::room::{Reach, bit, clamp};
use super::survey::{Base, Limits, Look, Next, OnNodes, Step, Survey};

/// What holds of one shape wherever it runs, as far as it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    catalogue: u64,
    /// Replicas that fit on a fresh node, by offering.
    fits: Vec<Option<u32>>,
    /// Whether taints are tolerated, by class.
    tolerates: Vec<Option<bool>>,
}

impl Memo {
    pub(crate) fn bring_up_to(&mut self, snapshot: &Snapshot) {
        if self.catalogue != snapshot.catalogue() {
            self.fits.clear();
            self.fits.resize(snapshot.offerings_len(), None);
            self.tolerates.clear();
            self.tolerates.resize(snapshot.taint_classes(), None);
            self.catalogue = snapshot.catalogue();
        }
    }

    pub(crate) fn fits(&mut self, row: OfferingRow, fits: impl FnOnce() -> u32) -> u32 {
        match self.fits.get_mut(row.index()) {
            Some(known) => *known.get_or_insert_with(fits),
            None => fits(),
        }
    }

    pub(crate) fn tolerates(&mut self, class: u32, tolerates: impl FnOnce() -> bool) -> bool {
        match self.tolerates.get_mut(class as usize) {
            Some(known) => *known.get_or_insert_with(tolerates),
            None => tolerates(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct RoomRow {
    /// Stamp of what is declared.
    specs: u64,
    /// Pools whose taints the shape tolerates.
    parts: Box<[Part]>,
    /// In the order in which new nodes are filled.
    planned: Box<[Planned]>,
    /// Offerings in `planned`, each once, with the nodes that may be ordered; those of a part stand together if parts are
    /// `apart`.
    offerings: Box<[(OfferingRow, u32)]>,
    /// No two pools share an offering, and all new nodes of a pool hold as many replicas: then what one pool can add has
    /// nothing to do with the others, nor with any order.
    apart: bool,
}

#[derive(Debug)]
struct Part {
    row: PoolRow,
    /// Place in the cluster.
    index: u16,
    /// New nodes of it come soon enough.
    quick: bool,
    /// A fresh node of some offering would hold the shape.
    matches: bool,
    lead_seconds: u32,
    slots: u32,
    /// Places in `offerings` where parts are apart, and replicas a new node.
    offerings: (u16, u16),
    per: u32,
    /// Stamps of the nodes and of the stock.
    seen: (u64, u64),
    nodes: OnNodes,
}

/// New nodes of one offering in one pool.
#[derive(Clone, Copy, Debug)]
struct Planned {
    /// Places in `parts` and `offerings`.
    part: u16,
    offering: u16,
    per: u32,
}

impl RoomRow {
    /// Looks again at what changed, and says whether anything did that room or offers follow from.
    pub(crate) fn bring_up(&mut self, look: &Look<'_>, specs: u64, memo: &mut Memo) -> bool {
        let mut changed = self.specs != specs;
        if changed {
            *self = Self::declared(look, specs, memo);
        }
        let mut any = changed;
        for part in &mut self.parts {
            let stamps = look.snapshot.pool_stamps(part.row);
            let seen = (stamps.nodes, stamps.stock);
            if part.seen == seen {
                continue;
            }
            any = true;
            if part.seen.0 != seen.0
                && let Some(pool) = look.snapshot.pool(part.row)
            {
                let before = (part.nodes, part.slots);
                (part.nodes, part.slots) = (look.on_nodes(pool, |_| {}), pool.slots());
                // Nodes in flight are offered one by one, which their sum does not tell.
                changed |= before != (part.nodes, part.slots) || part.nodes.in_flight > 0;
            }
            part.seen = seen;
            if self.apart {
                let (from, to) = part.offerings;
                let offerings = self.offerings.get_mut(usize::from(from)..usize::from(to)).unwrap_or_default();
                changed |= read_stock(look.snapshot, offerings);
            }
        }
        if any && !self.apart {
            changed |= read_stock(look.snapshot, &mut self.offerings);
        }
        changed
    }

    /// The room of a row that is up to date.
    pub(crate) fn room(&self, snapshot: &Snapshot, survey: &mut Survey) -> (ClusterRoom, Reach) {
        if !self.apart {
            self.survey(snapshot, survey);
            return (survey.cluster_room(), survey.reach());
        }
        let (mut base, mut limits, mut new) = (Base::default(), Limits::default(), 0_u64);
        let mut reach = Reach::default();
        for part in &self.parts {
            base.join(usize::from(part.index), part.lead_seconds, &part.nodes);
            limits.matched |= part.matches;
            if part.slots == 0 {
                limits.full_pool |= part.matches && part.quick;
                continue;
            }
            let (from, to) = part.offerings;
            let mut stock = 0;
            for (offering, nodes) in self.offerings.get(usize::from(from)..usize::from(to)).unwrap_or_default() {
                if *nodes == 0 {
                    limits.no_stock = true;
                } else {
                    stock += u64::from(*nodes);
                    reach.offerings |= bit(offering.index());
                }
            }
            if stock > 0 {
                reach.pools |= bit(usize::from(part.index));
                new = new.saturating_add(stock.min(u64::from(part.slots)) * u64::from(part.per));
            }
        }
        let on_nodes = base.reach();
        let reach = Reach { pools: reach.pools | on_nodes.pools, nodes: on_nodes.nodes, ..reach };
        (base.room(new, || self.first(snapshot), limits), reach)
    }

    /// The first new node.
    fn first(&self, snapshot: &Snapshot) -> Option<Next> {
        let open = |planned: &&Planned| {
            self.parts[usize::from(planned.part)].slots > 0 && self.offerings[usize::from(planned.offering)].1 > 0
        };
        let planned = self.planned.iter().find(open)?;
        let offering = snapshot.offering(self.offerings[usize::from(planned.offering)].0)?;
        let lead_seconds = self.parts[usize::from(planned.part)].lead_seconds;
        let price = offering.price / f64::from(planned.per);
        Some(Next { price, lead_seconds, interruption: offering.interruption })
    }

    /// Writes the first of [`Snapshot::offers`] that hold `enough` replicas, each whole, of a row that is up to date. Says
    /// whether there are no others.
    pub(crate) fn first_offers(
        &self,
        look: &Look<'_>,
        enough: u64,
        survey: &mut Survey,
        offers: &mut Vec<Offer>,
    ) -> bool {
        offers.clear();
        let mut sum = 0;
        for part in self.parts.iter().filter(|part| part.nodes.in_flight > 0) {
            let Some(pool) = look.snapshot.pool(part.row) else { continue };
            look.on_nodes(pool, |flight| {
                if sum < enough {
                    offers.push(flight);
                    sum += u64::from(flight.replicas);
                }
            });
        }
        if sum >= enough {
            return false;
        }
        survey.slots_left.clear();
        survey.slots_left.extend(self.parts.iter().map(|part| part.slots));
        survey.stock_left.clear();
        survey.stock_left.extend(self.offerings.iter().map(|(_, nodes)| *nodes));
        for planned in &self.planned {
            let slots = &mut survey.slots_left[usize::from(planned.part)];
            let stock = &mut survey.stock_left[usize::from(planned.offering)];
            let nodes = (*slots).min(*stock);
            if nodes == 0 {
                continue;
            }
            let Some(offering) = look.snapshot.offering(self.offerings[usize::from(planned.offering)].0) else {
                continue;
            };
            *slots -= nodes;
            *stock -= nodes;
            let replicas = clamp(u64::from(nodes) * u64::from(planned.per));
            let (price, interruption) = (offering.price / f64::from(planned.per), offering.interruption);
            let lead_seconds = self.parts[usize::from(planned.part)].lead_seconds;
            offers.push(Offer { replicas, price, lead_seconds, interruption });
            sum += u64::from(replicas);
            if sum >= enough {
                return false;
            }
        }
        if !self.apart {
            // Denser nodes may hold more than these.
            survey.look(look, look.snapshot.pools_of(look.cluster));
            *offers = survey.offers();
        }
        true
    }

    /// What is declared. The room on nodes and the stock are not known yet.
    fn declared(look: &Look<'_>, specs: u64, memo: &mut Memo) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        let mut steps: Vec<(Step, Planned)> = Vec::new();
        let mut offerings: Vec<(OfferingRow, u32)> = Vec::new();
        let mut apart = true;
        for (index, (row, pool)) in look.snapshot.pools_of(look.cluster).enumerate() {
            if !memo.tolerates(look.snapshot.taint_class(row), || look.need.shape.tolerates(&pool.spec)) {
                continue;
            }
            let mut part = Part::new(index, row, pool, look.quick(pool));
            let first = (offerings.len(), steps.len());
            for (offering_row, offering, per) in usable(look, pool, memo) {
                part.matches = true;
                if !part.quick {
                    continue;
                }
                let known = offerings.iter().position(|(known, _)| *known == offering_row);
                let place = known.unwrap_or(offerings.len());
                if known.is_none() {
                    offerings.push((offering_row, 0));
                }
                apart &= known.is_none() && steps.get(first.1).is_none_or(|(step, _)| step.per == per);
                part.per = per;
                let planned = Planned { part: parts.len() as u16, offering: place as u16, per };
                steps.push((Step::new((index, row, pool), (offering_row, offering), place, per), planned));
            }
            part.offerings = (first.0 as u16, offerings.len() as u16);
            parts.push(part);
        }
        steps.sort_unstable_by(|one, other| one.0.order(&other.0));
        let planned = steps.into_iter().map(|(_, planned)| planned).collect();
        Self { specs, parts: parts.into(), planned, offerings: offerings.into(), apart }
    }

    /// Leaves nodes and steps of a row that is up to date in `survey`, but not its flights.
    fn survey(&self, snapshot: &Snapshot, survey: &mut Survey) {
        survey.base = Base::default();
        for part in &self.parts {
            survey.base.join(usize::from(part.index), part.lead_seconds, &part.nodes);
        }
        let pools = self.parts.last().map_or(0, |part| usize::from(part.index) + 1);
        survey.begin_steps(self.offerings.iter().copied(), pools);
        for part in &self.parts {
            survey.slot(usize::from(part.index), part.slots, part.matches, part.quick);
        }
        for planned in &self.planned {
            let part = &self.parts[usize::from(planned.part)];
            if part.slots == 0 || survey.none_left(usize::from(planned.offering)) {
                continue;
            }
            let row = self.offerings[usize::from(planned.offering)].0;
            let Some(offering) = snapshot.offering(row) else { continue };
            survey.steps.push(Step {
                pool: usize::from(part.index),
                row: part.row,
                offering: row,
                stock: usize::from(planned.offering),
                per: planned.per,
                price: offering.price / f64::from(planned.per),
                lead_seconds: part.lead_seconds,
                interruption: offering.interruption,
            });
        }
    }
}

impl Part {
    fn new(index: usize, row: PoolRow, pool: &Pool, quick: bool) -> Self {
        Self {
            row,
            index: index as u16,
            quick,
            matches: false,
            lead_seconds: pool.spec.lead_seconds,
            slots: 0,
            offerings: (0, 0),
            per: 0,
            seen: (0, 0),
            nodes: OnNodes::default(),
        }
    }
}

/// The offerings of a pool whose fresh nodes hold the shape, with how many replicas.
fn usable<'a>(
    look: &Look<'a>,
    pool: &'a Pool,
    memo: &'a mut Memo,
) -> impl Iterator<Item = (OfferingRow, &'a Offering, u32)> {
    let (snapshot, need) = (look.snapshot, look.need);
    let region = snapshot.region(look.cluster);
    pool.spec.offerings.iter().filter_map(move |row| {
        let offering = snapshot.offering(*row)?;
        let per = memo.fits(*row, || need.fits_fresh(&offering.allocatable));
        let labels = || snapshot.offering_labels(&pool.spec, region, offering);
        let selects = per > 0 && (need.shape.nodes.is_empty() || need.shape.selects(&labels()));
        selects.then_some((*row, offering, per))
    })
}

/// Reads how many nodes may be ordered, and says whether that changed.
fn read_stock(snapshot: &Snapshot, offerings: &mut [(OfferingRow, u32)]) -> bool {
    let mut changed = false;
    for (row, nodes) in offerings {
        let now = snapshot.orderable(*row);
        changed |= *nodes != now;
        *nodes = now;
    }
    changed
}
