//! Changes of a snapshot: by the control loops, each with a new generation if it has an effect, and by bookings.
//!
//! Every change renews the stamps of the clusters whose room follows from it, and of no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fleet::{Cluster, FleetError, ObservedNodes, Offering, Pool, PoolInput, PoolSpec, Snapshot, Taint};
use crate::ids::{ClusterRow, Millis, OfferingRow, PoolRow, ShapeRow};
use crate::quota::QuotaTree;
use crate::resources::{Amounts, NamedAmounts};
use crate::workload::Shape;

use super::{Need, PoolStamps, Stamps, stamp};

/// Changes by the control loops.
impl Snapshot {
    fn changed(&mut self) {
        self.generation.0 += 1;
    }

    fn touch(&mut self, cluster: ClusterRow) {
        if let Some(seen) = self.stamps.get_mut(cluster.index()) {
            seen.pools = stamp();
            (seen.specs, seen.frames) = (seen.pools, seen.pools);
        }
    }

    fn touch_stock(&mut self, pools: &[(ClusterRow, PoolRow)]) {
        let now = stamp();
        for (cluster, pool) in pools {
            if let Some(seen) = self.stamps.get_mut(cluster.index()) {
                seen.stock = now;
            }
            if let Some(seen) = self.pool_stamps.get_mut(pool.index()) {
                seen.stock = now;
            }
        }
    }

    fn new_tables(&mut self) {
        self.tables = Arc::default();
    }

    /// Moves the time for which stock is judged, forwards or backwards. Offerings whose stock turns by time alone, since a
    /// report expired or a wait is over, count as changed.
    pub fn advance(&mut self, now: Millis) {
        let before = std::mem::replace(&mut self.now, now);
        if now >= before && self.next_turn.is_none_or(|turn| now < turn) {
            return;
        }
        let turned: Vec<(OfferingRow, u32, u32)> = self
            .offerings()
            .map(|(row, offering)| (row, offering.orderable(before), offering.orderable(now)))
            .filter(|(_, before, now)| before != now)
            .collect();
        self.next_turn = self.offerings.iter().filter_map(|offering| offering.stock.turns_at(now)).min();
        if !turned.is_empty() {
            self.changed();
        }
        for (row, before, now) in turned {
            self.touch_users(row, before, now);
        }
    }

    /// Converts named amounts to rows; a name that is new is appended to the resources.
    pub fn amounts(&mut self, named: &NamedAmounts) -> Amounts {
        if named.keys().any(|name| self.resources.row(name).is_none()) {
            let names = Arc::make_mut(&mut self.resources);
            named.keys().for_each(|name| _ = names.intern(name));
            self.new_tables();
            self.changed();
        }
        let row = |(name, amount): (&Arc<str>, &u64)| Some((self.resources.row(name)?, *amount));
        named.iter().filter_map(row).fold(Amounts::default(), |mut amounts, (row, amount)| {
            amounts.set(row, amount);
            amounts
        })
    }

    /// The row of a shape, appended if it is new.
    pub fn intern(&mut self, shape: &Arc<Shape>) -> ShapeRow {
        if let Some(row) = self.shape_rows.get(shape) {
            return *row;
        }
        let request = self.amounts(&shape.requests);
        let row = ShapeRow(self.shapes.push(Arc::new(Need::new(shape.clone(), request))) as u32);
        Arc::make_mut(&mut self.shape_rows).insert(shape.clone(), row);
        row
    }

    /// Adds or changes a cluster. One that had left and comes back keeps its row, without its former pools.
    pub fn upsert_cluster(&mut self, cluster: Cluster) -> ClusterRow {
        let cluster = Cluster { removed: false, ..cluster };
        let row = match self.cluster_row(cluster.name.as_str()) {
            Some(row) => row,
            None => {
                let row = ClusterRow(self.clusters.push(Arc::new(cluster.clone())) as u32);
                Arc::make_mut(&mut self.cluster_rows).insert(cluster.name.clone(), row);
                self.cluster_pools.push(Arc::default());
                self.stamps.push(Stamps { pools: stamp(), specs: stamp(), frames: stamp(), stock: stamp() });
                self.new_tables();
                self.topology = stamp();
                self.changed();
                return row;
            }
        };
        self.put_cluster(row, cluster);
        row
    }

    fn put_cluster(&mut self, row: ClusterRow, cluster: Cluster) {
        let Some(old) = self.clusters.get(row.index()).filter(|old| ***old != cluster).cloned() else { return };
        let same_tables =
            (&old.labels, &old.provider, &old.region) == (&cluster.labels, &cluster.provider, &cluster.region);
        if !same_tables {
            self.new_tables();
        }
        if old.region != cluster.region {
            self.touch(row);
        }
        if let Some(place) = self.clusters.get_mut(row.index()) {
            *place = Arc::new(cluster);
        }
        self.topology = stamp();
        self.changed();
    }

