//! Writes calls into files, and keeps the folder within its bounds.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::sync::Arc;

use berth_core::policy::Tables;

use super::codec::{self, Who};
use super::frame::frame;
use super::{BROKE, CALL, Item, JournalSettings, Segment, TABLES, WHO, segments};
use crate::call::Call;

/// A file has at most this share of the bytes and of the age of all.
const SHARE: u64 = 16;
const MOST: u64 = 64 << 20;

pub(super) struct Writer {
    settings: JournalSettings,
    /// Files that are written, oldest first.
    old: Vec<Segment>,
    now: Option<Open>,
    next: u64,
    /// The call that was written last.
    last: Option<u64>,
}

/// The file that is being written.
struct Open {
    segment: Segment,
    file: BufWriter<File>,
    tables: Vec<Arc<Tables>>,
    who: Vec<Who>,
}

impl Writer {
    pub(super) fn open(settings: JournalSettings) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&settings.dir)?;
        let old = segments(&settings.dir)?;
        let next = old.last().map_or(0, |last| last.number) + 1;
        let mut writer = Self { settings, old, now: None, next, last: None };
        writer.make_room(0)?;
        Ok(writer)
    }

    /// Of all files.
    pub(super) fn bytes(&self) -> u64 {
        let old: u64 = self.old.iter().map(|segment| segment.bytes).sum();
        old + self.now.as_ref().map_or(0, |open| open.segment.bytes)
    }

    pub(super) fn write(&mut self, item: &Item) -> io::Result<()> {
        match item {
            Item::Call(call) => {
                self.last = None;
                self.call(call).inspect_err(|_| self.close())?;
                self.last = Some(call.number);
                Ok(())
            }
            // It stands right behind its call, or nowhere.
            Item::Broke(number, rule) if self.last == Some(*number) => {
                self.put(BROKE, &codec::encode_broken(*number, rule)).inspect_err(|_| self.close())
            }
            Item::Broke(..) => Ok(()),
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.now {
            Some(open) => open.file.flush().inspect_err(|_| self.close()),
            None => Ok(()),
        }
    }

    fn call(&mut self, call: &Call) -> io::Result<()> {
        let Self { settings, now, .. } = &*self;
        let most = (settings.bytes / SHARE).min(MOST);
        let full = |open: &Open| {
            let age = call.at_ms.saturating_sub(open.segment.first_ms);
            open.segment.bytes >= most || age > settings.age_ms / SHARE || call.at_ms < open.segment.first_ms
        };
        if now.as_ref().is_some_and(full) {
            self.flush()?;
            self.close();
        }
        if self.now.is_none() {
            self.begin(call.at_ms)?;
        }
        let (who, new_who) = self.who(call);
        let (tables, new_tables) = self.tables(&call.tables);
        let frames = [new_who, new_tables, Some((CALL, codec::encode_call(call, who, tables)))];
        frames.into_iter().flatten().try_for_each(|(kind, content)| self.put(kind, &content))
    }

    /// The row of who was asked, and a frame where it is new.
    fn who(&mut self, call: &Call) -> (u64, Option<(u8, Vec<u8>)>) {
        let Some(open) = &mut self.now else { return (0, None) };
        if let Some(row) = open.who.iter().position(|who| who.is_of(call)) {
            return (row as u64, None);
        }
        let who = Who::of(call);
        let row = open.who.len() as u64;
        let content = codec::encode_who(row, &who);
        open.who.push(who);
        (row, Some((WHO, content)))
    }

    fn tables(&mut self, tables: &Arc<Tables>) -> (u64, Option<(u8, Vec<u8>)>) {
        let Some(open) = &mut self.now else { return (0, None) };
        let known = |same: &dyn Fn(&Arc<Tables>) -> bool| open.tables.iter().rposition(same);
        let row = known(&|one| Arc::ptr_eq(one, tables)).or_else(|| known(&|one| one == tables));
        if let Some(row) = row {
            return (row as u64, None);
        }
        let row = open.tables.len() as u64;
        open.tables.push(tables.clone());
        (row, Some((TABLES, codec::encode_tables(row, tables))))
    }

    fn put(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let bytes = frame(kind, content);
        self.make_room(bytes.len() as u64)?;
        if let Some(open) = &mut self.now {
            open.file.write_all(&bytes)?;
            open.segment.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn begin(&mut self, now_ms: u64) -> io::Result<()> {
        let segment = Segment::new(&self.settings.dir, self.next, now_ms);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&segment.path)?;
        self.next += 1;
        self.now = Some(Open { segment, file: BufWriter::new(file), tables: Vec::new(), who: Vec::new() });
        // What a file holds ends with its share of the age.
        let JournalSettings { age_ms, .. } = self.settings;
        let gone = |old: &&Segment| now_ms.saturating_sub(old.first_ms.saturating_add(age_ms / SHARE)) > age_ms;
        let gone = self.old.iter().take_while(gone).count();
        self.remove(gone)
    }

    fn close(&mut self) {
        if let Some(open) = self.now.take() {
            self.old.push(open.segment);
        }
    }

    /// Removes the oldest files until so many more bytes fit.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        while self.bytes() + bytes > self.settings.bytes {
            if self.old.is_empty() {
                return if bytes == 0 {
                    Ok(())
                } else {
                    Err(io::Error::other("the bound on the size of all records is too small for a single call"))
                };
            }
            self.remove(1)?;
        }
        Ok(())
    }

    fn remove(&mut self, count: usize) -> io::Result<()> {
        for segment in self.old.drain(..count.min(self.old.len())) {
            match std::fs::remove_file(&segment.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
