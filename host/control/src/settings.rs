//! What an operator may set about the loops. All have defaults that suit a real fleet.

/// Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Workloads that one planning cycle decides at the most.
    pub gang_batch: usize,
    /// Between two looks of the migration policies while something is not as it should be; 0 is never.
    pub migration_period_ms: u64,
    /// After a move, for how long the cluster that was left gets no more of that workload.
    pub move_cool_down_ms: u64,
    /// After which an order that was not delivered is given up.
    pub reservation_ttl_ms: u64,
    /// Wait of a workload that found no room: the first, doubled with each try up to the second.
    pub backoff_ms: (u64, u64),
    /// For how long an offering is left alone after a failed order: the first time, doubled up to the second.
    pub stock_retry_ms: (u64, u64),
    /// After which a request to a member or a provider that shows no effect is made again.
    pub resend_ms: u64,
    /// Between two looks for nodes that are not needed.
    pub scale_down_scan_ms: u64,
    /// All seeds of policies are made from it.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gang_batch: 256,
            migration_period_ms: 30_000,
            move_cool_down_ms: 600_000,
            reservation_ttl_ms: 600_000,
            backoff_ms: (1_000, 60_000),
            stock_retry_ms: (60_000, 1_800_000),
            resend_ms: 30_000,
            scale_down_scan_ms: 60_000,
            seed: 0,
        }
    }
}

/// `first` doubled `times` times, at most `max`.
pub(crate) fn doubled((first, max): (u64, u64), times: u32) -> u64 {
    first.checked_shl(times.min(40)).unwrap_or(max).clamp(first.min(max), max)
}