    /// Marks a cluster as removed and drops its pools. Its row stays.
    pub fn remove_cluster(&mut self, name: &str) -> Option<ClusterRow> {
        let row = self.cluster_row(name)?;
        let pools: Vec<PoolRow> = self.pools_of(row).map(|(row, _)| row).collect();
        pools.into_iter().for_each(|pool| self.remove_pool(pool));
        let cluster = self.cluster(row)?.clone();
        self.put_cluster(row, Cluster { removed: true, ..cluster });
        Some(row)
    }

    /// Adds or changes an offering. Nodes in flight are counted by the snapshot itself; `offering.in_flight` is ignored.
    pub fn upsert_offering(&mut self, offering: Offering) -> OfferingRow {
        let turns = offering.stock.turns_at(self.now);
        self.next_turn = self.next_turn.into_iter().chain(turns).min();
        let Some(row) = self.offering_row(&offering.key) else {
            let key = offering.key.clone();
            let row = OfferingRow(self.offerings.push(Offering { in_flight: 0, ..offering }) as u32);
            self.users.push(Arc::default());
            self.catalogue = stamp();
            Arc::make_mut(&mut self.offering_rows).insert(key, row);
            self.changed();
            return row;
        };
        let old = &self.offerings[row.index()];
        let new = Offering { in_flight: old.in_flight, ..offering };
        if *old == new {
            return row;
        }
        let same_nodes =
            (old.price, old.interruption, &old.allocatable) == (new.price, new.interruption, &new.allocatable);
        let (before, after) = (old.orderable(self.now), new.orderable(self.now));
        let other_nodes = old.allocatable != new.allocatable;
        if let Some(place) = self.offerings.get_mut(row.index()) {
            *place = new;
        }
        if same_nodes {
            self.touch_users(row, before, after);
        } else {
            self.users[row.index()].clone().iter().for_each(|(cluster, _)| self.touch(*cluster));
        }
        if other_nodes {
            self.catalogue = stamp();
            self.refit(row);
        }
        self.changed();
        row
    }

    /// Computes pools with nodes of an offering in flight again, since a fresh node is not what it was.
    fn refit(&mut self, offering: OfferingRow) {
        let holds = |pool: &Pool| pool.in_flight.iter().any(|(row, _)| *row == offering);
        let rows: Vec<PoolRow> =
            (0..self.pools.len() as u32).map(PoolRow).filter(|row| self.pool(*row).is_some_and(holds)).collect();
        for row in rows {
            let (Some(pool), Some(input)) =
                (self.pools.get(row.index()).cloned(), self.inputs.get(row.index()).cloned())
            else {
                continue;
            };
            self.put_pool(row, pool.spec.clone(), input);
        }
    }

    /// Declares a pool and says what is known of its nodes. Room taken from it since it was last set is forgotten: what was
    /// taken must be part of `input`. Rows of offerings and shapes must exist.
    pub fn set_pool(&mut self, cluster: ClusterRow, spec: PoolSpec, input: PoolInput) -> Result<PoolRow, FleetError> {
        self.check_pool(cluster, &spec, &input)?;
        let row = self.pool_row(cluster, spec.name.as_str());
        if let Some(row) = row {
            let old = &self.pools[row.index()];
            if !old.booked && *old.spec == spec && *self.inputs[row.index()] == input {
                return Ok(row);
            }
            let spec = if *old.spec == spec { old.spec.clone() } else { Arc::new(spec) };
            self.put_pool(row, spec, Arc::new(input));
            self.changed();
            return Ok(row);
        }
        let empty = PoolSpec { offerings: Vec::new(), ..spec.clone() };
        let pool = Pool::new(Arc::new(empty), cluster);
        let row = PoolRow(self.pools.push(Arc::new(pool)) as u32);
        self.inputs.push(Arc::default());
        let now = stamp();
        self.pool_stamps.push(PoolStamps { nodes: now, frame: now, stock: now });
        self.pool_taints.push(u32::MAX);
        let place = self.pools_of(cluster).take_while(|(_, pool)| pool.spec.name < spec.name).count();
        if let Some(rows) = self.cluster_pools.get_mut(cluster.index()) {
            Arc::make_mut(rows).insert(place, row);
        }
        self.put_pool(row, Arc::new(spec), Arc::new(input));
        self.changed();
        Ok(row)
    }

