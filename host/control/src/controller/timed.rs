//! Measures the time that policies take. Nothing is decided by it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_core::ids::PolicyName;
use berth_core::placement::PolicyRef;
use berth_core::policy::{
    Answer, Candidates, Decision, Kind, MigrationState, Move, Policies, Queue, Request, Subject, Tables, Verdict,
};
use berth_core::workload::Division;

pub(super) struct Timed<'a> {
    inner: &'a mut dyn Policies,
    spent: Duration,
}

impl<'a> Timed<'a> {
    pub(super) fn new(inner: &'a mut dyn Policies) -> Self {
        Self { inner, spent: Duration::ZERO }
    }

    pub(super) fn spent(&self) -> Duration {
        self.spent
    }

    fn time<T>(&mut self, call: impl FnOnce(&mut dyn Policies) -> T) -> T {
        let start = Instant::now();
        let answer = call(self.inner);
        self.spent += start.elapsed();
        answer
    }
}

impl Policies for Timed<'_> {
    fn begin(&mut self) {
        self.inner.begin();
    }

    fn choose(&self, kind: Kind, named: Option<&PolicyName>, subject: &Subject<'_>) -> Option<PolicyName> {
        self.inner.choose(kind, named, subject)
    }

    fn slot(&self, chosen: Option<&PolicyName>) -> Option<PolicyName> {
        self.inner.slot(chosen)
    }

    fn needs(&self, kind: Kind, named: Option<&PolicyName>, division: Division) -> &[Arc<str>] {
        self.inner.needs(kind, named, division)
    }

    fn place(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        request: &Request,
        candidates: &Candidates,
    ) -> Answer<Decision> {
        self.time(|inner| inner.place(named, tables, request, candidates))
    }

    fn admit(&mut self, named: Option<&PolicyName>, tables: &Arc<Tables>, queue: &Queue) -> Answer<Verdict> {
        self.time(|inner| inner.admit(named, tables, queue))
    }

    fn migrate(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        state: &MigrationState,
    ) -> Answer<Vec<Move>> {
        self.time(|inner| inner.migrate(named, tables, state))
    }

    fn broke_rule(&mut self, kind: Kind, by: &PolicyRef, rule: &str) {
        self.inner.broke_rule(kind, by, rule);
    }
}
