//! What runs now costs: prices of the nodes that there are, where room's prices are those of the next nodes.

use crate::fleet::{Pool, Snapshot};
use crate::ids::{ClusterRow, ShapeRow};
use crate::placement::Share;

use super::fit::Need;

impl Snapshot {
    /// USD per hour and replica of a component's replicas in a cluster, the mean over its `shares` there; interruption is
    /// not counted. 0 where nothing is placed or no price is known. Pools without a known price do not count.
    pub fn running_price<'a>(
        &self,
        cluster: ClusterRow,
        shape: ShapeRow,
        shares: impl IntoIterator<Item = &'a Share>,
    ) -> f64 {
        let Some(need) = self.need(shape) else { return 0.0 };
        let (mut usd, mut replicas) = (0.0, 0.0);
        for share in shares {
            let pool = self.pool_row(cluster, share.pool.as_str()).and_then(|row| self.pool(row));
            if let Some(price) = pool.and_then(|pool| self.pool_price(pool, need)) {
                usd += price * f64::from(share.replicas);
                replicas += f64::from(share.replicas);
            }
        }
        if replicas > 0.0 { usd / replicas } else { 0.0 }
    }

    /// USD per hour and replica in a pool. On which of its nodes replicas run is not known: what all nodes that may run them
    /// cost, ready and in flight, is shared by as many as fit on them while they are empty. Nodes that came from no
    /// offering have no price and do not count.
    fn pool_price(&self, pool: &Pool, need: &Need) -> Option<f64> {
        let region = self.region(pool.cluster);
        let (mut usd, mut fits) = (0.0, 0.0);
        for group in pool.groups.iter().filter(|group| group.part.is_none()) {
            let Some(offering) = group.offering.and_then(|row| self.offering(row)) else { continue };
            let per = need.fits_fresh(&offering.allocatable);
            if per > 0 && self.accepts(&pool.spec, region, group, need) {
                usd += offering.price * f64::from(group.count);
                fits += f64::from(per) * f64::from(group.count);
            }
        }
        (fits > 0.0).then(|| usd / fits)
    }
}

#[cfg(test)]
mod tests;
