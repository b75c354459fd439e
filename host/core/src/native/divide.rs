//! Webster's method (Sainte-Laguë): replicas divided by weight, and the sums that all divisions share.
//!
//! Holds: the same input gives the same seats; every seat goes to a party with votes. Knows nothing of clusters.
//!
//! Source: A. Sainte-Laguë, "La représentation proportionnelle et la méthode des moindres carrés" (1910); D. Webster's
//! rule is the same. The start in one step is the usual one for divisor methods, see F. Pukelsheim, "Proportional
//! Representation" (2014), chapter 4.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// What a party claims with its next seat: votes / (2 x seats + 1).
///
/// The quotient of two whole numbers below 2^53 is rounded once, so a greater claim never gets the smaller quotient. Claims
/// whose quotients are equal after rounding count as equal.
#[derive(Clone, Copy, Debug)]
struct Claim {
    quotient: f64,
    votes: u32,
    seats: u32,
    party: u32,
}

impl Claim {
    fn new(votes: u32, seats: u32, party: u32) -> Self {
        Self { quotient: quotient(votes, seats), votes, seats, party }
    }

    /// With so many votes or fewer, no party of a later row claims more.
    fn beaten_below(&self) -> u32 {
        // A claim is at most the votes, and equal to them without a seat; of equal ones the fewer seats win.
        if self.seats == 0 { self.votes } else { (self.quotient.ceil() as u32).saturating_sub(1) }
    }
}

fn quotient(votes: u32, seats: u32) -> f64 {
    f64::from(votes) / (2.0 * f64::from(seats) + 1.0)
}

