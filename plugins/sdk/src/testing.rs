//! Tests of placement policies with `cargo test`, without Wasm: build a case, place it, look at where replicas went.
//!
//! ```
//! use berth_sdk::testing::Case;
//! # berth_sdk::scoring! { name: "cheap", doc: "Cheapest first", score: |_, candidate| -candidate.price() }
//!
//! # fn main() {
//! let case = Case::new(4)
//!     .cluster("dear", |cluster| cluster.elastic(9).price(3.0))
//!     .cluster("cheap", |cluster| cluster.elastic(3).price(1.0));
//! let placed = case.place::<Policy>("{}").unwrap();
//! assert_eq!((placed.at("cheap"), placed.at("dear")), (3, 1));
//! # }
//! ```

use std::collections::BTreeMap;

use crate::bindings::placement::{Candidates, Component, Decision, Offers, Request, Term};
use crate::bindings::{Column, Label, Problem, Tables};
use crate::division;
use crate::export::Session;
use crate::fleet::Fleet;
use crate::policy::Placement;

/// A workload and the clusters that may run it. Its first component is called `main`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The clusters, in ascending order of name.
    pub fleet: Fleet,
    /// The workload; division is left to the policy unless said otherwise.
    pub request: Request,
    /// One candidate for each cluster, with every extra column that a cluster has a value in.
    pub candidates: Candidates,
    tables: Tables,
    clusters: BTreeMap<String, Cluster>,
}

impl Case {
    /// A workload that wants `replicas` of one component.
    pub fn new(replicas: u32) -> Self {
        let request = Request {
            namespace: "default".into(),
            name: "case".into(),
            labels: vec![],
            priority: 0,
            division: division::FREE,
            together: false,
            components: vec![],
            now_ms: 0,
            seed: 0,
        };
        let tables = Tables { names: vec![], providers: vec![], regions: vec![], labels: vec![], resources: vec![] };
        let case = Self {
            fleet: Fleet::default(),
            request,
            candidates: columns(&[], &BTreeMap::new()),
            tables,
            clusters: BTreeMap::new(),
        };
        case.component("main", replicas, 0)
    }

    /// Adds a component.
    pub fn component(mut self, name: &str, replicas: u32, floor: u32) -> Self {
        self.request.components.push(Component { name: name.into(), replicas, floor });
        self.rebuilt()
    }

    /// Sets the floor of `main`.
    pub fn floor(mut self, floor: u32) -> Self {
        self.request.components[0].floor = floor;
        self
    }

    /// Asks for all components at one candidate.
    pub fn together(mut self) -> Self {
        self.request.together = true;
        self
    }

    /// Sets how replicas are to be divided, a value of [`crate::division`].
    pub fn division(mut self, division: u32) -> Self {
        self.request.division = division;
        self
    }

    /// Adds a cluster that may run the workload.
    pub fn cluster(mut self, name: &str, describe: impl FnOnce(Cluster) -> Cluster) -> Self {
        self.clusters.insert(name.into(), describe(Cluster { weight: 1, ..Cluster::default() }));
        self.rebuilt()
    }

    /// Places the workload with `P`, which gets what it needs and no more, as from the host.
    ///
    /// # Errors
    /// The policy's problem.
    ///
    /// # Panics
    /// As [`Case::decision`].
    pub fn place<P: Placement>(&self, config: &str) -> Result<Placed, Problem> {
        let mut candidates = self.candidates.clone();
        candidates.extra.retain(|column| P::NEEDS.contains(&column.name.as_str()));
        if !P::NEEDS.contains(&"offers") {
            candidates.offers = columns(&[], &BTreeMap::new()).offers;
        }
        let session = Session::<P>::start(self.tables.clone(), config);
        self.decision(session.call(|policy, fleet| policy.place(fleet, self.request.clone(), candidates)))
    }

