//! Lists in pages, so that no answer grows with the fleet: as many rows as were asked for, no more than [`MOST_ROWS`], and
//! of things that may be large no more than [`MOST_BYTES`] and one. What is left comes with the next page, which goes on
//! after the last row of this one, whatever came or went meanwhile.

use std::io;

use axum::http::StatusCode;
use berth_control::ports::ObjectKey;
use serde::Serialize;

use super::error::Refusal;

pub(crate) const MOST_ROWS: usize = 1000;
const MOST_BYTES: usize = 4 << 20;

/// Which part of a list is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) limit: usize,
    /// What the page before said; empty for the first one.
    pub(crate) after: String,
}

impl Page {
    pub(crate) fn new(limit: Option<usize>, after: String) -> Self {
        Self { limit: limit.unwrap_or(MOST_ROWS).clamp(1, MOST_ROWS), after }
    }

    /// The object after which it begins.
    ///
    /// # Errors
    /// If `after` is nothing that a page before could have said.
    pub(crate) fn after_object(&self) -> Result<Option<ObjectKey>, Refusal> {
        if self.after.is_empty() {
            return Ok(None);
        }
        let mut parts = self.after.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), Some(kind)) => {
                Ok(Some(ObjectKey { kind: kind.into(), namespace: namespace.into(), name: name.into() }))
            }
            _ => Err(self.unknown()),
        }
    }

    pub(crate) fn unknown(&self) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "BadQuery", "continue is nothing that a list ended with")
            .hint("pass what the page before has in \"continue\", as it is")
    }

    /// The rows of `keys` until the page is full, and after which key the next one begins, where there is one. Keys without
    /// a row are left out.
    pub(crate) fn fill<K, T: Serialize>(
        &self,
        keys: impl IntoIterator<Item = K>,
        row: impl Fn(&K) -> Option<T>,
        place: impl Fn(&K) -> String,
    ) -> (Vec<T>, Option<String>) {
        let (mut rows, mut bytes, mut last) = (Vec::new(), 0, None);
        for key in keys {
            if rows.len() == self.limit || bytes >= MOST_BYTES {
                return (rows, last.as_ref().map(place));
            }
            if let Some(row) = row(&key) {
                bytes += size(&row);
                rows.push(row);
            }
            last = Some(key);
        }
        (rows, None)
    }
}

/// Where a list goes on after an object.
pub(crate) fn place(namespace: &str, name: &str, kind: &str) -> String {
    format!("{namespace}/{name}/{kind}")
}

/// The first of `rows`, as many as an answer may hold.
pub(crate) fn cut<T: Serialize>(mut rows: Vec<T>) -> Vec<T> {
    let mut bytes = 0;
    let fits = rows.iter().take_while(|row| {
        let before = bytes;
        bytes += size(row);
        before < MOST_BYTES
    });
    rows.truncate(fits.count());
    rows
}

/// Bytes of `value` as JSON.
fn size(value: &impl Serialize) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // What cannot be written fails where the answer is made.
    drop(serde_json::to_writer(&mut counter, value));
    counter.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        let fill = |limit, keys: std::ops::Range<u32>| {
            let row = |key: &u32| (key % 3 != 2).then_some(*key);
            Page::new(Some(limit), String::new()).fill(keys, row, |key| place("", &key.to_string(), "v1/A"))
        };
        assert_eq!(fill(2, 0..5), (vec![0, 1], Some("/1/v1/A".to_owned())));
        assert_eq!(fill(2, 2..5), (vec![3, 4], None));
        assert_eq!(fill(0, 0..5).0, [0], "a page has a row");
        let after = |text: &str| Page::new(None, text.to_owned()).after_object();
        let expected = ObjectKey { kind: "apps/v1/A".into(), namespace: "a".into(), name: "b".into() };
        assert_eq!(after("a/b/apps/v1/A").unwrap(), Some(expected));
        assert_eq!(after("").unwrap(), None);
        assert_eq!(after("a/b").unwrap_err().error.code, "BadQuery");
    }

    #[test]
    fn large_rows_make_short_pages() {
        let row = "x".repeat(MOST_BYTES / 2);
        let page = Page::new(None, String::new());
        let (rows, next) = page.fill(0..10, |_| Some(row.clone()), |key| place("", &key.to_string(), "A"));
        assert_eq!((rows.len(), next.as_deref()), (2, Some("/1/A")));
        assert_eq!(cut(vec![row; 10]).len(), 2);
        assert_eq!(cut(vec!["x".repeat(2 * MOST_BYTES); 2]).len(), 1, "at least one");
    }
}
