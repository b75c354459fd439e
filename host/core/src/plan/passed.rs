//! Clusters that were no candidates, and why.
//!
//! Most decisions pass over many clusters for few reasons, and few are ever looked at: kept are sets of rows by reason, and
//! those that follow from the rules alone are shared by all decisions under them. Sentences are made when somebody asks.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fleet::RowSet;
use crate::policy::Tables;
use crate::reason::Code;

/// A cluster that was no candidate. Kept as numbers; [`Passed::message`] makes the sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Row in the tables.
    pub cluster: u32,
    pub code: Code,
    /// What there was and what was asked, where the code speaks of amounts.
    pub have: u32,
    pub need: u32,
}

/// Clusters that were passed over for the same reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassedRows {
    pub code: Code,
    #[serde(skip_serializing_if = "is_zero")]
    pub have: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub need: u32,
    /// Rows in the tables.
    pub clusters: RowSet,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// All clusters that were no candidates; each once.
#[derive(Clone, Debug, Default)]
pub struct PassedOver {
    /// For what the rules say, whatever the workload.
    ruled_out: Arc<Vec<PassedRows>>,
    here: Vec<PassedRows>,
}

impl PassedOver {
    pub(crate) fn by_rules(ruled_out: Arc<Vec<PassedRows>>) -> Self {
        Self { ruled_out, here: Vec::new() }
    }

    pub(crate) fn add(&mut self, passed: Passed) {
        add(&mut self.here, passed);
    }

    pub(crate) fn add_rows(&mut self, code: Code, have: u32, need: u32, clusters: RowSet) {
        if !clusters.is_empty() {
            self.here.push(PassedRows { code, have, need, clusters });
        }
    }

    /// Takes out a cluster that is a candidate after all, or is passed over for another reason.
    pub(crate) fn remove(&mut self, cluster: u32) {
        let row = cluster as usize;
        if self.ruled_out.iter().any(|rows| rows.clusters.contains(row)) {
            Arc::make_mut(&mut self.ruled_out).iter_mut().for_each(|rows| rows.clusters.remove(row));
        }
        self.here.iter_mut().for_each(|rows| rows.clusters.remove(row));
    }

    /// Clusters as they were kept; `None` where a row is none that a fleet could have.
    pub fn of(passed: impl IntoIterator<Item = Passed>) -> Option<Self> {
        let mut all = Self::default();
        for one in passed {
            if one.cluster as usize >= RowSet::MOST_ROWS {
                return None;
            }
            all.add(one);
        }
        Some(all)
    }

    /// By reason. A reason may come more than once.
    pub fn rows(&self) -> impl Iterator<Item = &PassedRows> + '_ {
        self.ruled_out.iter().chain(&self.here).filter(|rows| !rows.clusters.is_empty())
    }

    pub fn len(&self) -> usize {
        self.rows().map(|rows| rows.clusters.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.rows().next().is_none()
    }

    /// One by one, ascending by row.
    pub fn each(&self) -> Vec<Passed> {
        let each = |rows: &PassedRows| {
            let PassedRows { code, have, need, .. } = *rows;
            let passed = |row: usize| Passed { cluster: row as u32, code, have, need };
            rows.clusters.iter().map(passed).collect::<Vec<_>>()
        };
        let mut all: Vec<Passed> = self.rows().flat_map(each).collect();
        all.sort_by_key(|passed| passed.cluster);
        all
    }
}

pub(crate) fn add(list: &mut Vec<PassedRows>, passed: Passed) {
    let Passed { cluster, code, have, need } = passed;
    let known = list.iter_mut().rev().find(|rows| (rows.code, rows.have, rows.need) == (code, have, need));
    match known {
        Some(rows) => rows.clusters.insert(cluster as usize),
        None => {
            let clusters = std::iter::once(cluster as usize).collect();
            list.push(PassedRows { code, have, need, clusters });
        }
    }
}

impl PartialEq for PassedOver {
    fn eq(&self, other: &Self) -> bool {
        self.each() == other.each()
    }
}

impl Serialize for PassedOver {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows())
    }
}

