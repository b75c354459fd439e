//! One cluster's room for one shape, in a form that is cheap to bring up to date.
//!
//! What a change leaves alone is not looked at again: the order in which offerings would be used follows from what is
//! declared, the room on nodes from each pool by itself, and only what may be ordered of each offering is read every time.
//! The result is the same as that of a look at everything.

use crate::fleet::Snapshot;
use crate::ids::{OfferingRow, PoolRow};

use super::room::{Base, Look, Step, Survey};

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

    fn fits(&mut self, row: OfferingRow, fits: impl FnOnce() -> u32) -> u32 {
        match self.fits.get_mut(row.index()) {
            Some(known) => *known.get_or_insert_with(fits),
            None => fits(),
        }
    }

    fn tolerates(&mut self, class: u32, tolerates: impl FnOnce() -> bool) -> bool {
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
    /// Offerings in `planned`, each once.
    offerings: Box<[OfferingRow]>,
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
    /// Stamp of the nodes.
    nodes: u64,
    base: Base,
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
    /// Looks again at what changed, and leaves the result in `survey`, but for its flights.
    pub(crate) fn survey(&mut self, look: &Look<'_>, specs: u64, survey: &mut Survey, memo: &mut Memo) {
        if self.specs != specs {
            *self = Self::declared(look, specs, memo);
        }
        let mut base = Base::default();
        for part in &mut self.parts {
            let stamp = look.snapshot.pool_stamp(part.row);
            if part.nodes != stamp
                && let Some(pool) = look.snapshot.pool(part.row)
            {
                survey.look_at_pool(look, (usize::from(part.index), pool));
                (part.base, part.slots, part.nodes) = (survey.base, pool.slots(), stamp);
            }
            base.join(part.base);
        }
        survey.base = base;
        self.steps(look.snapshot, survey);
    }

    /// Leaves the flights of a row that is up to date in `survey`.
    pub(crate) fn flights(&self, look: &Look<'_>, survey: &mut Survey) {
        survey.forget_flights();
        for part in self.parts.iter().filter(|part| part.base.flies()) {
            if let Some(pool) = look.snapshot.pool(part.row) {
                survey.look_for_flights(look, (usize::from(part.index), pool));
            }
        }
    }

    /// What is declared. The room on nodes is not known yet.
    fn declared(look: &Look<'_>, specs: u64, memo: &mut Memo) -> Self {
        let (snapshot, shape) = (look.snapshot, &look.need.shape);
        let region = snapshot.region(look.cluster);
        let mut parts = Vec::new();
        let mut steps: Vec<(Step, Planned)> = Vec::new();
        let mut offerings: Vec<OfferingRow> = Vec::new();
        for (index, (row, pool)) in snapshot.pools_of(look.cluster).enumerate() {
            if !memo.tolerates(snapshot.taint_class(row), || shape.tolerates(&pool.spec)) {
                continue;
            }
            let mut part = Part {
                row,
                index: index as u16,
                quick: look.quick(pool),
                matches: false,
                lead_seconds: pool.spec.lead_seconds,
                slots: 0,
                nodes: 0,
                base: Base::default(),
            };
            for offering_row in &pool.spec.offerings {
                let Some(offering) = snapshot.offering(*offering_row) else { continue };
                let per = memo.fits(*offering_row, || look.need.fits_fresh(&offering.allocatable));
                let labels = || snapshot.offering_labels(&pool.spec, region, offering);
                if per == 0 || !(shape.nodes.is_empty() || shape.selects(&labels())) {
                    continue;
                }
                part.matches = true;
                if part.quick {
                    let known = offerings.iter().position(|known| known == offering_row);
                    let place = known.unwrap_or_else(|| {
                        offerings.push(*offering_row);
                        offerings.len() - 1
                    });
                    let planned = Planned { part: parts.len() as u16, offering: place as u16, per };
                    steps.push((Step::new((index, row, pool), (*offering_row, offering), place, per), planned));
                }
            }
            parts.push(part);
        }
        steps.sort_unstable_by(|one, other| one.0.order(&other.0));
        let planned = steps.into_iter().map(|(_, planned)| planned).collect();
        Self { specs, parts: parts.into(), planned, offerings: offerings.into() }
    }

    /// The steps that can be gone now.
    fn steps(&self, snapshot: &Snapshot, survey: &mut Survey) {
        let stock = self.offerings.iter().map(|row| (*row, snapshot.orderable(*row)));
        survey.begin_steps(stock, self.parts.last().map_or(0, |part| usize::from(part.index) + 1));
        for part in &self.parts {
            survey.slot(usize::from(part.index), part.slots, part.matches, part.quick);
        }
        for planned in &self.planned {
            let part = &self.parts[usize::from(planned.part)];
            if part.slots == 0 || survey.none_left(usize::from(planned.offering)) {
                continue;
            }
            let row = self.offerings[usize::from(planned.offering)];
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
