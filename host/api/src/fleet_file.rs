//! A fleet file: manifests of clusters, pools, offerings, quotas, policies and workloads, with at most one `Simulation`.
//!
//! Beyond what [`crate::load`] checks, a fleet file is complete: every object that another names must be in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::issue::{Issue, LoadError, did_you_mean};
use crate::load::{Loaded, MOST_TOLD, load};
use crate::object::Object;
use crate::resources::{Cluster, NodePool, Offering, Simulation};
use crate::to_core;

/// Reads a fleet file.
///
/// # Errors
/// Every fault of every document, or every reference to what is not there.
pub fn load_fleet(file: &str, text: &str) -> Result<Loaded, Vec<LoadError>> {
    let loaded = load(file, text)?;
    let errors = references(&loaded);
    if errors.is_empty() { Ok(loaded) } else { Err(errors) }
}

/// What objects may refer to.
struct Known<'a> {
    clusters: BTreeMap<&'a str, &'a Cluster>,
    pools: BTreeMap<&'a str, &'a NodePool>,
    offerings: BTreeMap<&'a str, &'a Offering>,
    /// By provider and region.
    offered: BTreeMap<(&'a str, &'a str), Vec<&'a Offering>>,
    /// Kind with its version, namespace and name.
    workloads: BTreeSet<(String, &'a str, &'a str)>,
}

/// Every reference within one set of objects to something that is not among them.
pub fn references(loaded: &Loaded) -> Vec<LoadError> {
    let mut known = Known {
        clusters: BTreeMap::new(),
        pools: BTreeMap::new(),
        offerings: BTreeMap::new(),
        offered: BTreeMap::new(),
        workloads: BTreeSet::new(),
    };
    for object in &loaded.objects {
        match object {
            Object::Cluster(cluster) => drop(known.clusters.insert(&cluster.metadata.name, cluster)),
            Object::NodePool(pool) => drop(known.pools.insert(&pool.metadata.name, pool)),
            Object::Offering(offering) => {
                known.offerings.insert(&offering.metadata.name, offering);
                let place = (offering.spec.provider.as_str(), offering.spec.region.as_str());
                known.offered.entry(place).or_default().push(offering);
            }
            Object::Manifest(manifest) => {
                let kind = format!("{}/{}", manifest.api_version(), manifest.kind());
                known.workloads.insert((kind, manifest.namespace(), manifest.name()));
            }
            _ => {}
        }
    }
    let mut errors = Vec::new();
    let mut single: BTreeSet<&str> = BTreeSet::new();
    let mut keys = BTreeMap::new();
    for (object, place) in loaded.objects.iter().zip(&loaded.places) {
        if errors.len() >= MOST_TOLD {
            break;
        }
        let mut issues = match object {
            Object::NodePool(pool) => known.pool(pool),
            Object::Simulation(simulation) => known.simulation(simulation),
            _ => Vec::new(),
        };
        if matches!(object, Object::Simulation(_) | Object::QuotaTree(_)) && !single.insert(object.kind()) {
            issues.push(Issue::new("kind", format!("{} stands here twice", object.kind()), "keep one of them"));
        }
        if let Object::Offering(offering) = object
            && let Some(other) = keys.insert(to_core::offering_key(offering), object.name())
        {
            let problem =
                format!("is the same as that of {other:?}: provider, region, zone, instance type and capacity type");
            issues.push(Issue::new("spec", problem, "remove one of them"));
        }
        errors.extend(issues.into_iter().map(|issue| place.error(object, issue)));
    }
    errors
}

fn unknown<'a>(field: String, what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Issue {
    let mend = match did_you_mean(name, known.clone()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => {
            let known: Vec<&str> = known.take(10).collect();
            format!("add it, or use one of: {}", known.join(", "))
        }
    };
    Issue::new(field, format!("there is no {what} {name:?}"), mend)
}