    /// A decision by names.
    ///
    /// # Errors
    /// The problem that was given.
    ///
    /// # Panics
    /// On a decision that the host would refuse, saying why.
    pub fn decision(&self, decision: Result<Decision, Problem>) -> Result<Placed, Problem> {
        let Decision { assignments, term_names, terms } = decision?;
        let mut replicas: BTreeMap<(String, String), u32> = BTreeMap::new();
        let count = self.clusters.len();
        for assignment in &assignments {
            let (number, candidate) = (assignment.component as usize, assignment.candidate as usize);
            assert!(number < self.request.components.len(), "there is no component {number}");
            assert!(candidate < count, "there is no candidate {candidate}");
            let component = &self.request.components[number];
            let cluster = &self.tables.names[candidate];
            let index = number * count + candidate;
            let Candidates { current, ready, elastic, .. } = &self.candidates;
            let room = current[index] + ready[index] + elastic[index];
            let what = format!("{} replicas of {} at {cluster}", assignment.replicas, component.name);
            assert!(assignment.replicas <= room, "{what} are more than the room of {room}");
            let earlier = replicas.insert((component.name.clone(), cluster.clone()), assignment.replicas);
            assert!(earlier.is_none(), "{what}: this pair is named twice");
        }
        let unnamed = terms.iter().find(|term| term.name as usize >= term_names.len());
        assert!(unnamed.is_none(), "a term has no name: {unnamed:?}");
        let placed = Placed { replicas, term_names, terms, names: self.tables.names.clone() };
        self.check(&placed);
        Ok(placed)
    }

    fn check(&self, placed: &Placed) {
        for component in &self.request.components {
            let at: Vec<u32> = self.clusters.keys().map(|name| placed.of(&component.name, name)).collect();
            let sums = if self.request.division == division::DUPLICATED { at } else { vec![at.iter().sum()] };
            for sum in sums {
                let Component { name, replicas, floor } = component;
                assert!(sum <= *replicas, "{sum} replicas of {name} are more than the {replicas} wanted");
                assert!(sum == 0 || sum >= *floor, "{sum} replicas of {name} are below the floor of {floor}");
            }
        }
        let used = self.clusters.keys().filter(|name| placed.at(name) > 0).count();
        let apart = self.request.together && self.request.division != division::DUPLICATED && used > 1;
        assert!(!apart, "components that must be together are apart");
    }

    fn rebuilt(mut self) -> Self {
        let clusters = || self.clusters.values();
        let labels = clusters().enumerate().flat_map(|(row, cluster)| {
            let label = move |(key, value): (&String, &String)| Label {
                cluster: row as u32,
                key: key.clone(),
                value: value.clone(),
            };
            cluster.labels.iter().map(label)
        });
        self.tables = Tables {
            names: self.clusters.keys().cloned().collect(),
            providers: clusters().map(|cluster| cluster.provider.clone()).collect(),
            regions: clusters().map(|cluster| cluster.region.clone()).collect(),
            labels: labels.collect(),
            resources: vec!["cpu".into(), "memory".into()],
        };
        self.fleet = Fleet::new(self.tables.clone());
        self.candidates = columns(&self.request.components, &self.clusters);
        self
    }
}