    /// Says anew what is known of a pool's nodes, and leaves what is declared as it is; see [`Snapshot::set_pool`].
    pub fn set_pool_input(&mut self, row: PoolRow, input: PoolInput) -> Result<PoolRow, FleetError> {
        let Some(old) = self.pools.get(row.index()).cloned() else { return Ok(row) };
        if !old.booked && *self.inputs[row.index()] == input {
            return Ok(row);
        }
        self.check_pool(old.cluster, &old.spec, &input)?;
        self.put_pool(row, old.spec.clone(), Arc::new(input));
        self.changed();
        Ok(row)
    }

    fn check_pool(&self, cluster: ClusterRow, spec: &PoolSpec, input: &PoolInput) -> Result<(), FleetError> {
        let pool = || spec.name.clone();
        if self.cluster(cluster).is_none() {
            return Err(FleetError::NoCluster { pool: pool(), row: cluster.0 });
        }
        if spec.max < spec.min {
            return Err(FleetError::MaxBelowMin { pool: pool(), min: spec.min, max: spec.max });
        }
        let used = spec.offerings.iter().copied();
        let used = used.chain(input.in_flight.iter().map(|order| order.offering));
        let mut used = used.chain(input.observed.iter().filter_map(|nodes| nodes.offering));
        if let Some(row) = used.find(|row| self.offering(*row).is_none()) {
            return Err(FleetError::NoOffering { pool: pool(), row: row.0 });
        }
        match input.unbound.iter().find(|(row, _)| self.need(*row).is_none()) {
            Some((row, _)) => Err(FleetError::NoShape { pool: pool(), row: row.0 }),
            None => Ok(()),
        }
    }

    fn put_pool(&mut self, row: PoolRow, spec: Arc<PoolSpec>, input: Arc<PoolInput>) {
        let Some(old) = self.pools.get(row.index()).cloned() else { return };
        let cluster = old.cluster;
        let region: Arc<str> = self.region(cluster).into();
        let pool = Pool::effective(
            spec,
            cluster,
            &input,
            |offering| self.fresh(offering),
            |shape| self.need(shape).cloned(),
            |spec, group, need| need.shape.tolerates(spec) && self.accepts(spec, &region, group, need),
        );
        self.classify(row, &pool.spec.taints);
        let last = self.inputs.get(row.index()).cloned().unwrap_or_default();
        if let Some(place) = self.inputs.get_mut(row.index()) {
            *place = input.clone();
        }
        self.count_orders(&old.in_flight, &pool.in_flight);
        let (before, after) = (old.spec.clone(), pool.spec.clone());
        let same_nodes = same_frame(&last, &input) && old.nodes() == pool.nodes();
        self.replace_pool(row, Arc::new(pool), same_nodes);
        if !Arc::ptr_eq(&before, &after) {
            let (before, after) = (&before.offerings, &after.offerings);
            before.iter().chain(after).for_each(|one| self.index_user(*one, (cluster, row), after.contains(one)));
        }
    }

    /// Notes which list of taints a pool has.
    fn classify(&mut self, row: PoolRow, taints: &[Taint]) {
        let known = self.taints.get(self.taint_class(row) as usize);
        if known.is_some_and(|known| known == taints) {
            return;
        }
        let class = self.taints.iter().position(|known| known == taints).unwrap_or_else(|| {
            Arc::make_mut(&mut self.taints).push(taints.to_vec());
            self.catalogue = stamp();
            self.taints.len() - 1
        });
        if let Some(place) = self.pool_taints.get_mut(row.index()) {
            *place = class as u32;
        }
    }

    /// Drops a pool from its cluster. Its row stays and is not used again.
    pub fn remove_pool(&mut self, row: PoolRow) {
        let Some(pool) = self.pools.get(row.index()).cloned() else { return };
        let Some(rows) = self.cluster_pools.get_mut(pool.cluster.index()) else { return };
        let Some(place) = rows.iter().position(|one| *one == row) else { return };
        Arc::make_mut(rows).remove(place);
        self.count_orders(&pool.in_flight, &[]);
        self.touch(pool.cluster);
        pool.spec.offerings.iter().for_each(|offering| self.index_user(*offering, (pool.cluster, row), false));
        self.changed();
    }

    pub fn set_quotas(&mut self, quotas: QuotaTree) {
        if self.quotas != quotas {
            self.quotas = quotas;
            self.changed();
        }
    }

    /// Writes down whether a pool may use an offering.
    fn index_user(&mut self, offering: OfferingRow, user: (ClusterRow, PoolRow), uses: bool) {
        let Some(users) = self.users.get(offering.index()) else { return };
        let place = users.binary_search(&user);
        if uses == place.is_ok() {
            return;
        }
        if let Some(users) = self.users.get_mut(offering.index()) {
            let users = Arc::make_mut(users);
            match place {
                Ok(place) => _ = users.remove(place),
                Err(place) => users.insert(place, user),
            }
        }
    }
}

