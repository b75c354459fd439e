//! What a client knows of its objects: what was acknowledged, and what was asked for when the program died.
//!
//! Each client writes objects of its own, one request at a time, so that it knows exactly what must be there. A request
//! without an answer happened or did not; it must not have happened by half.

use std::collections::BTreeMap;

use super::fleet::{Name, Version};

/// What one request asks for, by object; `None` deletes.
pub(crate) type Write = BTreeMap<Name, Option<Version>>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    sure: BTreeMap<Name, Version>,
    /// Sent, and not answered.
    open: Option<Write>,
    /// Writes that were acknowledged.
    pub(crate) acknowledged: u64,
}

impl Knowledge {
    pub(crate) fn sent(&mut self, write: Write) {
        self.open = Some(write);
    }

    /// The answer to what was sent last: `true` accepted, `false` refused.
    pub(crate) fn answered(&mut self, accepted: bool) {
        let write = self.open.take();
        if accepted {
            self.acknowledged += 1;
            self.take(write.unwrap_or_default());
        }
    }

    fn take(&mut self, write: Write) {
        for (name, version) in write {
            match version {
                Some(version) => _ = self.sure.insert(name, version),
                None => _ = self.sure.remove(&name),
            }
        }
    }

    /// Holds what was found against what is known, and learns how the open write ended.
    pub(crate) fn check(&mut self, found: &BTreeMap<Name, Version>, faults: &mut Vec<String>) {
        if let Some(write) = self.open.take() {
            let after = write.iter().all(|(name, version)| found.get(name) == version.as_ref());
            let before = write.keys().all(|name| found.get(name) == self.sure.get(name));
            if after {
                self.take(write);
            } else if !before {
                let seen: Vec<String> = write
                    .iter()
                    .map(|(name, want)| format!("{name}: asked {want:?}, is {:?}", found.get(name)))
                    .collect();
                faults.push(format!("a write that was not acknowledged happened by half: {}", seen.join("; ")));
                self.take(write.keys().map(|name| (name.clone(), found.get(name).cloned())).collect());
            }
        }
        for (name, version) in &self.sure {
            match found.get(name) {
                Some(is) if is == version => {}
                Some(is) => faults.push(format!("{name}: {version:?} was acknowledged, and {is:?} is there")),
                None => faults.push(format!("{name}: {version:?} was acknowledged, and nothing is there")),
            }
        }
    }

    /// Objects that must be there.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.sure.keys()
    }
}

/// Objects that nobody knows: deleted ones that came back, or ones that nobody wrote.
pub(crate) fn unknown(all: &[Knowledge], found: &BTreeMap<Name, Version>, faults: &mut Vec<String>) {
    for (name, version) in found {
        if !all.iter().any(|one| one.sure.contains_key(name)) {
            faults
                .push(format!("{name}: is there as {version:?}, and its deletion was acknowledged or nobody wrote it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::fleet::Kind;

    fn name(name: &str) -> Name {
        Name { kind: Kind::Cpu, namespace: "a".into(), name: name.into() }
    }

    fn version(number: u64) -> Version {
        Version { number, replicas: 1 }
    }

    fn check(knowledge: &Knowledge, found: &[(&str, u64)]) -> Vec<String> {
        let found = found.iter().map(|(one, number)| (name(one), version(*number))).collect();
        let mut faults = Vec::new();
        let mut all = vec![knowledge.clone()];
        all[0].check(&found, &mut faults);
        unknown(&all, &found, &mut faults);
        faults
    }

    #[test]
    fn what_was_acknowledged_must_be_there_and_nothing_else() {
        let mut knowledge = Knowledge::default();
        knowledge.sent([(name("x"), Some(version(1))), (name("y"), Some(version(1)))].into());
        knowledge.answered(true);
        assert_eq!(check(&knowledge, &[("x", 1), ("y", 1)]), Vec::<String>::new());
        assert_eq!(check(&knowledge, &[("x", 1)]).len(), 1, "lost");
        assert_eq!(check(&knowledge, &[("x", 1), ("y", 2)]).len(), 1, "another version");
        assert_eq!(check(&knowledge, &[("x", 1), ("y", 1), ("z", 1)]).len(), 1, "nobody wrote it");
        knowledge.sent([(name("x"), None)].into());
        knowledge.answered(true);
        assert_eq!(check(&knowledge, &[("x", 1), ("y", 1)]).len(), 1, "a deletion undone");
    }

    #[test]
    fn a_write_without_an_answer_is_whole_or_absent() {
        let mut knowledge = Knowledge::default();
        knowledge.sent([(name("x"), Some(version(1))), (name("y"), Some(version(1)))].into());
        knowledge.answered(true);
        knowledge.sent([(name("x"), Some(version(2))), (name("y"), None)].into());
        assert_eq!(check(&knowledge, &[("x", 1), ("y", 1)]), Vec::<String>::new());
        assert_eq!(check(&knowledge, &[("x", 2)]), Vec::<String>::new());
        assert_eq!(check(&knowledge, &[("x", 2), ("y", 1)]).len(), 1);
        assert_eq!(check(&knowledge, &[("x", 1)]).len(), 1);
        knowledge.answered(false);
        assert_eq!(check(&knowledge, &[("x", 2)]).len(), 2, "a refused write happened");
    }
}