impl Ord for Claim {
    /// The greater claim wins; equal claims: fewer seats first, then the lower row.
    fn cmp(&self, other: &Self) -> Ordering {
        self.quotient
            .total_cmp(&other.quotient)
            .then_with(|| other.seats.cmp(&self.seats))
            .then_with(|| other.party.cmp(&self.party))
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Claim {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Claim {}

/// Adds `count` seats to `seats`, by `votes`; entry i of both is party i, and ties go to the lower entry.
///
/// Returns the seats that nobody could get: all of them where no party has votes, else none. The work grows with the
/// number of parties, not with the number of seats.
pub fn webster(count: u32, votes: &[u32], seats: &mut [u32]) -> u32 {
    if count == 0 {
        return 0;
    }
    let mut rest = count;
    if count as usize > votes.len() {
        rest -= start(count, votes, seats);
    }
    let mut heap = strongest(rest, votes, seats);
    while rest > 0 {
        let Some(mut top) = heap.peek_mut() else { break };
        let Some(next) = top.seats.checked_add(1) else { break };
        seats[top.party as usize] = next;
        *top = Claim::new(top.votes, next, top.party);
        rest -= 1;
    }
    rest
}

/// Parties that are looked at together.
const BLOCK: usize = 16;

/// The claims that can win any of `rest` seats: a party wins its first one only after all whose claims are greater, so
/// those with the `rest` greatest claims are enough.
fn strongest(rest: u32, votes: &[u32], seats: &[u32]) -> BinaryHeap<Claim> {
    let most = (rest as usize).min(votes.len());
    let mut kept: BinaryHeap<Reverse<Claim>> = BinaryHeap::with_capacity(most);
    // Parties with so few votes claim too little; in the beginning that is those with none.
    let mut too_few = 0;
    for (number, (votes, seats)) in votes.chunks(BLOCK).zip(seats.chunks(BLOCK)).enumerate() {
        if !votes.iter().fold(false, |any, votes| any | (*votes > too_few)) {
            continue;
        }
        for ((votes, seats), party) in votes.iter().zip(seats).zip((number * BLOCK) as u32..) {
            if *votes <= too_few {
                continue;
            }
            let claim = Reverse(Claim::new(*votes, *seats, party));
            if kept.len() < most {
                kept.push(claim);
            } else if let Some(mut weakest) = kept.peek_mut()
                && claim < *weakest
            {
                *weakest = claim;
            }
            if kept.len() == most {
                too_few = kept.peek().map_or(u32::MAX, |Reverse(weakest)| weakest.beaten_below());
            }
        }
    }
    kept.into_iter().map(|Reverse(claim)| claim).collect()
}

/// Gives out, in one step, every seat whose claim is above a limit that at most `count` claims exceed, and returns how many
/// those were. What is left is about one seat a party.
///
/// With all claims above a limit served, the rest of Webster's method goes on as if it had served them one by one.
fn start(count: u32, votes: &[u32], seats: &mut [u32]) -> u32 {
    let total: f64 = votes.iter().copied().map(f64::from).sum();
    if total <= 0.0 {
        return 0;
    }
    let parties = votes.iter().filter(|votes| **votes > 0).count() as f64;
    let placed: f64 = seats.iter().copied().map(f64::from).sum();
    // A party with v votes has fewer than v / (2 x limit) + 1/2 claims above the limit, so this limit, for a house of
    // `size` seats, is exceeded by at most `size` claims.
    let limit_for = |size: f64| if size > parties / 2.0 { total / (2.0 * size - parties) } else { f64::INFINITY };
    let gain = |limit: f64| -> u64 {
        let above = |(votes, seats): (&u32, &u32)| claims_above(*votes, limit).saturating_sub(u64::from(*seats));
        votes.iter().zip(seats.iter()).map(above).sum()
    };
    // Seats that are there already belong to the house, but perhaps not to those who would have got them: search for the
    // largest house that hands out no more than `count`.
    let (mut low, mut high) = (0.0_f64, f64::from(count) + placed);
    if gain(limit_for(high)) <= u64::from(count) {
        low = high;
    }
    while high - low > 1.0 {
        let middle = ((low + high) / 2.0).floor();
        if gain(limit_for(middle)) <= u64::from(count) { low = middle } else { high = middle }
    }
    let limit = limit_for(low);
    if gain(limit) > u64::from(count) {
        return 0;
    }
    let mut given = 0;
    for (votes, seats) in votes.iter().zip(seats.iter_mut()) {
        let due = u32::try_from(claims_above(*votes, limit)).unwrap_or(u32::MAX);
        if due > *seats {
            given += due - *seats;
            *seats = due;
        }
    }
    given
}

/// How many claims of a party exceed `limit`, counted from its first seat. By the same quotients as [`Claim`], so that no
/// rounding comes between the two.
fn claims_above(votes: u32, limit: f64) -> u64 {
    if votes == 0 || !limit.is_finite() {
        return 0;
    }
    let estimate = (f64::from(votes) / limit - 1.0) / 2.0;
    let mut claims = estimate.ceil().clamp(0.0, f64::from(u32::MAX)) as u32;
    while claims > 0 && quotient(votes, claims - 1) <= limit {
        claims -= 1;
    }
    while claims < u32::MAX && quotient(votes, claims) > limit {
        claims += 1;
    }
    u64::from(claims)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Webster's method word by word: one seat after the other.
    fn by_the_book(count: u32, votes: &[u32], seats: &mut [u32]) {
        for _ in 0..count {
            let claims = (0..votes.len()).filter(|party| votes[*party] > 0);
            let best = claims.map(|party| Claim::new(votes[party], seats[party], party as u32)).max();
            let Some(best) = best else { return };
            seats[best.party as usize] += 1;
        }
    }

    fn divided(count: u32, votes: &[u32], from: &[u32]) -> Vec<u32> {
        let mut seats = from.to_vec();
        assert_eq!(webster(count, votes, &mut seats), 0);
        seats
    }

    #[test]
    fn an_election() {
        let votes = [100_000, 80_000, 30_000, 20_000];
        assert_eq!(divided(8, &votes, &[0; 4]), [3, 3, 1, 1]);
        assert_eq!(divided(7, &votes, &[0; 4]), [3, 2, 1, 1]);
        assert_eq!(divided(5, &votes, &[0; 4]), [2, 2, 1, 0]);
    }

    #[test]
    fn from_seats_that_are_there() {
        assert_eq!(divided(2, &[1, 2, 3], &[1, 2, 3]), [1, 3, 4]);
        assert_eq!(divided(3, &[1, 2, 3], &[1, 2, 3]), [2, 3, 4]);
    }

    #[test]
    fn no_votes_no_seats() {
        let mut seats = [0, 0];
        assert_eq!(webster(5, &[0, 0], &mut seats), 5);
        assert_eq!(seats, [0, 0]);
        assert_eq!(webster(5, &[], &mut []), 5);
    }

    #[test]
    fn four_thousand_million_seats_at_once() {
        let votes: Vec<u32> = (1..=1000).collect();
        let seats = divided(4_000_000_000, &votes, &vec![0; 1000]);
        assert_eq!(seats.iter().map(|seats| u64::from(*seats)).sum::<u64>(), 4_000_000_000);
        let share = 4_000_000_000.0 / votes.iter().copied().map(f64::from).sum::<f64>();
        for (votes, seats) in votes.iter().zip(seats) {
            assert!((f64::from(seats) - f64::from(*votes) * share).abs() < 1.0);
        }
    }

    /// The seats of parties with votes and seats that they have already: as they are divided, and by the book.
    fn both_ways(parties: Vec<(u32, u32)>, count: u32) -> (Vec<u32>, Vec<u32>) {
        let (votes, from): (Vec<u32>, Vec<u32>) = parties.into_iter().unzip();
        let mut expected = from.clone();
        by_the_book(count, &votes, &mut expected);
        let mut seats = from;
        webster(count, &votes, &mut seats);
        (seats, expected)
    }

    proptest! {
        #[test]
        fn few_seats_for_many_parties_go_by_the_book(
            parties in prop::collection::vec((0_u32..30, 0_u32..3), 1..120),
            count in 0_u32..40,
        ) {
            let (seats, expected) = both_ways(parties, count);
            prop_assert_eq!(seats, expected);
        }

        #[test]
        fn agrees_with_the_book(
            parties in prop::collection::vec((0_u32..50, 0_u32..20), 1..12),
            count in 0_u32..300,
        ) {
            let (seats, expected) = both_ways(parties, count);
            prop_assert_eq!(seats, expected);
        }

        #[test]
        fn nobody_gets_more_than_its_weight(votes in prop::collection::vec(0_u32..1000, 1..40), part in 0.0_f64..=1.0) {
            let total: u32 = votes.iter().sum();
            let count = (f64::from(total) * part) as u32;
            let mut seats = vec![0; votes.len()];
            webster(count, &votes, &mut seats);
            prop_assert!(seats.iter().zip(&votes).all(|(seats, votes)| seats <= votes));
            prop_assert_eq!(seats.iter().sum::<u32>(), count);
        }
    }
}
