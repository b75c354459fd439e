//! What a client may take of the API: sizes, times, connections and rates. The same type is the command line's.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use berth_api::quantity::Quantity;

/// The smallest buffer that the HTTP server works with.
const SMALLEST_HEAD: usize = 8 << 10;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits of the HTTP API")]
pub(crate) struct Limits {
    /// Largest body of a request; all that are under way together may have eight times as much
    #[arg(long, env = "BERTH_MAX_BODY", value_name = "SIZE", default_value = "16Mi", value_parser = body)]
    pub(crate) max_body: usize,
    /// Largest head of a request, with its request line
    #[arg(long, env = "BERTH_MAX_HEAD", value_name = "SIZE", default_value = "16Ki", value_parser = head)]
    pub(crate) max_head: usize,
    /// Most header fields of a request
    #[arg(long, env = "BERTH_MAX_HEADERS", value_name = "N", default_value = "64")]
    pub(crate) max_headers: NonZeroUsize,
    /// Time for a request's head to arrive, and for a connection to stay unused
    #[arg(long, env = "BERTH_HEAD_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) head_timeout: Duration,
    /// Time for a request's body to arrive and for its answer to be found
    #[arg(long, env = "BERTH_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) request_timeout: Duration,
    /// Time for the client to take an answer
    #[arg(long, env = "BERTH_SEND_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) send_timeout: Duration,
    /// Most connections at a time
    #[arg(long, env = "BERTH_MAX_CONNECTIONS", value_name = "N", default_value = "256")]
    pub(crate) max_connections: NonZeroUsize,
    /// Most connections at a time from one address
    #[arg(long, env = "BERTH_MAX_CONNECTIONS_PER_PEER", value_name = "N", default_value = "64")]
    pub(crate) max_connections_per_peer: NonZeroUsize,
    /// Requests a second from one address, and with one token, for which tokens there are; 0 for no limit
    #[arg(long, env = "BERTH_RATE_LIMIT", value_name = "N", default_value_t = 200)]
    pub(crate) rate_limit: u32,
    /// Requests that may come at once before the rate counts
    #[arg(long, env = "BERTH_RATE_BURST", value_name = "N", default_value = "400")]
    pub(crate) rate_burst: NonZeroU32,
    /// Most requests that wait for the controller between two of its steps
    #[arg(long, env = "BERTH_MAX_WAITING", value_name = "N", default_value = "64")]
    pub(crate) max_waiting: NonZeroUsize,
}

impl Limits {
    /// Bytes of all bodies that are under way.
    pub(crate) fn all_bodies(&self) -> usize {
        self.max_body.saturating_mul(8)
    }
}

fn size(text: &str, smallest: usize, largest: usize) -> Result<usize, String> {
    let bytes = Quantity::parse(text).ok().and_then(|size| usize::try_from(size.nano() / 1_000_000_000).ok());
    bytes
        .filter(|bytes| (smallest..=largest).contains(bytes))
        .ok_or_else(|| format!("use a size from {smallest} to {largest} bytes, such as 64Ki or 16Mi"))
}

fn body(text: &str) -> Result<usize, String> {
    size(text, 1 << 10, 1 << 30)
}

fn head(text: &str) -> Result<usize, String> {
    size(text, SMALLEST_HEAD, 1 << 20)
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = berth_api::duration::Duration::parse(text).map_err(|error| error.to_string())?;
    let duration = Duration::from_millis(parsed.millis());
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    if range.contains(&duration) { Ok(duration) } else { Err("use 100ms to 1h".to_owned()) }
}

#[cfg(test)]
impl Limits {
    /// The defaults of the command line, changed by `arguments`.
    pub(crate) fn parse(arguments: &[&str]) -> Self {
        use clap::{Args, FromArgMatches};
        let command = Self::augment_args(clap::Command::new("limits").no_binary_name(true).args_override_self(true));
        let matches = command.get_matches_from(arguments);
        #[expect(clippy::expect_used, reason = "in tests")]
        Self::from_arg_matches(&matches).expect("all arguments have defaults")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_what_was_asked_for_and_within_reason() {
        let limits = Limits::parse(&["--max-body", "1Mi", "--head-timeout", "1500ms"]);
        assert_eq!((limits.max_body, limits.all_bodies()), (1 << 20, 8 << 20));
        assert_eq!(limits.head_timeout, Duration::from_millis(1500));
        assert_eq!(body("16Mi"), Ok(16 << 20));
        for bad in ["", "x", "1", "-1", "1Ti", "99999999999999999999"] {
            assert!(body(bad).is_err(), "{bad}");
        }
        assert!(head("4Ki").is_err() && duration("0").is_err() && duration("2h").is_err());
    }
}
