//! What happened, told as it happens: one line on stdout each, with the time on the controller's clock since the run
//! began. The last events stay for those who ask later.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use berth_control::event::{Event, What};
use berth_control::ports::Events;
use berth_core::ids::{Millis, PolicyName};
use berth_policy::Scan;

use crate::output::text::clock;
use crate::wire::NumberedEvent;

/// Events that are kept for the API.
const KEPT: usize = 10_000;

/// Both halves see one and the same story: the controller writes it, the API reads it.
#[derive(Clone)]
pub(crate) struct Story {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    start: Millis,
    now: Millis,
    kept: VecDeque<NumberedEvent>,
    last: u64,
    out: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Story")
    }
}

impl Story {
    /// `start` is what times in the lines count from.
    pub(crate) fn new(start: Millis, out: Box<dyn Write + Send>) -> Self {
        let inner = Inner { start, now: start, kept: VecDeque::new(), last: 0, out };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Prints a line that is no event.
    pub(crate) fn say(&self, line: &str) {
        self.with(|inner| inner.print(line));
    }

    /// Events with a number above `after`, oldest first: at most the `limit` newest.
    pub(crate) fn since(&self, after: u64, limit: usize) -> Vec<NumberedEvent> {
        self.with(|inner| {
            let newer = inner.kept.iter().rev().take_while(|event| event.number > after).take(limit);
            let mut events: Vec<NumberedEvent> = newer.cloned().collect();
            events.reverse();
            events
        })
    }

    /// Events that are told without the controller carry this time.
    pub(crate) fn set_now(&self, now: Millis) {
        self.with(|inner| inner.now = now);
    }

    /// Tells what a scan of the policy folder did.
    pub(crate) fn scanned(&self, scan: &Scan) {
        let mut story = self.clone();
        let at = self.with(|inner| inner.now);
        for refusal in &scan.refused {
            let file = refusal.file.display().to_string();
            story.emit(Event { at, what: What::PolicyRefused { file, reason: refusal.reason.clone() } });
        }
        let names: Vec<PolicyName> = scan.changed.iter().chain(&scan.rebound).cloned().collect();
        if !names.is_empty() {
            story.emit(Event { at, what: What::PoliciesSwapped { names } });
        }
        if let Some(rules) = scan.rules {
            story.emit(Event { at, what: What::PoliciesBound { rules } });
        }
    }

    fn with<R>(&self, use_it: impl FnOnce(&mut Inner) -> R) -> R {
        // A panic while printing leaves nothing half done that matters.
        use_it(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    /// A reader of stdout that went away does not stop the controller.
    fn print(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }
}

/// The first report of each offering's stock: too many lines at the start that say too little.
fn is_first_report(what: &What) -> bool {
    matches!(what, What::StockChanged { from, .. } if from == "Unknown")
}

impl Events for Story {
    fn emit(&mut self, event: Event) {
        self.with(|inner| {
            if !is_first_report(&event.what) {
                let line = format!("[{}] {event}", clock(event.at.since(inner.start)));
                inner.print(&line);
            }
            inner.last += 1;
            if inner.kept.len() == KEPT {
                inner.kept.pop_front();
            }
            inner.kept.push_back(NumberedEvent { number: inner.last, line: event.to_string(), event });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_and_the_newest_are_kept() {
        let mut story = Story::new(Millis(1000), Box::new(std::io::sink()));
        for second in 0..3 {
            story.emit(Event { at: Millis(1000 + second), what: What::ClusterLost { cluster: "a".into() } });
        }
        let numbers = |after, limit| story.since(after, limit).iter().map(|event| event.number).collect::<Vec<_>>();
        assert_eq!(numbers(0, 10), [1, 2, 3]);
        assert_eq!(numbers(2, 10), [3]);
        assert_eq!(numbers(0, 2), [2, 3]);
    }
}
