//! Policies that answer well, spoil what they would have said, or make it up.

use std::sync::Arc;

use berth_core::ids::PolicyName;
use berth_core::native::{Builtin, policy_ref};
use berth_core::placement::PolicyRef;
use berth_core::policy::{
    Admit, Answer, Assignment, Candidates, Decision, Hold, HoldCode, How, Kind, MigrationState, Move, Policies,
    Preempt, Problem, ProblemCode, Queue, Request, Tables, Term, Verdict,
};
use berth_core::workload::Division;

use crate::choices::Choices;

/// See the module's documentation. A clone answers in the same way.
#[derive(Clone, Debug)]
pub(crate) struct Spite<'a> {
    choices: Choices<'a>,
    honest: Builtin,
    needs: Vec<Arc<str>>,
}

impl<'a> Spite<'a> {
    pub(crate) fn new(mut choices: Choices<'a>) -> Self {
        let known = ["offers", "running", "carbon", "", "nobody-has-this"];
        let needs = (0..choices.below(5)).map(|_| choices.pick(&known).into()).collect();
        Self { choices, honest: Builtin::default(), needs }
    }

    /// A row that is there in most cases.
    fn row(&mut self, rows: usize) -> u32 {
        match self.choices.byte() {
            255 => u32::MAX,
            254 => rows as u32,
            byte => (usize::from(byte) % rows.max(1)) as u32,
        }
    }

    fn text(&mut self) -> String {
        match self.choices.below(4) {
            0 => "why not".to_owned(),
            1 => String::new(),
            2 => "x".repeat(usize::from(self.choices.byte()) * 64),
            _ => "\u{1b}[2J\n\u{202e}é".to_owned(),
        }
    }

    fn number(&mut self) -> f64 {
        self.choices.pick(&[0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE])
    }

    /// The answer as `honest` gives it, spoilt by `spoil`, or a problem.
    fn answer<T>(&mut self, mut honest: Answer<T>, spoil: impl FnOnce(&mut Self, &mut T)) -> Answer<T> {
        if self.choices.are_over() {
            return honest;
        }
        honest.by = policy_ref("spite");
        match self.choices.below(8) {
            0 => {
                let code =
                    self.choices.pick(&[ProblemCode::NoRoom, ProblemCode::NoCandidate, ProblemCode::Unsupported]);
                honest.result = Err(Problem { code, message: self.text() });
            }
            1 => honest.failed = Some((policy_ref("worse"), self.text())),
            2 => {}
            _ => {
                if let Ok(answer) = &mut honest.result {
                    spoil(self, answer);
                }
            }
        }
        honest
    }

    fn decision(&mut self, decision: &mut Decision, request: &Request, candidates: &Candidates) {
        if self.choices.flag() {
            decision.assignments.clear();
        }
        for _ in 0..self.choices.below(5) {
            let assignment = Assignment {
                component: self.row(request.components.len()),
                candidate: self.row(candidates.len()),
                replicas: self.choices.count(),
            };
            let at = self.choices.below(decision.assignments.len() + 1);
            match (self.choices.below(3), decision.assignments.get_mut(at)) {
                (0, Some(one)) => *one = assignment,
                (1, Some(one)) => one.replicas = one.replicas.wrapping_add(assignment.replicas),
                _ => decision.assignments.insert(at, assignment),
            }
        }
        for _ in 0..self.choices.below(40) {
            let (candidate, name, value) = (self.row(candidates.len()), self.text(), self.number());
            decision.terms.push(Term { candidate, name: name.into(), value });
        }
    }

    fn verdict(&mut self, verdict: &mut Verdict, queue: &Queue) {
        match self.choices.below(6) {
            0 => verdict.admit.reverse(),
            1 => verdict.hold.clear(),
            2 => {
                verdict.admit.clear();
                verdict.hold.clear();
            }
            _ => {}
        }
        for _ in 0..self.choices.below(4) {
            let job = self.row(queue.jobs.len());
            let components = queue.jobs.get(job as usize).map_or(1, |job| job.components.len());
            let many = components + self.choices.below(8) / 7;
            let sizes = (0..many).map(|_| self.choices.count()).collect();
            let except = (0..self.choices.below(3)).map(|_| self.row(6)).collect();
            verdict.admit.push(Admit { job, sizes, except });
        }
        for _ in 0..self.choices.below(3) {
            let codes = [HoldCode::NoRoom, HoldCode::Quota, HoldCode::Behind, HoldCode::TooLarge];
            let (job, code, reason) = (self.row(queue.jobs.len()), self.choices.pick(&codes), self.text());
            verdict.hold.push(Hold { job, code, reason });
        }
        for _ in 0..self.choices.below(3) {
            let (victim, beneficiary) = (self.row(queue.running.len()), self.row(queue.jobs.len()));
            verdict.preempt.push(Preempt { victim, beneficiary, reason: self.text() });
        }
    }

    fn moves(&mut self, moves: &mut Vec<Move>, state: &MigrationState) {
        if self.choices.flag() {
            moves.clear();
        }
        for _ in 0..self.choices.below(5) {
            let how = self.choices.pick(&[How::Gracefully, How::AtOnce]);
            let row = self.row(state.placed.workload.len());
            moves.push(Move { row, replicas: self.choices.count(), how, reason: self.text() });
        }
    }
}

impl Policies for Spite<'_> {
    fn begin(&mut self) {}

    fn needs(&self, _: Kind, _: Option<&PolicyName>, _: Division) -> &[Arc<str>] {
        &self.needs
    }

    fn place(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        request: &Request,
        candidates: &Candidates,
    ) -> Answer<Decision> {
        let honest = self.honest.place(named, tables, request, candidates);
        self.answer(honest, |spite, decision| spite.decision(decision, request, candidates))
    }

    fn admit(&mut self, named: Option<&PolicyName>, tables: &Arc<Tables>, queue: &Queue) -> Answer<Verdict> {
        let honest = self.honest.admit(named, tables, queue);
        self.answer(honest, |spite, verdict| spite.verdict(verdict, queue))
    }

    fn migrate(
        &mut self,
        named: Option<&PolicyName>,
        tables: &Arc<Tables>,
        state: &MigrationState,
    ) -> Answer<Vec<Move>> {
        let honest = self.honest.migrate(named, tables, state);
        self.answer(honest, |spite, moves| spite.moves(moves, state))
    }

    fn broke_rule(&mut self, _: Kind, by: &PolicyRef, rule: &str) {
        assert!(!by.name.as_str().is_empty() && !rule.is_empty(), "a rule without a name was broken");
    }
}
