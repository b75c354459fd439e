#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn columns_come_back(
        whole in prop::collection::vec(any::<u32>(), 0..200),
        wide in prop::collection::vec(any::<u64>(), 0..50),
        real in prop::collection::vec(any::<u64>(), 0..200),
        text in ".{0,20}",
    ) {
        let mut out = Writer::default();
        out.whole(whole.iter().copied());
        out.text(&text);
        out.wide(wide.iter().copied());
        out.real(real.iter().map(|bits| f64::from_bits(*bits)));
        let mut from = Reader(&out.0);
        prop_assert_eq!(from.whole().unwrap(), whole);
        prop_assert_eq!(&*from.text().unwrap(), text);
        prop_assert_eq!(from.wide().unwrap(), wide);
        let back: Vec<u64> = from.real().unwrap().into_iter().map(f64::to_bits).collect();
        prop_assert_eq!(back, real);
        prop_assert!(from.0.is_empty());
    }
}
