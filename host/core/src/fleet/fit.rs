//! How often a replica fits on a node, and what a node has left afterwards.
//!
//! All counts are exact for one shape. Nothing here knows pools, taints or labels.

use std::sync::Arc;

use crate::fleet::Free;
use crate::resources::{Amounts, GPU_ROW};
use crate::workload::Shape;

/// Thousandths of a whole GPU.
const WHOLE: u64 = 1000;

/// A shape with its requests by resource row, as a snapshot interned it.
#[derive(Clone, Debug, PartialEq)]
pub struct Need {
    pub shape: Arc<Shape>,
    pub request: Amounts,
    /// The amounts above zero by row, GPUs first.
    pub(crate) list: Vec<(usize, u64)>,
}

impl Need {
    pub fn new(shape: Arc<Shape>, request: Amounts) -> Self {
        // GPUs first: on most nodes that are full, none is left, and nothing else need be looked at.
        let mut list: Vec<(usize, u64)> = request.iter().collect();
        list.sort_by_key(|(row, _)| (*row != GPU_ROW, *row));
        Self { shape, request, list }
    }

    /// Thousandths of one GPU, 0 for shapes without a share. More than a whole GPU is no share; it never fits.
    fn share(&self) -> u64 {
        u64::from(self.shape.gpu_share)
    }

    pub(crate) fn wants_gpu(&self) -> bool {
        self.share() > 0 || self.request.get(GPU_ROW) > 0
    }

    /// How often it fits on a node that offers `allocatable` and runs nothing.
    pub fn fits_fresh(&self, allocatable: &Amounts) -> u32 {
        self.fits(allocatable, &[])
    }

    fn fits(&self, amounts: &Amounts, shared: &[u16]) -> u32 {
        let share = self.share();
        let mut most = u64::MAX;
        for (row, amount) in self.list.iter().filter(|(row, _)| share == 0 || *row != GPU_ROW) {
            let there = amounts.get(*row);
            if there < *amount {
                return 0;
            }
            most = most.min(there / amount);
        }
        let most = if share == 0 || most == 0 { most } else { self.shares(amounts, shared, most) };
        most.min(u64::from(u32::MAX)) as u32
    }

    /// How many replicas with a share fit as far as GPUs go, up to `most`. A replica may ask for whole GPUs besides.
    fn shares(&self, amounts: &Amounts, shared: &[u16], most: u64) -> u64 {
        let share = self.share();
        if share > WHOLE {
            return 0;
        }
        let (whole, wants) = (amounts.get(GPU_ROW), self.request.get(GPU_ROW));
        let in_use: u64 = shared.iter().map(|left| u64::from(*left) / share).sum();
        let per_gpu = WHOLE / share;
        let all = in_use.saturating_add(whole.saturating_mul(per_gpu)).min(most);
        let holds = |count: u64| {
            let opened = count.saturating_sub(in_use).div_ceil(per_gpu);
            wants.saturating_mul(count).saturating_add(opened) <= whole
        };
        if holds(all) {
            return all;
        }
        // Whole GPUs that replicas take besides compete with those opened for shares: the largest count that holds.
        let (mut low, mut high) = (0, all);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if holds(middle) { low = middle } else { high = middle }
        }
        low
    }
}

impl Free {
    pub fn new(amounts: Amounts) -> Self {
        Self { amounts, shared: Vec::new() }
    }

    /// How often `need` fits, exactly.
    pub fn fits(&self, need: &Need) -> u32 {
        need.fits(&self.amounts, &self.shared)
    }

