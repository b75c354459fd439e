//! One policy with its session and its breaker.
//!
//! Holds: a policy that keeps failing is taken out for a while, by the caller's clock, and tried again. One that runs into a
//! limit of time costs others theirs, so twice within a minute is enough for it, whatever lies between.

use std::fmt::Display;
use std::sync::Arc;

use berth_core::policy::{Problem, Tables};

use crate::call::broke;
use crate::engine::Runtime;
use crate::load::Loaded;
use crate::session::{Called, Slot};
use crate::stats::Failure;
use crate::version::Session;

/// Failures in a row after which a policy is taken out.
const BREAKS_AFTER: u32 = 5;
/// Milliseconds in which it may use up its fuel or its time once.
const ONCE_IN_MS: u64 = 60_000;
/// Milliseconds for which it is out the first time; doubled each time that it fails when tried again.
const FIRST_OUT_MS: u64 = 60_000;
const LONGEST_OUT_MS: u64 = 3_600_000;

/// One policy's session and breaker.
pub(crate) struct Live {
    pub(crate) policy: Arc<Loaded>,
    slot: Slot,
    /// The last call gave an answer that nobody has refused so far.
    answered: bool,
    /// Failures in a row.
    failures: u32,
    /// When it used up its fuel or its time the last time.
    used_up_ms: Option<u64>,
    /// Taken out until then, by the caller's clock; 0 once it has answered since: until then each failure takes it out again.
    out_until_ms: u64,
    out_for_ms: u64,
    /// The clock of the last call.
    now_ms: u64,
}

impl Live {
    pub(crate) fn new(policy: Arc<Loaded>) -> Self {
        Self {
            policy,
            slot: Slot::default(),
            answered: false,
            failures: 0,
            used_up_ms: None,
            out_until_ms: 0,
            out_for_ms: FIRST_OUT_MS,
            now_ms: 0,
        }
    }

    /// Asks it, unless it is taken out.
    ///
    /// # Errors
    /// Why it gave no answer.
    pub(crate) fn ask<T>(
        &mut self,
        runtime: &Runtime,
        tables: &Arc<Tables>,
        now_ms: u64,
        call: impl FnOnce(&mut dyn Session) -> Called<T>,
    ) -> Result<(Result<T, Problem>, u64), String> {
        self.next_call(now_ms);
        if now_ms < self.out_until_ms {
            let seconds = (self.out_until_ms - now_ms).div_ceil(1000);
            return Err(format!("it is taken out for {seconds} s more after repeated failures"));
        }
        match self.slot.ask(runtime, &self.policy, tables, call) {
            Ok(answer) => {
                self.answered = true;
                Ok(answer)
            }
            Err(error) => {
                self.failed(error.failure, &error.what);
                Err(error.what)
            }
        }
    }

    /// The last answer stood if nobody has said by now that it broke a rule.
    fn next_call(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if std::mem::take(&mut self.answered) && self.failures > 0 {
            self.failures = 0;
            self.out_until_ms = 0;
            self.out_for_ms = FIRST_OUT_MS;
            self.policy.stats().taken_out = false;
        }
    }

    /// The host refused its answer. Returns how that is told.
    pub(crate) fn broke_rule(&mut self, rule: impl Display) -> String {
        let what = broke(rule);
        self.failed(Failure::BrokeRule, &what);
        what
    }

    fn failed(&mut self, failure: Failure, what: &str) {
        self.slot.drop_session();
        self.answered = false;
        self.failures = self.failures.saturating_add(1);
        let mut stats = self.policy.stats();
        stats.failed(failure, what);
        let used_up = matches!(failure, Failure::Fuel | Failure::Deadline);
        let again = used_up
            && self.used_up_ms.replace(self.now_ms).is_some_and(|before| self.now_ms.abs_diff(before) <= ONCE_IN_MS);
        let on_trial = self.out_until_ms > 0;
        if again || on_trial || self.failures >= BREAKS_AFTER {
            self.out_until_ms = self.now_ms.saturating_add(self.out_for_ms);
            self.out_for_ms = self.out_for_ms.saturating_mul(2).min(LONGEST_OUT_MS);
            stats.taken_out = true;
        }
    }
}
