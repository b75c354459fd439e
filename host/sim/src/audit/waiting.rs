//! Promise 7: whatever waits has a reason, with a code from the list.

use std::collections::BTreeMap;

use berth_control::event::{Event, What};
use berth_core::ids::WorkloadKey;

use super::breach::{Found, Invariant};
use super::lasting::Lasting;
use super::plans::known_code;
use super::record::Placed;
use super::store::{Change, Mirror};
use super::work::Work;

/// Milliseconds after which it must be told why something waits.
const GRACE_MS: u64 = 120_000;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Why each workload waits, as people were last told.
    told: BTreeMap<WorkloadKey, String>,
}

impl Waiting {
    pub(super) fn hear(&mut self, events: &[Event]) {
        for event in events {
            match &event.what {
                What::Waiting { workload, reason } => {
                    self.told.insert(workload.clone(), reason.code.as_str().to_owned());
                }
                What::Placed { workload, short, .. } => match short {
                    Some(reason) => drop(self.told.insert(workload.clone(), reason.code.as_str().to_owned())),
                    None => drop(self.told.remove(workload)),
                },
                _ => {}
            }
        }
    }

    pub(super) fn check(&mut self, mirror: &Mirror, changes: &[Change], lasting: &mut Lasting, found: &mut Found) {
        for change in changes {
            let Some(now) = change.now.as_deref() else { continue };
            check_codes(now, found);
            let new = change.before.as_ref().is_none_or(|before| before.plan != now.plan);
            let work = mirror.works.get(&now.workload).filter(|work| work.revision.0 <= now.generation);
            if new && now.short.is_none() && work.is_some_and(|work| !is_whole(mirror, work, now)) {
                let what = format!("plan {} places less than is wanted, and gives no reason", now.plan);
                found.add(Invariant::ReasonMissing, &now.workload, what);
            }
        }
        self.told.retain(|key, _| mirror.works.contains_key(key));
        for (key, work) in &mirror.works {
            let placed = mirror.placements.get(key);
            let rules = mirror.rules(key);
            let well = placed.is_some_and(|placed| placed.finished || is_whole(mirror, work, placed));
            if well && rules.is_some() || rules.is_some_and(|rules| rules.suspended) {
                continue;
            }
            let reason = self.told.contains_key(key) || placed.is_some_and(|placed| placed.short.is_some());
            if !reason {
                let what = || "it waits, and nobody was told why".to_owned();
                lasting.note(Invariant::ReasonMissing, key, GRACE_MS, found, what);
            }
        }
    }
}

/// Whether everything that is wanted is placed.
fn is_whole(mirror: &Mirror, work: &Work, placed: &Placed) -> bool {
    let duplicated = mirror.rules(&placed.workload).is_some_and(|rules| rules.duplicated);
    (0..).zip(&work.components).all(|(number, wanted)| match duplicated {
        true => placed.clusters.iter().all(|cluster| placed.at(number, cluster) >= wanted.replicas),
        false => placed.total(number) >= wanted.replicas,
    })
}

/// Codes are of the list, and the condition says what is recorded.
fn check_codes(now: &Placed, found: &mut Found) {
    let short = now.short.as_ref().map(|short| short.code.as_str());
    let scheduled = now.conditions.iter().find(|condition| condition.kind == "Scheduled");
    let told = scheduled.map(|condition| condition.reason.as_str());
    for code in short.into_iter().chain(told).filter(|code| !code.is_empty()) {
        if !known_code(code) {
            found.add(Invariant::UnknownCode, &now.workload, format!("{code:?} is no code of the list"));
        }
    }
    let agrees = scheduled.is_some_and(|condition| {
        (condition.status == "True") == short.is_none() && condition.reason == short.unwrap_or_default()
    });
    if !agrees {
        let what = format!("its condition is {scheduled:?}, and recorded is {short:?}");
        found.add(Invariant::ReasonMissing, &now.workload, what);
    }
}
