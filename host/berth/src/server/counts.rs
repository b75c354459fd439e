//! Answers by status, so that an operator sees who is refused and how often.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use super::metrics::Metrics;
use super::metrics::Type::Counter;

/// All that the API answers with; the last one stands for any other.
const STATUSES: [&str; 15] =
    ["200", "400", "401", "403", "404", "405", "408", "409", "413", "415", "422", "429", "500", "503", "other"];

#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; STATUSES.len()]);

impl Counts {
    pub(super) fn answered(&self, status: StatusCode) {
        let place = STATUSES.iter().position(|known| *known == status.as_str()).unwrap_or(STATUSES.len() - 1);
        if let Some(count) = self.0.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As Prometheus reads it.
    pub(super) fn metrics(&self) -> String {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed) as f64);
        let mut metrics = Metrics::default();
        let samples = STATUSES.into_iter().zip(counts);
        metrics.by("berth_http_answers_total", Counter, "Answers of the HTTP API.", "status", samples);
        metrics.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_counted_once() {
        let counts = Counts::default();
        for status in [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::IM_A_TEAPOT] {
            counts.answered(status);
        }
        let text = counts.metrics();
        let of = |status: &str| text.lines().find(|line| line.contains(&format!("\"{status}\""))).map(str::to_owned);
        for (status, count) in [("200", 2), ("429", 1), ("other", 1), ("500", 0)] {
            assert_eq!(of(status), Some(format!("berth_http_answers_total{{status=\"{status}\"}} {count}")));
        }
    }
}
