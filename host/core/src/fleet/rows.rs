//! A row-wise array whose clones share all rows until one of them changes.
//!
//! Rows stand in leaves of 32, leaves in branches of 32, and branches behind one more [`Arc`]: a clone is one counter, and
//! the first change of a row after a clone copies the rows of its leaf, the leaves of its branch and one pointer a thousand
//! rows. Two clones that went different ways tell where they differ without looking at what they still share.

use std::sync::Arc;

const LEAF: usize = 32;
const BRANCH: usize = 32 * LEAF;

type Leaf<T> = Arc<Vec<T>>;
type Branch<T> = Arc<Vec<Leaf<T>>>;

pub struct Rows<T> {
    branches: Arc<Vec<Branch<T>>>,
    len: usize,
}

impl<T> Clone for Rows<T> {
    fn clone(&self) -> Self {
        Self { branches: self.branches.clone(), len: self.len }
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { branches: Arc::default(), len: 0 }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: PartialEq> PartialEq for Rows<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<T> Rows<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, row: usize) -> Option<&T> {
        self.branches.get(row / BRANCH)?.get(row % BRANCH / LEAF)?.get(row % LEAF)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.branches.iter().flat_map(|branch| branch.iter()).flat_map(|leaf| leaf.iter())
    }
}

impl<T: PartialEq> Rows<T> {
    /// Calls `each` with every row that `before` does not have as it is here, ascending, and with what it was there.
    /// Rows that this array does not have are left out.
    pub fn changed_since<'a>(&'a self, before: &'a Self, mut each: impl FnMut(usize, Option<&'a T>, &'a T)) {
        if Arc::ptr_eq(&self.branches, &before.branches) {
            return;
        }
        for (at, branch) in self.branches.iter().enumerate() {
            let old = before.branches.get(at);
            if old.is_some_and(|old| Arc::ptr_eq(old, branch)) {
                continue;
            }
            for (number, leaf) in branch.iter().enumerate() {
                let old = old.and_then(|old| old.get(number));
                if old.is_some_and(|old| Arc::ptr_eq(old, leaf)) {
                    continue;
                }
                for (place, value) in leaf.iter().enumerate() {
                    let old = old.and_then(|old| old.get(place));
                    if old != Some(value) {
                        each(at * BRANCH + number * LEAF + place, old, value);
                    }
                }
            }
        }
    }
}

impl<T: Clone> Rows<T> {
    /// Appends a row and returns its number.
    pub fn push(&mut self, value: T) -> usize {
        let branches = Arc::make_mut(&mut self.branches);
        if self.len.is_multiple_of(BRANCH) {
            branches.push(Arc::new(Vec::with_capacity(BRANCH / LEAF)));
        }
        if let Some(branch) = branches.last_mut() {
            let branch = Arc::make_mut(branch);
            if self.len.is_multiple_of(LEAF) {
                branch.push(Arc::new(Vec::with_capacity(LEAF)));
            }
            if let Some(leaf) = branch.last_mut() {
                Arc::make_mut(leaf).push(value);
            }
        }
        self.len += 1;
        self.len - 1
    }

    /// The row to change; copies what a clone still shares of the way to it.
    pub fn get_mut(&mut self, row: usize) -> Option<&mut T> {
        if row >= self.len {
            return None;
        }
        let branch = Arc::make_mut(&mut self.branches).get_mut(row / BRANCH)?;
        let leaf = Arc::make_mut(branch).get_mut(row % BRANCH / LEAF)?;
        Arc::make_mut(leaf).get_mut(row % LEAF)
    }
}

impl<T> std::ops::Index<usize> for Rows<T> {
    type Output = T;

    fn index(&self, row: usize) -> &T {
        &self.branches[row / BRANCH][row % BRANCH / LEAF][row % LEAF]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_clones_alone_and_copies_one_leaf() {
        let mut rows = Rows::default();
        for value in 0..2100 {
            assert_eq!(rows.push(value), value);
        }
        let before = rows.clone();
        for row in [40, 2090] {
            if let Some(value) = rows.get_mut(row) {
                *value = 7;
            }
        }
        assert_eq!((before[40], rows[40], rows[41], rows.len()), (40, 7, 41, 2100));
        let leaves = |rows: &Rows<usize>| -> Vec<Leaf<usize>> {
            rows.branches.iter().flat_map(|branch| branch.iter().cloned()).collect()
        };
        let shared = leaves(&before).iter().zip(&leaves(&rows)).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
        assert_eq!(shared, 66 - 2);
        assert!(rows.get_mut(2100).is_none() && rows.get(2100).is_none());
        assert_eq!(before.iter().copied().collect::<Vec<_>>(), (0..2100).collect::<Vec<_>>());

        rows.push(1);
        let mut found = Vec::new();
        rows.changed_since(&before, |row, old, new| found.push((row, old.copied(), *new)));
        assert_eq!(found, [(40, Some(40), 7), (2090, Some(2090), 7), (2100, None, 1)]);
        let mut same = Vec::new();
        before.changed_since(&before.clone(), |row, _, _| same.push(row));
        assert_eq!(same, [0; 0]);
    }
}
