//! The journal of calls: every call of a running controller on disk, off the path of its decisions.
//!
//! A folder of files, each of which can be read by itself. A thread writes them; the planner hands over calls and never waits
//! for it, but for a simulation, in which nothing may depend on how fast a thread is.
//!
//! Holds: the folder never has more bytes than it may, and no file that is older than it may be, by the clock of the calls.
//! What a crash tears off is at most what was handed over last; what is damaged is told and skipped, never read as another call.

mod codec;
mod frame;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use codec::answer_bytes;
pub use reader::{Fault, Faults, Reader, Recorded};

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;

use crate::call::{Call, Listener, Question};
use writer::Writer;

/// Kinds of frames.
const TABLES: u8 = 1;
const WHO: u8 = 2;
const CALL: u8 = 3;
/// The answer of the call before it broke a rule.
const BROKE: u8 = 4;

/// Bytes of calls that may wait for the thread that writes.
const QUEUED: usize = 64 << 20;

/// Where calls are kept, and how many.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    pub dir: PathBuf,
    /// Bytes of all files.
    pub bytes: u64,
    /// Milliseconds for which a call is kept, by the clock of the calls.
    pub age_ms: u64,
    /// Wait for the thread that writes rather than leave a call out: for simulations as fast as they can be.
    pub waits: bool,
}

/// What a journal has done since it was opened.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalStatus {
    pub written: u64,
    /// Calls that were left out because too many waited.
    pub dropped: u64,
    /// Calls that could not be written.
    pub lost: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Why the last call that is lost could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Something for the thread that writes.
enum Item {
    Call(Arc<Call>),
    Broke(u64, String),
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Of the calls that wait.
    bytes: usize,
    status: JournalStatus,
    /// Nothing more comes.
    closed: bool,
    /// Nobody writes any more.
    ended: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    news: Condvar,
    room: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps calls until it is dropped; then what waits is written first.
pub struct Journal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    waits: bool,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens a folder, which is made if it is not there, for its owner alone. What it holds is kept within its bounds.
    ///
    /// # Errors
    /// If the folder cannot be made or listed, or no thread can be started.
    pub fn open(settings: JournalSettings) -> io::Result<Self> {
        let waits = settings.waits;
        let shared = Arc::new(Shared::default());
        let mut writer = Writer::open(settings)?;
        shared.lock().status.bytes = writer.bytes();
        let thread = std::thread::Builder::new().name("journal".into()).spawn({
            let shared = shared.clone();
            move || {
                let _ended = Ended(&shared);
                write(&shared, &mut writer);
            }
        })?;
        Ok(Self { shared, thread: Some(thread), waits })
    }

    /// Hears calls for this journal.
    pub fn listener(&self) -> impl Listener + 'static {
        Ear { shared: self.shared.clone(), waits: self.waits }
    }

    pub fn status(&self) -> JournalStatus {
        self.shared.lock().status.clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.news.notify_all();
        // A thread that panicked has said so itself.
        self.thread.take().map(JoinHandle::join);
    }
}

/// Says that nobody writes any more, however that came about.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.room.notify_all();
    }
}

/// The thread that writes: everything that waits, then it is with the operating system.
fn write(shared: &Shared, writer: &mut Writer) {
    let mut last_failed = false;
    loop {
        let mut queue = shared.lock();
        while queue.items.is_empty() && !queue.closed {
            queue = shared.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.items.is_empty() {
            return;
        }
        let items = std::mem::take(&mut queue.items);
        drop(queue);
        for item in items {
            let size = match &item {
                Item::Call(call) => size(call),
                Item::Broke(..) => 0,
            };
            let written = writer.write(&item);
            let mut queue = shared.lock();
            queue.bytes -= size.min(queue.bytes);
            queue.status.bytes = writer.bytes();
            match (written, item) {
                (Ok(()), Item::Call(_)) => queue.status.written += 1,
                (Ok(()), Item::Broke(..)) => {}
                (Err(error), _) => {
                    queue.status.lost += 1;
                    queue.status.error = Some(error.to_string());
                    if !std::mem::replace(&mut last_failed, true) {
                        tracing::warn!(%error, "calls of policies cannot be recorded");
                    }
                    continue;
                }
            }
            shared.room.notify_all();
            last_failed = false;
        }
        if let Err(error) = writer.flush() {
            shared.lock().status.error = Some(error.to_string());
        }
        shared.room.notify_all();
    }
}

struct Ear {
    shared: Arc<Shared>,
    waits: bool,
}

impl Listener for Ear {
    fn called(&mut self, call: &Arc<Call>) {
        let size = size(call);
        let mut queue = self.shared.lock();
        while self.waits && queue.bytes > 0 && queue.bytes + size > QUEUED && !queue.ended {
            queue = self.shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.ended || (queue.bytes > 0 && queue.bytes + size > QUEUED) {
            queue.status.dropped += 1;
            return;
        }
        queue.bytes += size;
        queue.items.push_back(Item::Call(call.clone()));
        drop(queue);
        self.shared.news.notify_one();
    }

    fn broke_rule(&mut self, number: u64, rule: &str) {
        let mut queue = self.shared.lock();
        if !queue.ended {
            queue.items.push_back(Item::Broke(number, rule.to_owned()));
            drop(queue);
            self.shared.news.notify_one();
        }
    }
}

/// About how many bytes a call has in memory.
fn size(call: &Call) -> usize {
    size_of::<Call>()
        + match &call.question {
            Question::Placement { candidates, .. } => {
                let by_component = candidates.ready.len() + candidates.elastic.len() + candidates.current.len();
                let extra: usize = candidates.extra.iter().map(|column| column.values.len()).sum();
                400 + 40 * candidates.len() + 4 * by_component + 32 * candidates.offers.candidate.len() + 8 * extra
            }
            Question::Gang(queue) => 250 * queue.jobs.len() + 16 * queue.fits.len() + 150 * queue.running.len(),
            Question::Migration(state) => 100 * state.workloads.len() + 60 * state.placed.workload.len(),
        }
}

/// A file of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    path: PathBuf,
    /// Counts up.
    number: u64,
    /// The clock of its first call.
    first_ms: u64,
    bytes: u64,
}

impl Segment {
    fn new(dir: &Path, number: u64, first_ms: u64) -> Self {
        Self { path: dir.join(format!("{number:010}-{first_ms}.calls")), number, first_ms, bytes: 0 }
    }
}

/// The files of a folder, oldest first; what is no file of calls is left alone.
fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let parts = name.to_str().and_then(|name| name.strip_suffix(".calls")?.split_once('-'));
        let numbers = parts.and_then(|(number, first)| Some((number.parse().ok()?, first.parse().ok()?)));
        if let (Some((number, first_ms)), Ok(data)) = (numbers, entry.metadata()) {
            segments.push(Segment { path: entry.path(), number, first_ms, bytes: data.len() });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}