    /// Takes `count` replicas, or changes nothing and says false if they do not fit. A share goes to the shared GPU with
    /// the least left that is enough, and opens a whole one only if there is none.
    #[must_use]
    pub fn take(&mut self, need: &Need, count: u32) -> bool {
        if self.fits(need) < count {
            return false;
        }
        let taken = self.amounts.take(&need.request, u64::from(count));
        debug_assert!(taken, "fits() is exact");
        let share = need.shape.gpu_share;
        if share == 0 {
            return true;
        }
        for _ in 0..count {
            match self.shared.iter().rposition(|left| *left >= share) {
                Some(place) => self.shared[place] -= share,
                None => {
                    self.amounts.set(GPU_ROW, self.amounts.get(GPU_ROW).saturating_sub(1));
                    self.shared.push((WHOLE as u16).saturating_sub(share));
                }
            }
            self.normalise();
        }
        true
    }

    /// What one replica holds: the room that it leaves when it goes, wherever it ran.
    pub fn left_by(need: &Need) -> Self {
        let share = need.shape.gpu_share;
        Self { amounts: need.request.clone(), shared: if share > 0 { vec![share] } else { Vec::new() } }
    }

    /// Descending and without zeros, so that nodes which are alike compare equal.
    pub(crate) fn normalise(&mut self) {
        self.shared.retain(|left| *left > 0);
        self.shared.sort_unstable_by(|one, other| other.cmp(one));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{CPU_ROW, PODS_ROW};
    use proptest::prelude::*;

    fn amounts(cpu: u64, pods: u64, gpus: u64) -> Amounts {
        let mut amounts = Amounts::default();
        amounts.set(CPU_ROW, cpu);
        amounts.set(PODS_ROW, pods);
        amounts.set(GPU_ROW, gpus);
        amounts
    }

    fn need(cpu: u64, gpus: u64, share: u16) -> Need {
        let shape = Shape { gpu_share: share, ..Shape::default() };
        Need::new(Arc::new(shape), amounts(cpu, 1, gpus))
    }

    #[test]
    fn shares_fill_shared_gpus_before_they_open_a_whole_one() {
        let mut free = Free { amounts: amounts(8000, 20, 1), shared: vec![700, 400] };
        let share = need(0, 0, 350);
        assert_eq!(free.fits(&share), 2 + 1 + 2);
        assert!(free.take(&share, 1));
        assert_eq!(free.shared, [700, 50]);
        assert!(free.take(&share, 3));
        assert_eq!((free.amounts.get(GPU_ROW), &free.shared[..]), (0, &[650, 50][..]));
        assert_eq!(free.fits(&share), 1);
        assert!(!free.take(&share, 2));
        assert_eq!(free.shared, [650, 50]);
    }

    #[test]
    fn more_than_a_whole_gpu_is_no_share() {
        assert_eq!(Free::new(amounts(1, 10, 4)).fits(&need(0, 0, 1200)), 0);
    }

    proptest! {
        #[test]
        fn the_count_is_what_can_be_taken_one_by_one(
            cpu in 0u64..20, pods in 0u64..20, gpus in 0u64..6, shared in prop::collection::vec(1u16..1000, 0..4),
            want_cpu in 0u64..4, want_gpus in 0u64..3, share in prop_oneof![Just(0u16), 1u16..=1000],
        ) {
            let mut free = Free { amounts: amounts(cpu, pods, gpus), shared };
            free.normalise();
            let need = need(want_cpu, want_gpus, share);
            let (fits, mut one_by_one, mut at_once) = (free.fits(&need), 0, free.clone());
            let milli = |free: &Free| free.amounts.get(GPU_ROW) * 1000 + free.shared.iter().map(|s| u64::from(*s)).sum::<u64>();
            let before = milli(&free);
            while free.take(&need, 1) {
                one_by_one += 1;
            }
            // Shares opened one by one may leave whole GPUs to a mixed request only as often as the count says.
            prop_assert_eq!(fits, one_by_one);
            prop_assert!(at_once.take(&need, fits));
            prop_assert_eq!(&at_once, &free);
            prop_assert_eq!(before - milli(&free), u64::from(fits) * (want_gpus * 1000 + u64::from(share)));
        }
    }
}
