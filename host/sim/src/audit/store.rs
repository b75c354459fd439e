//! What the store has, read by structs of our own and kept up to date by its changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_control::ports::{ObjectKey, Revision, Store, StoreError, Stored};
use berth_core::ids::WorkloadKey;
use serde_json::Value;

use super::breach::{Found, Invariant};
use super::fleet::{Fleet, is_fleet};
use super::record::Placed;
use super::work::Work;

const PLACEMENT: &str = "berth.dev/v1alpha1/Placement";
const HEAD: &str = "berth.dev/v1alpha1/Plan";
const OURS: &str = "berth.dev/";

/// A placement before and after a look.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) workload: WorkloadKey,
    pub(super) before: Option<Arc<Placed>>,
    pub(super) now: Option<Arc<Placed>>,
}

/// What matters here of the policy that applies to a workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ruled {
    pub(super) gang: bool,
    pub(super) duplicated: bool,
    pub(super) suspended: bool,
}

#[derive(Debug, Default)]
pub(super) struct Mirror {
    revision: Revision,
    /// When each object was written last.
    revisions: BTreeMap<ObjectKey, Revision>,
    pub(super) fleet: Fleet,
    pub(super) works: BTreeMap<WorkloadKey, Arc<Work>>,
    pub(super) placements: BTreeMap<WorkloadKey, Arc<Placed>>,
    by_object: BTreeMap<ObjectKey, WorkloadKey>,
    /// What the policies that apply say of workloads; nothing of those that none selects.
    rules: BTreeMap<WorkloadKey, Ruled>,
    /// Number of the newest plan, as the store says.
    pub(super) head: Option<u64>,
}

/// What one look read.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) stored: Vec<Stored>,
    pub(super) placements: Vec<Change>,
    /// Workloads whose manifests changed.
    pub(super) works: Vec<WorkloadKey>,
    /// Whether anything of the fleet or its rules changed.
    pub(super) fleet: bool,
}

impl Mirror {
    pub(super) fn read(&mut self, store: &dyn Store, found: &mut Found) -> Result<News, StoreError> {
        let mut news = News { stored: store.changes(self.revision)?, ..News::default() };
        let since = self.revision;
        for stored in &news.stored {
            let known = self.revisions.insert(stored.key.clone(), stored.revision);
            if stored.revision <= since || known.is_some_and(|known| stored.revision <= known) {
                let what = format!("revision {} does not follow on {}", stored.revision.0, since.0);
                found.add(Invariant::RevisionFell, &stored.key, what);
            }
            self.revision = self.revision.max(stored.revision);
        }
        for at in 0..news.stored.len() {
            let stored = news.stored[at].clone();
            if let Err(error) = self.take(&stored, &mut news) {
                found.add(Invariant::Unreadable, &stored.key, error.to_string());
            }
        }
        match news.fleet {
            true => {
                self.rules =
                    self.works.iter().filter_map(|(key, work)| Some((key.clone(), self.ruled(work)?))).collect()
            }
            false => news.works.iter().for_each(|key| self.rule(key)),
        }
        Ok(news)
    }

    pub(super) fn rules(&self, key: &WorkloadKey) -> Option<Ruled> {
        self.rules.get(key).copied()
    }

    fn ruled(&self, work: &Work) -> Option<Ruled> {
        let rules = self.fleet.rules(work)?;
        Some(Ruled {
            gang: rules.is_gang(work),
            duplicated: rules.is_duplicated(work),
            suspended: rules.is_suspended(),
        })
    }

    fn rule(&mut self, key: &WorkloadKey) {
        match self.works.get(key).and_then(|work| self.ruled(work)) {
            Some(ruled) => drop(self.rules.insert(key.clone(), ruled)),
            None => drop(self.rules.remove(key)),
        }
    }

    fn take(&mut self, stored: &Stored, news: &mut News) -> Result<(), serde_json::Error> {
        let Stored { key, value, .. } = stored;
        match (&*key.kind, value) {
            (PLACEMENT, Some(bytes)) => {
                let placed = Arc::new(Placed::read(bytes)?);
                self.by_object.insert(key.clone(), placed.workload.clone());
                let before = self.placements.insert(placed.workload.clone(), placed.clone());
                news.placements.push(Change { workload: placed.workload.clone(), before, now: Some(placed) });
            }
            (PLACEMENT, None) => {
                let Some(workload) = self.by_object.remove(key) else { return Ok(()) };
                let before = self.placements.remove(&workload);
                news.placements.push(Change { workload, before, now: None });
            }
            (HEAD, Some(bytes)) => {
                self.head = serde_json::from_slice::<Value>(bytes)?.get("plan").and_then(Value::as_u64)
            }
            (kind, value) if is_fleet(kind) => {
                news.fleet = true;
                self.fleet.take(key, value.as_deref())?;
            }
            (kind, _) if kind.starts_with(OURS) => {}
            (_, value) => {
                let workload =
                    WorkloadKey { namespace: key.namespace.clone(), name: key.name.clone(), kind: key.kind.clone() };
                match value {
                    Some(bytes) => {
                        let known = self.works.get(&workload).map(|known| &**known);
                        let work = Work::read(key, stored.revision, bytes, known)?;
                        self.works.insert(workload.clone(), Arc::new(work));
                    }
                    None => drop(self.works.remove(&workload)),
                }
                news.works.push(workload);
            }
        }
        Ok(())
    }
}
