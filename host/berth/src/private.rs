//! Files that are their owner's alone: tokens, and keys that sign.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;

use crate::fail::hinted;

/// A file that is longer holds something else.
const LARGEST: u64 = 64 << 10;

/// What a private file is to hold, for messages.
#[derive(Clone, Copy)]
pub(crate) struct What {
    /// Such as `token file`.
    pub(crate) kind: &'static str,
    /// What to put into it.
    pub(crate) mend: &'static str,
    /// What to do if others had a look.
    pub(crate) leaked: &'static str,
}

/// The text of a private file.
///
/// # Errors
/// If it cannot be read, others can read or change it, or it is too large.
pub(crate) fn read(file: &Path, what: What) -> anyhow::Result<String> {
    let text = Text::read(file, what)?;
    text.closed()?;
    Ok(text.text)
}

/// A file as it was read, of which it is not said yet that it is its owner's alone.
pub(crate) struct Text<'a> {
    pub(crate) text: String,
    file: &'a Path,
    what: What,
    /// Of the file that was read, so that it cannot be exchanged in between.
    mode: u32,
}

impl<'a> Text<'a> {
    /// # Errors
    /// If it cannot be read or is too large.
    pub(crate) fn read(file: &'a Path, what: What) -> anyhow::Result<Self> {
        let (name, kind) = (file.display(), what.kind);
        let unreadable = || hinted(format!("the {kind} {name} cannot be read"), "");
        let mut opened = File::open(file).with_context(unreadable)?;
        let mode = opened.metadata().with_context(unreadable)?.permissions().mode();
        let mut text = String::new();
        Read::take(&mut opened, LARGEST + 1).read_to_string(&mut text).with_context(unreadable)?;
        if text.len() as u64 > LARGEST {
            return Err(hinted(format!("{name} is too large for a {kind}"), what.mend).into());
        }
        Ok(Self { text, file, what, mode })
    }

    /// # Errors
    /// If others can read or change it.
    pub(crate) fn closed(&self) -> anyhow::Result<()> {
        if self.mode & 0o027 == 0 {
            return Ok(());
        }
        let (name, kind) = (self.file.display(), self.what.kind);
        let message = format!("the {kind} {name} is open to others (mode {:03o})", self.mode & 0o777);
        Err(hinted(message, format!("chmod 600 {name}; if others had a look, {}", self.what.leaked)).into())
    }
}

/// Makes a new file that nobody else may read.
///
/// # Errors
/// If there is a file of that name, which stays as it is, or it cannot be written.
pub(crate) fn create(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
