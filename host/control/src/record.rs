//! What is recorded of a workload's placement: the decision, and how far it is carried out.
//!
//! A record is stored as a `Placement` resource: the decision is its specification, the rest its status. Everything that
//! must survive a crash is here; what members and providers say is observed again.

use std::sync::Arc;

use berth_api::meta::ObjectMeta;
use berth_api::resources::{self as api, Condition, PlacementStatus, ReservationState};
use berth_core::ids::{ClusterName, Millis, PlanId, WorkloadKey};
use berth_core::placement::{NodeOrder, Placement, PolicyRef, Share};
use berth_core::plan::Leave;
use berth_core::policy::How;
use berth_core::reason::Reason;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ports::{ObjectKey, Outcome};

pub(crate) const PLACEMENT_KIND: &str = "berth.dev/v1alpha1/Placement";

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub placement: Placement,
    /// Orders that are not delivered in full yet, in the order in which they were made.
    pub reservations: Vec<Reservation>,
    pub moves: Vec<Moving>,
    pub retiring: Vec<Retiring>,
    /// Why fewer replicas are placed than wanted.
    pub short: Option<Reason>,
    /// A job that ran to its end; it holds nothing any more.
    pub finished: Option<Outcome>,
}

/// Nodes held for a placement until they are there.
#[derive(Clone, Debug, PartialEq)]
pub struct Reservation {
    /// `nodes` is what is still expected of it in all, those that arrived included.
    pub order: NodeOrder,
    /// After this it is rolled back.
    pub expires_at: Millis,
}

/// Replicas that a migration policy moves away from a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moving {
    pub component: u32,
    pub cluster: ClusterName,
    /// Replicas that have still to leave; 0 once a plan has placed them elsewhere.
    pub replicas: u32,
    pub how: How,
    pub reason: String,
    pub by: PolicyRef,
    /// Until then the cluster gets no more of this component; replicas that have not left by then stay, unless they are
    /// still asked to leave.
    pub until: Millis,
}

/// Replicas that stay where they were until those that replace them are ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retiring {
    pub component: u32,
    pub cluster: ClusterName,
    pub replicas: u32,
    /// They go then at the latest.
    pub until: Millis,
}

impl Record {
    pub fn new(placement: Placement) -> Self {
        Self {
            placement,
            reservations: Vec::new(),
            moves: Vec::new(),
            retiring: Vec::new(),
            short: None,
            finished: None,
        }
    }

    /// Replicas of a component at a cluster, those that retire there included.
    pub fn running_at(&self, component: u32, cluster: &ClusterName) -> u32 {
        let retiring = self.retiring.iter().filter(|one| one.component == component && one.cluster == *cluster);
        retiring.map(|one| one.replicas).sum::<u32>() + self.placement.at(component, cluster)
    }

    /// Clusters that have something of it, ascending.
    pub fn clusters(&self) -> Vec<ClusterName> {
        let retiring = self.retiring.iter().map(|one| one.cluster.clone());
        let mut clusters: Vec<ClusterName> = self.placement.clusters.iter().cloned().chain(retiring).collect();
        clusters.sort();
        clusters.dedup();
        clusters
    }

    /// Whether a move waits for a plan.
    pub fn must_move(&self) -> bool {
        self.moves.iter().any(|one| one.replicas > 0)
    }

    /// The moves as a plan is told them: what has to leave, and clusters that get no more for a while.
    pub fn leave(&self, now: Millis) -> Vec<Leave> {
        let live = self.moves.iter().filter(|one| one.replicas > 0 || one.until > now);
        live.map(|one| Leave { component: one.component, cluster: one.cluster.clone(), replicas: one.replicas })
            .collect()
    }

    /// Whether its pool still has replicas that may need the nodes of `order`.
    pub fn wants(&self, order: &NodeOrder) -> bool {
        let here = |share: &Share| share.cluster == order.cluster && share.pool == order.pool;
        self.placement.shares.iter().any(here)
    }

    pub fn key(&self) -> ObjectKey {
        key_of(&self.placement.workload)
    }