/// Whether two observations differ in nothing but what is free on nodes and what waits for them.
fn same_frame(one: &PoolInput, other: &PoolInput) -> bool {
    // Strings are shared more often than not, and equal addresses tell it at once.
    let same_text = |one: &str, other: &str| std::ptr::eq(one, other) || one == other;
    let same_type = |one: &ObservedNodes, other: &ObservedNodes| {
        same_text(one.instance_type.as_str(), other.instance_type.as_str())
    };
    let same_kind = |one: &ObservedNodes, other: &ObservedNodes| {
        one.offering == other.offering
            && same_text(&one.zone, &other.zone)
            && same_type(one, other)
            && one.allocatable == other.allocatable
    };
    let mut counts: Vec<(&ObservedNodes, i64)> = Vec::with_capacity(one.observed.len());
    let signed = one.observed.iter().map(|nodes| (nodes, 1)).chain(other.observed.iter().map(|nodes| (nodes, -1)));
    for (nodes, sign) in signed {
        let more = sign * i64::from(nodes.count);
        match counts.iter_mut().find(|(known, _)| same_kind(known, nodes)) {
            Some((_, count)) => *count += more,
            None => counts.push((nodes, more)),
        }
    }
    // Of a type that comes with several amounts those of the first nodes count, whichever they are.
    let several =
        |(one, other): (&ObservedNodes, &ObservedNodes)| same_type(one, other) && one.allocatable != other.allocatable;
    let pairs = counts
        .iter()
        .enumerate()
        .flat_map(|(at, (one, _))| counts[at + 1..].iter().map(move |(other, _)| (*one, *other)));
    let alike = !pairs.into_iter().any(several);
    one.in_flight == other.in_flight && alike && counts.iter().all(|(_, count)| *count == 0)
}

/// Bookings.
impl Snapshot {
    /// Puts a pool in the place of another; `same_nodes` says that no node came or went.
    pub(crate) fn replace_pool(&mut self, row: PoolRow, pool: Arc<Pool>, same_nodes: bool) {
        let cluster = pool.cluster;
        let Some(old) = self.pools.get(row.index()) else { return };
        if Arc::ptr_eq(old, &pool) {
            return;
        }
        let same_spec = Arc::ptr_eq(&old.spec, &pool.spec);
        if let Some(place) = self.pools.get_mut(row.index()) {
            *place = pool;
        }
        let now = stamp();
        if let Some(seen) = self.pool_stamps.get_mut(row.index()) {
            seen.nodes = now;
            if !same_nodes {
                seen.frame = now;
            }
        }
        if !same_spec {
            self.touch(cluster);
        } else if let Some(seen) = self.stamps.get_mut(cluster.index()) {
            seen.pools = now;
            if !same_nodes {
                seen.frames = now;
            }
        }
    }

    /// Counts further nodes of an offering as in flight.
    pub(crate) fn order(&mut self, offering: OfferingRow, nodes: u32) {
        self.count_orders(&[], &[(offering, nodes)]);
    }

    fn count_orders(&mut self, before: &[(OfferingRow, u32)], after: &[(OfferingRow, u32)]) {
        let gone = before.iter().map(|(row, nodes)| (*row, -i64::from(*nodes)));
        let mut change: BTreeMap<OfferingRow, i64> = BTreeMap::new();
        for (row, nodes) in gone.chain(after.iter().map(|(row, nodes)| (*row, i64::from(*nodes)))) {
            *change.entry(row).or_default() += nodes;
        }
        for (row, nodes) in change.into_iter().filter(|(_, nodes)| *nodes != 0) {
            let now = self.now;
            let Some(offering) = self.offerings.get_mut(row.index()) else { continue };
            let before = offering.orderable(now);
            offering.in_flight = (i64::from(offering.in_flight) + nodes).clamp(0, i64::from(u32::MAX)) as u32;
            let after = offering.orderable(now);
            self.touch_users(row, before, after);
        }
    }

    /// Renews the stamps of pools whose room follows from an offering's stock, and of their clusters. A cluster whose pools could not even
    /// use the lower number is left alone: the stock does not limit it.
    fn touch_users(&mut self, offering: OfferingRow, before: u32, after: u32) {
        if before == after {
            return;
        }
        let Some(users) = self.users.get(offering.index()).cloned() else { return };
        for pools in users.chunk_by(|one, other| one.0 == other.0) {
            let slots = pools.iter().filter_map(|(_, row)| self.pool(*row)).map(|pool| u64::from(pool.slots()));
            if slots.sum::<u64>() > u64::from(before.min(after)) {
                self.touch_stock(pools);
            }
        }
    }
}