/// As it is written, or one cluster as earlier versions wrote it.
#[derive(Deserialize)]
struct Read {
    code: Code,
    #[serde(default)]
    have: u32,
    #[serde(default)]
    need: u32,
    #[serde(default)]
    clusters: RowSet,
    cluster: Option<u32>,
}

impl<'de> Deserialize<'de> for PassedOver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Self::default();
        for Read { code, have, need, clusters, cluster } in Vec::<Read>::deserialize(deserializer)? {
            all.add_rows(code, have, need, clusters);
            let one = cluster.map(|cluster| Passed { cluster, code, have, need });
            let one = Self::of(one).ok_or_else(|| serde::de::Error::custom("a cluster row is none that could be"))?;
            one.here.into_iter().for_each(|rows| all.add_rows(rows.code, rows.have, rows.need, rows.clusters));
        }
        Ok(all)
    }
}

impl Passed {
    /// Why in words, with the cluster's name and the numbers.
    pub fn message(&self, tables: &Tables) -> String {
        let name = tables.names.get(self.cluster as usize).map_or("unknown cluster", |name| &**name);
        format!("{name}: {}", self.why())
    }

    /// Why in words, without the cluster's name.
    pub fn why(&self) -> String {
        let Passed { have, need, .. } = *self;
        let room = if have == 1 {
            format!("room for 1 replica, {need} needed")
        } else {
            format!("room for {have} replicas, {need} needed")
        };
        match self.code {
            Code::Affinity if need > 0 => format!("in group {have} of the preferred clusters; group {need} is used"),
            Code::Affinity => "not selected by the cluster affinity".into(),
            Code::Taint => "has a taint that is not tolerated".into(),
            Code::ClusterUnhealthy => "cannot be reached, or its API is not healthy".into(),
            Code::NoMatchingPool => "no node pool can hold a replica: resources, labels or taints of its nodes".into(),
            Code::NoRoom => room,
            Code::NoStock => format!("{room}; the offerings that would do are out of stock"),
            Code::PoolAtMaximum => format!("{room}; the node pools that would do are at their maximum"),
            Code::ElasticityOff => format!("{room}; there is room on new nodes, but elasticity is off"),
            Code::QuotaExceeded => format!("quota for {have} replicas, {need} needed"),
            Code::GangDoesNotFit if need > 0 => format!("the gang does not fit whole: {room}"),
            Code::GangDoesNotFit => "the gang does not fit whole".into(),
            Code::Behind => "kept free for a job ahead in the queue".into(),
            Code::TooLarge => "could not hold it even if nothing else ran there".into(),
            Code::Spread => "left out by the spread constraints".into(),
            Code::MovedAway => "replicas were moved away from here".into(),
            Code::NoWeight => "the static weight list gives it nothing".into(),
            Code::NotChosen => "the policy chose other clusters".into(),
            code => code.as_str().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_kept_by_rows_and_come_back() {
        let passed = |cluster, code, have, need| Passed { cluster, code, have, need };
        let list = [
            passed(0, Code::NoRoom, 1, 4),
            passed(1, Code::Taint, 0, 0),
            passed(2, Code::NoRoom, 1, 4),
            passed(3, Code::NoRoom, 2, 4),
        ];
        let mut all = PassedOver::of(list).expect("rows that can be");
        assert_eq!((all.each(), all.len(), all.rows().count()), (list.to_vec(), 4, 3));
        let text = serde_json::to_string(&all).expect("it has string keys alone");
        assert_eq!(serde_json::from_str::<PassedOver>(&text).ok().as_ref(), Some(&all));
        all.remove(1);
        assert_eq!((all.len(), all.rows().count()), (3, 2));
        let earlier = r#"[{"cluster": 7, "code": "NoRoom", "have": 1, "need": 2}]"#;
        let read = serde_json::from_str::<PassedOver>(earlier).expect("earlier versions wrote this");
        assert_eq!(read.each(), [passed(7, Code::NoRoom, 1, 2)]);
        assert!(PassedOver::of([passed(u32::MAX, Code::NoRoom, 0, 1)]).is_none());
    }
}