    pub fn to_object(&self) -> api::Placement {
        let mut other = Map::new();
        put(&mut other, "moves", &self.moves, self.moves.is_empty());
        put(&mut other, "retiring", &self.retiring, self.retiring.is_empty());
        put(&mut other, "short", &self.short, self.short.is_none());
        put(&mut other, "finished", &self.finished, self.finished.is_none());
        let reservations = self.reservations.iter().map(|one| api::Reservation {
            id: one.order.id.to_string(),
            cluster: one.order.cluster.to_string(),
            pool: one.order.pool.to_string(),
            offering: (&one.order.offering).into(),
            nodes: one.order.nodes,
            state: ReservationState::Reserved,
            expires_at: one.expires_at.0,
            other: Map::new(),
        });
        let scheduled = Condition {
            kind: "Scheduled".into(),
            status: if self.short.is_none() { "True" } else { "False" }.into(),
            reason: self.short.as_ref().map(|short| short.code.to_string()).unwrap_or_default(),
            message: self.short.as_ref().map(|short| short.message.clone()).unwrap_or_default(),
            since: self.placement.decided_at.0,
        };
        let status = PlacementStatus { conditions: vec![scheduled], reservations: reservations.collect(), other };
        let metadata: ObjectMeta = api::Placement::of(&self.placement).metadata;
        api::Placement { metadata, spec: (&self.placement).into(), status: Some(status) }
    }

    pub fn to_json(&self) -> Vec<u8> {
        berth_api::Object::Placement(self.to_object()).to_json()
    }

    /// # Errors
    /// If it is not what [`Record::to_json`] wrote.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let Written { spec, status } = serde_json::from_slice(bytes)?;
        let reservations = status.reservations.iter().map(|one| Reservation {
            order: NodeOrder {
                id: one.id.as_str().into(),
                cluster: one.cluster.as_str().into(),
                pool: one.pool.as_str().into(),
                offering: (&one.offering).into(),
                nodes: one.nodes,
            },
            expires_at: Millis(one.expires_at),
        });
        let reservations = reservations.collect();
        let (mut shares, mut clusters) = (spec.shares, spec.clusters);
        shares.retain(|share| share.replicas > 0);
        shares.sort();
        clusters.sort();
        let placement = Placement {
            workload: WorkloadKey {
                namespace: spec.workload.namespace,
                name: spec.workload.name,
                kind: spec.workload.kind,
            },
            workload_generation: spec.workload_generation,
            plan: spec.plan,
            decided_at: spec.decided_at,
            policy: spec.policy,
            shares,
            clusters,
        };
        let (moves, retiring, short, finished) = (status.moves, status.retiring, status.short, status.finished);
        Ok(Self { placement, reservations, moves, retiring, short, finished })
    }
}

/// A `Placement` as [`Record::to_json`] writes it, read straight into what it means: there are as many as workloads.
#[derive(Deserialize)]
struct Written {
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    workload: Workload,
    workload_generation: u64,
    plan: PlanId,
    decided_at: Millis,
    policy: PolicyRef,
    #[serde(default)]
    shares: Vec<Share>,
    #[serde(default)]
    clusters: Vec<ClusterName>,
}

#[derive(Deserialize)]
struct Workload {
    kind: Arc<str>,
    #[serde(default)]
    namespace: Arc<str>,
    name: Arc<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    reservations: Vec<api::Reservation>,
    moves: Vec<Moving>,
    retiring: Vec<Retiring>,
    short: Option<Reason>,
    finished: Option<Outcome>,
}

/// Where a workload's record is stored.
pub fn key_of(workload: &WorkloadKey) -> ObjectKey {
    ObjectKey {
        kind: PLACEMENT_KIND.into(),
        namespace: workload.namespace.clone(),
        name: api::placement_name(workload).into(),
    }
}

fn put(map: &mut Map<String, Value>, name: &str, value: &impl Serialize, empty: bool) {
    // These types have string keys and nothing that JSON cannot say.
    if let (false, Ok(value)) = (empty, serde_json::to_value(value)) {
        map.insert(name.to_owned(), value);
    }
}
