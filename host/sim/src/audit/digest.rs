//! Promise 4: the same store, clock, seed and policies give the same plans. A running digest of all plans and decisions that
//! were seen, to compare with that of another run.

use std::fmt::Write;

use berth_control::ports::{HistoryEntry, Stored};
use sha2::{Digest, Sha256};

#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    hash: Sha256,
}

impl Running {
    fn field(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    /// Takes in what was written, in order.
    pub(super) fn read(&mut self, stored: &[Stored], history: &[HistoryEntry]) {
        for one in stored {
            self.field(&one.revision.0.to_le_bytes());
            for part in [&one.key.kind, &one.key.namespace, &one.key.name] {
                self.field(part.as_bytes());
            }
            self.field(one.value.as_deref().unwrap_or_default());
        }
        for entry in history {
            self.field(&entry.at.0.to_le_bytes());
            self.field(&entry.value);
        }
    }

    pub(super) fn hex(&self) -> String {
        let mut text = String::new();
        for byte in self.hash.clone().finalize() {
            // Writing to a string does not fail.
            _ = write!(text, "{byte:02x}");
        }
        text
    }
}
