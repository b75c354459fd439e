//! Numbers that look random and follow from the seed alone.
//!
//! A draw is a pure function of the seed and of what it is for. So the order in which things are drawn does not matter, and
//! nothing has to be saved to go on where a simulation stopped.

use berth_core::plan::mix;

/// An even draw from all 64-bit numbers, for the `number`th time that `what` is drawn.
pub(crate) fn draw(seed: u64, what: &str, number: u64) -> u64 {
    // FNV-1a over the name, then two rounds of splitmix64 to spread seed and number.
    let name = what
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(mix(seed ^ name).wrapping_add(number))
}

/// An even draw from `min` to `max`, both included; `min` where `max` is not above it.
pub(crate) fn between(seed: u64, what: &str, number: u64, min: u64, max: u64) -> u64 {
    match max.checked_sub(min) {
        None | Some(0) => min,
        Some(width) => min + draw(seed, what, number) % width.saturating_add(1).max(1),
    }
}

/// Whether something of this probability happens.
pub(crate) fn happens(seed: u64, what: &str, number: u64, probability: f64) -> bool {
    // 53 bits are what a float holds exactly.
    probability > 0.0 && ((draw(seed, what, number) >> 11) as f64) < probability * (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_their_range_and_reach_both_ends() {
        let draws: Vec<u64> = (0..1000).map(|number| between(7, "node", number, 35, 55)).collect();
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&35), Some(&55)));
        assert_eq!(between(7, "node", 1, 9, 3), 9);
        assert!(draws.iter().any(|draw| *draw != between(8, "node", 0, 35, 55)));
    }

    #[test]
    fn probabilities_are_kept() {
        let count = (0..10_000).filter(|number| happens(1, "fault", *number, 0.25)).count();
        assert!((2_300..2_700).contains(&count), "{count}");
        assert!(!happens(1, "fault", 0, 0.0) && happens(1, "fault", 0, 1.0));
    }
}
