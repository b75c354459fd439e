//! The least of many, without putting all of them in order.

use std::collections::BinaryHeap;

/// The `most` least of `items`, in no particular order. Most items cost one comparison.
pub(super) fn least<T: Ord>(most: usize, items: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept: BinaryHeap<T> = BinaryHeap::new();
    for item in items {
        if kept.len() < most {
            kept.push(item);
        } else if let Some(mut greatest) = kept.peek_mut()
            && item < *greatest
        {
            *greatest = item;
        }
    }
    kept.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_are_kept() {
        let numbers = [5, 1, 4, 1, 9, 2];
        let kept = |most| {
            let mut kept = least(most, numbers.into_iter());
            kept.sort_unstable();
            kept
        };
        assert_eq!((kept(0), kept(3), kept(9)), (vec![], vec![1, 1, 2], vec![1, 1, 2, 4, 5, 9]));
    }
}
