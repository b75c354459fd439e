//! A row-wise array whose clones share all rows until one of them changes.
//!
//! Rows stand in chunks behind an [`Arc`], and the chunks behind one more: a clone is one counter, the first change after a
//! clone copies the spine (one pointer a chunk), and each change copies at most the rows of its own chunk.

use std::sync::Arc;

const CHUNK: usize = 32;

pub struct Rows<T> {
    chunks: Arc<Vec<Arc<Vec<T>>>>,
    len: usize,
}

impl<T> Clone for Rows<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), len: self.len }
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
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
        self.chunks.get(row / CHUNK)?.get(row % CHUNK)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T: Clone> Rows<T> {
    /// Appends a row and returns its number.
    pub fn push(&mut self, value: T) -> usize {
        let chunks = Arc::make_mut(&mut self.chunks);
        match chunks.last_mut() {
            Some(last) if last.len() < CHUNK => Arc::make_mut(last).push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                chunks.push(Arc::new(chunk));
            }
        }
        self.len += 1;
        self.len - 1
    }

    /// The row to change; copies its chunk if a clone still shares it.
    pub fn get_mut(&mut self, row: usize) -> Option<&mut T> {
        if row >= self.len {
            return None;
        }
        Arc::make_mut(Arc::make_mut(&mut self.chunks).get_mut(row / CHUNK)?).get_mut(row % CHUNK)
    }
}

impl<T> std::ops::Index<usize> for Rows<T> {
    type Output = T;

    fn index(&self, row: usize) -> &T {
        &self.chunks[row / CHUNK][row % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_clones_alone_and_copies_one_chunk() {
        let mut rows = Rows::default();
        for value in 0..100 {
            assert_eq!(rows.push(value), value);
        }
        let before = rows.clone();
        if let Some(row) = rows.get_mut(40) {
            *row = 7;
        }
        assert_eq!((before[40], rows[40], rows[41], rows.len()), (40, 7, 41, 100));
        let shared = (0..4).filter(|chunk| Arc::ptr_eq(&before.chunks[*chunk], &rows.chunks[*chunk])).count();
        assert_eq!(shared, 3);
        assert!(rows.get_mut(100).is_none() && rows.get(100).is_none());
        assert_eq!(before.iter().copied().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
}