impl Known<'_> {
    fn pool(&self, pool: &NodePool) -> Vec<Issue> {
        let Some(cluster) = self.clusters.get(pool.spec.cluster.as_str()) else {
            let known = self.clusters.keys().copied();
            return vec![unknown("spec.cluster".to_owned(), "Cluster", &pool.spec.cluster, known)];
        };
        let mut issues = Vec::new();
        let place = (cluster.spec.provider.as_str(), cluster.spec.region.as_str());
        let here = self.offered.get(&place).map_or(&[][..], Vec::as_slice);
        let short = pool.spec.instance_types.iter().enumerate();
        let short = short.map(|(index, name)| (format!("spec.instanceTypes[{index}]"), name));
        let long = pool.spec.offerings.iter().enumerate().flat_map(|(index, selector)| {
            let types = selector.instance_types.iter().enumerate();
            types.map(move |(at, name)| (format!("spec.offerings[{index}].instanceTypes[{at}]"), name))
        });
        for (field, name) in short.chain(long) {
            if !here.iter().any(|offering| offering.spec.instance_type == *name) {
                let known: BTreeSet<&str> = here.iter().map(|offering| offering.spec.instance_type.as_str()).collect();
                let what = format!("Offering in {:?} of instance type", cluster.spec.region);
                issues.push(unknown(field, &what, name, known.iter().copied()));
            }
        }
        for (index, selector) in pool.spec.offerings.iter().enumerate() {
            for (at, zone) in selector.zones.iter().enumerate() {
                if !cluster.spec.zones.is_empty() && !cluster.spec.zones.contains(zone) {
                    let zones = cluster.spec.zones.iter().map(String::as_str);
                    let what = format!("zone of Cluster {:?} called", cluster.metadata.name);
                    issues.push(unknown(format!("spec.offerings[{index}].zones[{at}]"), &what, zone, zones));
                }
            }
        }
        if issues.is_empty() && to_core::pool_offerings(pool, cluster, here.iter().copied()).is_empty() {
            let field = if pool.spec.offerings.is_empty() { "spec.instanceTypes" } else { "spec.offerings" };
            let problem = format!("selects no Offering in Cluster {:?}", cluster.metadata.name);
            let mend = "add an Offering of its provider and region in one of its zones, or select other ones";
            issues.push(Issue::new(field, problem, mend));
        }
        issues
    }

    fn simulation(&self, simulation: &Simulation) -> Vec<Issue> {
        let spec = &simulation.spec;
        let mut issues = Vec::new();
        for (index, series) in spec.stock_series.iter().enumerate() {
            for (at, column) in series.columns.iter().enumerate() {
                for (number, name) in column.offerings.iter().enumerate() {
                    if !self.offerings.contains_key(name.as_str()) {
                        let field = format!("spec.stockSeries[{index}].columns[{at}].offerings[{number}]");
                        issues.push(unknown(field, "Offering", name, self.offerings.keys().copied()));
                    }
                }
            }
        }
        for (index, series) in spec.load_series.iter().enumerate() {
            let it = &series.workload;
            let key = (format!("{}/{}", it.api_version, it.kind), it.namespace.as_str(), it.name.as_str());
            if !self.workloads.contains(&key) {
                let what = format!("{} in namespace {:?} called", it.kind, it.namespace);
                let names = self.workloads.iter().filter(|(kind, _, _)| *kind == key.0).map(|(_, _, name)| *name);
                issues.push(unknown(format!("spec.loadSeries[{index}].workload"), &what, &it.name, names));
            }
        }
        for (index, fault) in spec.faults.iter().enumerate() {
            let field = |name: &str| format!("spec.faults[{index}].{name}");
            if !fault.cluster.is_empty() && !self.clusters.contains_key(fault.cluster.as_str()) {
                issues.push(unknown(field("cluster"), "Cluster", &fault.cluster, self.clusters.keys().copied()));
            }
            if !fault.offering.is_empty() && !self.offerings.contains_key(fault.offering.as_str()) {
                issues.push(unknown(field("offering"), "Offering", &fault.offering, self.offerings.keys().copied()));
            }
            let mine = |pool: &&NodePool| fault.cluster.is_empty() || pool.spec.cluster == fault.cluster;
            if !fault.pool.is_empty() && !self.pools.get(fault.pool.as_str()).copied().as_ref().is_some_and(mine) {
                issues.push(unknown(
                    field("pool"),
                    "NodePool of that cluster called",
                    &fault.pool,
                    self.pools.keys().copied(),
                ));
            }
        }
        issues
    }
}

#[cfg(test)]
mod tests;
