//! The newest revision that was acknowledged, in a small file beside the store.
//!
//! Checksums say that a page is one that was written, and each page of the store carries those of the pages below it, so that
//! a page of an earlier time does not fit its parent. What they cannot say is that the whole file, or the slot from which the
//! tree starts, is the newest: an older copy is sound, too. So the number of the newest batch is noted here once that batch
//! is on disk, and a store that ends before it is refused. The note is not synced: after a loss of power it may lag behind,
//! never run ahead.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::seal::{seal, unseal};
use crate::ports::Revision;

const NAME: &[u8] = b"head";

#[derive(Debug)]
pub(super) struct Witness {
    file: File,
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing yet, or it was removed by hand.
    Nothing,
    Newest(Revision),
    /// It is not what was written.
    Damaged,
}

impl Witness {
    pub(super) fn open(path: &Path) -> io::Result<(Self, Seen)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(64).read_to_end(&mut bytes)?;
        let seen = match unseal(NAME, &bytes).map(<[u8; 8]>::try_from) {
            _ if bytes.is_empty() => Seen::Nothing,
            Some(Ok(number)) => Seen::Newest(Revision(u64::from_be_bytes(number))),
            _ => Seen::Damaged,
        };
        Ok((Self { file }, seen))
    }

    /// To be called once the batch of this revision is on disk, and before it is acknowledged.
    pub(super) fn note(&self, revision: Revision) -> io::Result<()> {
        self.file.write_all_at(&seal(NAME, &revision.0.to_be_bytes()), 0)
    }
}
