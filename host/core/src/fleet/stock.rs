//! How many nodes of an offering may be ordered, from what is known of its stock.

use crate::fleet::{Offering, Stock, StockState};
use crate::ids::Millis;

/// Nodes that may be ordered at once where a source says "in stock" without a number: a few, so that one wrong answer costs
/// little, and more than one, so that yes-or-no sources do not make the fleet grow node by node.
pub(crate) const UNCOUNTED: u32 = 8;

impl Stock {
    /// Whether the report still holds. A report from the future holds.
    pub fn fresh(&self, now: Millis) -> bool {
        self.ttl_ms == 0 || now.since(self.observed_at) < self.ttl_ms
    }

    /// Nodes that may be on order at the same time. A fresh report with a number is taken at its word; without one, "in
    /// stock" allows [`UNCOUNTED`] nodes, or as many as orders have proven if that is more. "Limited" without a number,
    /// an unknown stock, and a report past its time to live allow what may be probed.
    pub fn orderable(&self, now: Millis) -> u32 {
        if now < self.retry_at {
            return 0;
        }
        if !self.fresh(now) {
            return self.probe;
        }
        match (self.state, self.lower_bound) {
            (StockState::OutOfStock, _) => 0,
            (StockState::Unknown, _) | (StockState::Limited, 0) => self.probe,
            (StockState::InStock, 0) => self.probe.max(UNCOUNTED),
            (StockState::InStock | StockState::Limited, nodes) => nodes,
        }
    }

    /// The next time after `now` at which [`Stock::orderable`] may answer differently though nothing was reported.
    pub(crate) fn turns_at(&self, now: Millis) -> Option<Millis> {
        let expires = (self.ttl_ms > 0).then(|| self.observed_at.plus(self.ttl_ms));
        [Some(self.retry_at), expires].into_iter().flatten().filter(|time| *time > now).min()
    }
}

impl Offering {
    /// Further nodes that may be ordered now.
    pub fn orderable(&self, now: Millis) -> u32 {
        self.stock.orderable(now).saturating_sub(self.in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_allows_what_is_known_of_it() {
        let stock = |state, lower_bound, ttl_ms, retry_at| Stock {
            state,
            lower_bound,
            confidence: 1.0,
            observed_at: Millis(1000),
            ttl_ms,
            probe: 2,
            retry_at: Millis(retry_at),
        };
        use StockState::*;
        let cases = [
            (stock(InStock, 20, 0, 0), 20),
            (stock(InStock, 0, 0, 0), UNCOUNTED),
            (stock(Limited, 3, 1001, 0), 3),
            (stock(Limited, 3, 1000, 0), 2),
            (stock(Limited, 0, 0, 0), 2),
            (stock(OutOfStock, 9, 0, 0), 0),
            (stock(OutOfStock, 9, 500, 0), 2),
            (stock(Unknown, 9, 0, 0), 2),
            (stock(InStock, 20, 0, 2001), 0),
            (stock(InStock, 20, 0, 2000), 20),
        ];
        for (stock, nodes) in cases {
            assert_eq!(stock.orderable(Millis(2000)), nodes, "{stock:?}");
        }
        assert_eq!(stock(InStock, 1, 1500, 2100).turns_at(Millis(2000)), Some(Millis(2100)));
        assert_eq!(stock(InStock, 1, 1500, 2100).turns_at(Millis(2100)), Some(Millis(2500)));
        assert_eq!(stock(InStock, 1, 1500, 2100).turns_at(Millis(2500)), None);
    }
}
