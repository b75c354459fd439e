//! An autoscaler for each load series: requests become replicas, as a horizontal pod autoscaler would set them.
//!
//! Every 15 seconds the rate over the window is divided by what one replica serves. More replicas are set at once, fewer
//! only when nothing more was asked for during 5 minutes. The load does not depend on the fleet, so that the next change is
//! known in advance and nothing has to be woken in between.

use std::collections::VecDeque;
use std::sync::Arc;

use berth_core::ids::{Millis, WorkloadKey};
use serde::{Deserialize, Serialize};

use crate::series::Requests;

/// How often replicas are computed, milliseconds.
const PERIOD_MS: u64 = 15_000;
/// How long the highest recommendation stands, milliseconds.
const STABILISATION_MS: u64 = 300_000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) workload: WorkloadKey,
    pub(crate) requests: Arc<Requests>,
    /// Requests that one replica serves in a second.
    pub(crate) per_replica: f64,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) window_ms: u64,
    /// Time of the series that passes in one second.
    pub(crate) speed: f64,
    pub(crate) repeat: bool,
}

/// Where an autoscaler stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Milliseconds after the start of the series when replicas are computed next.
    next_tick: u64,
    recommended: VecDeque<(u64, u32)>,
    last: Option<u32>,
    /// The next change that was not handed out yet.
    ahead: Option<(u64, u32)>,
    exhausted: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Autoscaler {
    pub(crate) load: Load,
    pub(crate) start: Millis,
    pub(crate) progress: Progress,
}

impl Load {
    /// Requests a second over the window that ends `at` milliseconds after the start.
    fn rate(&self, at: u64) -> f64 {
        let to = at as f64 * self.speed;
        let from = to - self.window_ms as f64 * self.speed;
        let seconds = (to - from) / 1000.0;
        if seconds > 0.0 { (self.before(to) - self.before(from)) / seconds } else { 0.0 }
    }

    /// Requests before `time` of the series, its repetitions included.
    fn before(&self, time: f64) -> f64 {
        if time <= 0.0 {
            return 0.0;
        }
        let (time, length) = (time as u64, self.requests.length());
        let rounds = if self.repeat { time / length.max(1) } else { 0 };
        let all = self.requests.sums.last().copied().unwrap_or(0);
        rounds as f64 * all as f64 + self.requests.before(time - rounds * length) as f64
    }

    fn replicas(&self, at: u64) -> u32 {
        let wanted = (self.rate(at) / self.per_replica).ceil();
        // The cast saturates, and a rate of nothing divided by nothing counts as nothing.
        (wanted as u32).clamp(self.min, self.max.max(self.min))
    }

    /// Milliseconds after which nothing changes any more; for a series that repeats, how far it makes sense to look ahead.
    pub(crate) fn horizon(&self) -> u64 {
        let length = (self.requests.length() as f64 / self.speed) as u64;
        length.saturating_add(self.window_ms).saturating_add(STABILISATION_MS + 2 * PERIOD_MS)
    }
}

impl Autoscaler {
    pub(crate) fn new(load: Load, start: Millis) -> Self {
        Self { load, start, progress: Progress::default() }
    }

    /// When replicas change next.
    pub(crate) fn next(&mut self) -> Option<Millis> {
        self.look_ahead();
        self.progress.ahead.map(|(at, _)| self.start.plus(at))
    }

    /// What was set last up to `now`; `None` if nothing changed since this was last asked.
    pub(crate) fn take(&mut self, now: Millis) -> Option<u32> {
        let mut taken = None;
        while self.next().is_some_and(|at| at <= now) {
            taken = self.progress.ahead.take().map(|(_, replicas)| replicas);
        }
        taken
    }

    fn look_ahead(&mut self) {
        let (load, state) = (&self.load, &mut self.progress);
        let end = if load.repeat { state.next_tick.saturating_add(load.horizon()) } else { load.horizon() };
        while state.ahead.is_none() && !state.exhausted {
            let at = state.next_tick;
            state.exhausted = at > end;
            state.next_tick = at.saturating_add(PERIOD_MS);
            state.recommended.retain(|(since, _)| at - since < STABILISATION_MS);
            state.recommended.push_back((at, load.replicas(at)));
            let highest = state.recommended.iter().map(|(_, replicas)| *replicas).max();
            if highest != state.last {
                state.last = highest;
                state.ahead = highest.map(|replicas| (at, replicas));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten minutes at 10 requests a second, then ten at 1.
    fn load(repeat: bool) -> Load {
        let times: Vec<u64> = (0..6000).map(|n| n * 100).chain((0..600).map(|n| 600_000 + n * 1000)).collect();
        let sums = (1..=times.len() as u64).collect();
        Load {
            workload: WorkloadKey::new("apps/v1/Deployment", "default", "llm"),
            requests: Arc::new(Requests { times, sums }),
            per_replica: 2.0,
            min: 1,
            max: 4,
            window_ms: 60_000,
            speed: 1.0,
            repeat,
        }
    }

    fn changes(load: Load, until: u64) -> Vec<(u64, u32)> {
        let mut scaler = Autoscaler::new(load, Millis(1_000_000));
        let mut changes = Vec::new();
        while let Some(at) = scaler.next().filter(|at| at.0 <= 1_000_000 + until) {
            changes.extend(scaler.take(at).map(|replicas| ((at.0 - 1_000_000) / 1000, replicas)));
        }
        changes
    }

    #[test]
    fn replicas_rise_at_once_and_fall_after_five_minutes() {
        let changes = changes(load(false), u64::MAX / 2);
        assert_eq!(changes[..4], [(0, 1), (15, 2), (30, 3), (45, 4)]);
        // The rate falls below four replicas' worth 45 s after 600 s at the latest; five minutes later they go.
        assert_eq!(changes[4].1, 3);
        assert!((900..=960).contains(&changes[4].0), "{changes:?}");
        assert_eq!(changes.last().map(|last| last.1), Some(1));
    }

    #[test]
    fn a_series_that_repeats_goes_on() {
        let changes = changes(load(true), 3 * 1_200_000);
        assert_eq!(changes.iter().filter(|(_, replicas)| *replicas == 4).count(), 3, "{changes:?}");
    }

    #[test]
    fn speed_shortens_the_time_and_keeps_the_rate() {
        let changes = changes(Load { speed: 10.0, window_ms: 15_000, ..load(false) }, 50_000);
        assert_eq!(changes[..2], [(0, 1), (15, 4)]);
    }
}
