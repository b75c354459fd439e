//! What is known of offerings: declared, reported by providers, and learned from orders.

use berth_api::resources::{Cluster, Offering, OfferingStatus, StockReport};
use berth_core::fleet::{CapacityType, OfferingKey, Snapshot, Stock, StockState};
use berth_core::ids::Millis;
use berth_core::resources::ResourceNames;

use super::State;
use crate::ports::{OrderFailure, Revision};

/// From this many nodes on reports are taken at their word.
const TRUSTED: u32 = 8;
const MOST: u32 = 1 << 16;
/// Annotation with why the last order failed.
const FAILURE: &str = "berth.dev/last-order-failure";

#[derive(Clone, Debug)]
pub struct KnownOffering {
    pub object: Offering,
    pub(crate) revision: Revision,
    /// What the provider last said.
    pub(crate) reported: Option<Stock>,
}

impl KnownOffering {
    pub(crate) fn new(object: Offering, revision: Revision) -> Self {
        Self { object, revision, reported: None }
    }

    /// Why the last order failed, if none was delivered since.
    pub fn failure(&self) -> Option<OrderFailure> {
        let written = self.object.metadata.annotations.get(FAILURE)?;
        serde_json::from_value(written.as_str().into()).ok()
    }

    /// The object with what an order taught.
    pub(crate) fn taught(&self, stock: &Stock, failure: Option<OrderFailure>) -> Offering {
        let mut object = self.object.clone();
        object.status = Some(OfferingStatus { stock: StockReport::from(stock) });
        let annotations = &mut object.metadata.annotations;
        match failure {
            Some(failure) => drop(annotations.insert(FAILURE.to_owned(), format!("{failure:?}"))),
            None => drop(annotations.remove(FAILURE)),
        }
        object
    }

    /// What is written down: declared, and learned from orders.
    pub(crate) fn learned(&self) -> Stock {
        let written = self.object.status.as_ref().map(|status| Stock::from(&status.stock)).unwrap_or_default();
        Stock { probe: if written.probe == 0 { TRUSTED } else { written.probe }, ..written }
    }

    /// The newest report, limited by what orders have taught: while an offering is in doubt, only as many nodes as may be
    /// probed, whatever a report says.
    pub fn stock(&self) -> Stock {
        let learned = self.learned();
        let newer = self.reported.as_ref().filter(|report| report.observed_at >= learned.observed_at);
        let report = newer.unwrap_or(&learned);
        let mut stock = Stock { probe: learned.probe, retry_at: learned.retry_at, ..report.clone() };
        if learned.probe < TRUSTED && stock.state == StockState::InStock {
            stock.state = StockState::Limited;
            stock.lower_bound = stock.lower_bound.min(learned.probe);
        }
        stock
    }

    /// What an order that failed teaches.
    pub(crate) fn after_failure(&self, cause: OrderFailure, now: Millis, wait: u64) -> Stock {
        let learned = self.learned();
        let retry_at = now.plus(wait);
        if cause != OrderFailure::NoStock {
            return Stock { retry_at, ..learned };
        }
        Stock {
            state: StockState::OutOfStock,
            lower_bound: 0,
            confidence: 1.0,
            observed_at: now,
            ttl_ms: wait.max(1),
            probe: (learned.probe.min(TRUSTED) / 2).max(1),
            retry_at,
        }
    }

    /// What an order that was delivered teaches; `None` where it is nothing new.
    pub(crate) fn after_success(&self) -> Option<Stock> {
        let learned = self.learned();
        let probe = learned.probe.saturating_mul(2).min(MOST);
        // Where nobody says how much there is, each success allows more.
        let uncounted = self.stock().lower_bound == 0 && probe > learned.probe;
        let doubtful =
            uncounted || learned.probe < TRUSTED || learned.state == StockState::OutOfStock || self.failure().is_some();
        doubtful.then(|| {
            let state = if learned.state == StockState::OutOfStock { StockState::Unknown } else { learned.state };
            Stock { state, probe, retry_at: Millis(0), ..learned }
        })
    }

    /// How often orders failed in a row, as far as the probe tells.
    pub(crate) fn failures(&self) -> u32 {
        (TRUSTED / self.learned().probe.clamp(1, TRUSTED)).ilog2()
    }
}

/// Lets `make` intern resource names, and gives the snapshot the new ones in the same rows.
pub(super) fn with_names<T>(snapshot: &mut Snapshot, make: impl FnOnce(&mut ResourceNames) -> T) -> T {
    let mut names = snapshot.resources().clone();
    let known = names.names().len();
    let made = make(&mut names);
    for name in names.names().iter().skip(known) {
        snapshot.amounts(&[(name.clone(), 0)].into());
    }
    made
}

impl State {
    /// Offerings of a cluster's provider and region.
    pub(crate) fn offerings_in<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = &'a Offering> + 'a {
        let (provider, region) = (cluster.spec.provider.as_str(), cluster.spec.region.as_str());
        let first = OfferingKey {
            provider: provider.into(),
            region: region.into(),
            zone: "".into(),
            instance_type: "".into(),
            capacity_type: CapacityType::OnDemand,
        };
        let here = move |key: &OfferingKey| &*key.provider == provider && &*key.region == region;
        self.offerings.range(first..).take_while(move |(key, _)| here(key)).map(|(_, known)| &known.object)
    }

    /// Writes an offering's row. Says whether more may be ordered than before.
    pub(crate) fn put_offering(&mut self, key: &OfferingKey) -> bool {
        let Some(known) = self.offerings.get(key) else { return false };
        let before = self.snapshot.offering_row(key).map_or(0, |row| self.snapshot.orderable(row));
        let stock = known.stock();
        let object = known.object.clone();
        let offering = with_names(&mut self.snapshot, |names| berth_api::to_core::offering(&object, names));
        let row = self.snapshot.upsert_offering(berth_core::fleet::Offering { stock, ..offering });
        let more = self.snapshot.orderable(row) > before;
        self.epoch += u64::from(more);
        more
    }
}