fn columns(components: &[Component], clusters: &BTreeMap<String, Cluster>) -> Candidates {
    let all = || clusters.values();
    let by_component = |of: fn(&Cluster) -> &BTreeMap<String, u32>| {
        let pairs = components.iter().flat_map(|component| all().map(move |cluster| (component, cluster)));
        pairs.map(|(component, cluster)| of(cluster).get(&component.name).copied().unwrap_or(0)).collect()
    };
    let mut names: Vec<&String> = all().flat_map(|cluster| cluster.extra.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let extra = names.into_iter().map(|name| Column {
        name: name.clone(),
        values: all().map(|cluster| cluster.extra.get(name).copied().unwrap_or(f64::NAN)).collect(),
    });
    let offers =
        || all().enumerate().flat_map(|(row, cluster)| cluster.offers.iter().map(move |offer| (row as u32, *offer)));
    Candidates {
        cluster: (0..clusters.len() as u32).collect(),
        ready: by_component(|cluster| &cluster.ready),
        elastic: by_component(|cluster| &cluster.elastic),
        current: by_component(|cluster| &cluster.current),
        price: all().map(|cluster| cluster.price).collect(),
        current_price: all().map(|cluster| cluster.current_price).collect(),
        lead_seconds: all().map(|cluster| cluster.lead_seconds).collect(),
        interruption: all().map(|cluster| cluster.interruption).collect(),
        tier: all().map(|cluster| cluster.tier).collect(),
        weight: all().map(|cluster| cluster.weight).collect(),
        offers: Offers {
            candidate: offers().map(|(row, _)| row).collect(),
            replicas: offers().map(|(_, offer)| offer.0).collect(),
            price: offers().map(|(_, offer)| offer.1).collect(),
            lead_seconds: offers().map(|(_, offer)| offer.2).collect(),
            interruption: offers().map(|(_, offer)| offer.3).collect(),
        },
        extra: extra.collect(),
    }
}

/// One cluster of a [`Case`]. What is not said is 0 or empty; the weight is 1.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    provider: String,
    region: String,
    labels: BTreeMap<String, String>,
    ready: BTreeMap<String, u32>,
    elastic: BTreeMap<String, u32>,
    current: BTreeMap<String, u32>,
    price: f64,
    current_price: f64,
    lead_seconds: u32,
    interruption: f64,
    tier: u32,
    weight: u32,
    offers: Vec<(u32, f64, u32, f64)>,
    extra: BTreeMap<String, f64>,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        $($(#[$doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name.into();
            self
        })*
    };
}

macro_rules! room {
    ($($(#[$doc:meta])* $name:ident, $of:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(self, replicas: u32) -> Self {
            self.$of("main", replicas)
        }

        /// The same for a component by name.
        pub fn $of(mut self, component: &str, replicas: u32) -> Self {
            self.$name.insert(component.into(), replicas);
            self
        })*
    };
}

impl Cluster {
    setters! {
        /// Its provider.
        provider: &str,
        /// Its region.
        region: &str,
        /// USD per hour for the next elastic replica.
        price: f64,
        /// USD per hour and replica of the replicas placed there now.
        current_price: f64,
        /// Seconds until an elastic replica can run.
        lead_seconds: u32,
        /// Share of instances that are reclaimed in a month, 0 to 1.
        interruption: f64,
        /// Place in the order of preferred groups.
        tier: u32,
        /// Static weight.
        weight: u32,
    }

    room! {
        /// Further replicas of `main` that fit on the nodes there are.
        ready, ready_of;
        /// Further replicas of `main` that fit on nodes that could be ordered.
        elastic, elastic_of;
        /// Replicas of `main` placed there now.
        current, current_of;
    }

    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Sets its value in an extra column.
    pub fn extra(mut self, column: &str, value: f64) -> Self {
        self.extra.insert(column.into(), value);
        self
    }

    /// Adds a step of elastic room of the main component: replicas, USD per hour and replica, seconds to start, and the
    /// share of instances that are reclaimed in a month.
    pub fn offer(mut self, replicas: u32, price: f64, lead_seconds: u32, interruption: f64) -> Self {
        self.offers.push((replicas, price, lead_seconds, interruption));
        self
    }
}

/// Where replicas went.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    replicas: BTreeMap<(String, String), u32>,
    term_names: Vec<String>,
    terms: Vec<Term>,
    names: Vec<String>,
}

impl Placed {
    /// Replicas of all components at a cluster.
    pub fn at(&self, cluster: &str) -> u32 {
        self.replicas.iter().filter(|((_, at), _)| at == cluster).map(|(_, replicas)| replicas).sum()
    }

    /// Replicas of one component at a cluster.
    pub fn of(&self, component: &str, cluster: &str) -> u32 {
        self.replicas.get(&(component.to_owned(), cluster.to_owned())).copied().unwrap_or(0)
    }

    /// A term of a cluster, such as `score`.
    pub fn term(&self, cluster: &str, name: &str) -> Option<f64> {
        let row = self.names.iter().position(|other| other == cluster)?;
        let name = self.term_names.iter().position(|other| other == name)?;
        let is_it = |term: &&Term| (term.candidate as usize, term.name as usize) == (row, name);
        self.terms.iter().find(is_it).map(|term| term.value)
    }
}
