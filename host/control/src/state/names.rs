//! Names that many objects say, kept once: of clusters, pools, policies and namespaces.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_core::ids::{ClusterName, PolicyName, PoolName};

use crate::record::Record;

#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<Arc<str>>);

impl Names {
    pub(crate) fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.0.insert(name.clone());
        name
    }

    /// Lets a record say its names as others do.
    pub(crate) fn share_all(&mut self, record: &mut Record) {
        let placement = &mut record.placement;
        placement.workload.kind = self.share(&placement.workload.kind);
        placement.workload.namespace = self.share(&placement.workload.namespace);
        for share in &mut placement.shares {
            share.cluster = ClusterName::new(self.share(share.cluster.as_str()));
            share.pool = PoolName::new(self.share(share.pool.as_str()));
        }
        for cluster in &mut placement.clusters {
            *cluster = ClusterName::new(self.share(cluster.as_str()));
        }
        placement.shares.shrink_to_fit();
        placement.clusters.shrink_to_fit();
        let policy = &mut placement.policy;
        policy.name = PolicyName::new(self.share(policy.name.as_str()));
        policy.version = self.share(&policy.version);
        policy.digest = self.share(&policy.digest);
    }
}
