//! How fast one client may ask: a token bucket for each, in the form of one instant, until which what it asked is paid for
//! (the generic cell rate algorithm, ITU-T I.371). Time is an argument.
//!
//! The table is bounded. Buckets that are full again are as good as forgotten, and are dropped when room is needed; where
//! none are, newcomers share one bucket, so that many addresses get no more than one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Clients that are told apart.
const MOST_CLIENTS: usize = 4096;

/// Where a connection comes from: an IPv4 address, or the /64 network of an IPv6 address, which is what one client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            address => address,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Client {
    Peer(Peer),
    /// By the place of its token.
    Token(usize),
    /// All for which the table has no room.
    Others,
}

#[derive(Debug)]
pub(crate) struct Rates {
    /// Between two requests; `None` without a limit.
    interval: Option<Duration>,
    /// How far ahead of the rate a client may be.
    ahead: Duration,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    paid_until: BTreeMap<Client, Instant>,
    /// When the table was last looked through for clients to forget.
    swept: Option<Instant>,
}

impl Rates {
    /// `per_second` requests, and `burst` at once; 0 a second for no limit.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = (per_second > 0).then(|| Duration::from_secs(1) / per_second);
        let ahead = interval.unwrap_or_default().saturating_mul(burst.saturating_sub(1));
        Self { interval, ahead, table: Mutex::default() }
    }

    /// Takes one request of `client` from its bucket.
    ///
    /// # Errors
    /// How long to wait for the next one, where the bucket is empty. Nothing is taken then.
    pub(crate) fn take(&self, client: Client, now: Instant) -> Result<(), Duration> {
        let Some(interval) = self.interval else { return Ok(()) };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let client = table.client(client, now);
        let paid = table.paid_until.get(&client).map_or(now, |paid| (*paid).max(now));
        let early = paid.duration_since(now).saturating_sub(self.ahead);
        if !early.is_zero() {
            return Err(early);
        }
        table.paid_until.insert(client, paid + interval);
        Ok(())
    }
}

impl Table {
    /// `client`, or the one that stands for all others if there is no room for it.
    fn client(&mut self, client: Client, now: Instant) -> Client {
        if self.paid_until.len() < MOST_CLIENTS || self.paid_until.contains_key(&client) {
            return client;
        }
        let due = self.swept.is_none_or(|swept| now.duration_since(swept) >= Duration::from_secs(1));
        if due {
            self.swept = Some(now);
            self.paid_until.retain(|_, paid| *paid > now);
        }
        if self.paid_until.len() < MOST_CLIENTS { client } else { Client::Others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u32) -> Client {
        Client::Peer(Peer::from(IpAddr::from(number.to_be_bytes())))
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_counts() {
        let (rates, now) = (Rates::new(10, 3), Instant::now());
        let take = |client, millis| rates.take(client, now + Duration::from_millis(millis));
        assert_eq!([take(peer(1), 0), take(peer(1), 0), take(peer(1), 0)], [Ok(()); 3]);
        assert_eq!(take(peer(1), 0), Err(Duration::from_millis(100)));
        assert_eq!(take(peer(2), 0), Ok(()), "each client has its own");
        assert_eq!(take(Client::Token(0), 0), Ok(()));
        assert_eq!(take(peer(1), 60), Err(Duration::from_millis(40)), "a refusal costs nothing");
        assert_eq!(take(peer(1), 100), Ok(()));
        assert_eq!(take(peer(1), 100), Err(Duration::from_millis(100)));
        let hour = 3_600_000;
        assert_eq!([(); 4].map(|()| take(peer(1), hour).is_ok()), [true, true, true, false]);
    }

    #[test]
    fn without_a_rate_nothing_is_limited() {
        let (rates, now) = (Rates::new(0, 1), Instant::now());
        assert!((0..10_000).all(|_| rates.take(peer(1), now).is_ok()));
        assert!(rates.table.lock().is_ok_and(|table| table.paid_until.is_empty()));
    }

    #[test]
    fn many_addresses_fill_no_memory_and_get_no_more_than_one() {
        let (rates, now) = (Rates::new(1, 1), Instant::now());
        let most = MOST_CLIENTS as u32;
        assert!((0..most).all(|number| rates.take(peer(number), now).is_ok()));
        assert_eq!(rates.take(peer(most), now), Ok(()), "the first of the others");
        assert!((most + 1..2 * most).all(|number| rates.take(peer(number), now).is_err()));
        assert!(rates.table.lock().is_ok_and(|table| table.paid_until.len() == MOST_CLIENTS + 1));
        let later = now + Duration::from_secs(5);
        assert!((most..most + 10).all(|number| rates.take(peer(number), later).is_ok()), "who was idle is forgotten");
        assert!(rates.table.lock().is_ok_and(|table| table.paid_until.len() == 10));
    }

    #[test]
    fn one_ipv6_network_is_one_peer() {
        let peer = |text: &str| text.parse::<IpAddr>().map(Peer::from);
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:2"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
    }
}
