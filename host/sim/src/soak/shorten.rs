//! Makes a failing run short enough to be read: leaves out whatever does not matter for the failure.
//!
//! Delta debugging after Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002), with a bound on
//! the number of runs instead of a promise of the smallest result.

use super::scenario::Scenario;
use super::script::Entry;

/// The shortest script found with which `fails` still says yes, after at most `tries` runs. The given one must fail.
pub(super) fn shorten(
    scenario: &Scenario,
    ends: u64,
    tries: usize,
    mut fails: impl FnMut(&Scenario) -> bool,
) -> (Scenario, usize) {
    let mut best = scenario.clone();
    let mut left = tries;
    let mut attempt = |script: Vec<Entry>, length: u64, best: &mut Scenario| {
        if left == 0 {
            return false;
        }
        left -= 1;
        let next = Scenario { script, length, ..best.clone() };
        let failed = fails(&next);
        if failed {
            *best = next;
        }
        failed
    };
    // What comes after the failure had no part in it.
    let head: Vec<Entry> = best.script.iter().filter(|entry| entry.at <= ends).cloned().collect();
    attempt(head.clone(), best.length.min(ends), &mut best);
    attempt(head, best.length, &mut best);
    let mut size = best.script.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < best.script.len() {
            let mut script = best.script.clone();
            script.drain(at..(at + size).min(script.len()));
            if attempt(script, best.length, &mut best) {
                shorter = true;
            } else {
                at += size;
            }
        }
        if size == 1 && !shorter {
            break;
        }
        size = (size / 2).max(1);
    }
    let used = tries - left;
    (best, used)
}
