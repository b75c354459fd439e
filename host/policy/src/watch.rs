//! Hot reload: a thread that scans the policy directory when something stirs in it, and now and then in any case.
//!
//! The folder is watched, not its files, since editors rename and a ConfigMap swaps a link. What an event says does not
//! matter: any event, and any error of the watcher, means "look again".

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{EventKind, RecursiveMode, Watcher};

use crate::directory::{Directory, Scan};

/// Quiet time after something stirred: whoever writes a file may not be done yet. Half a component would be refused, but
/// half of `policies.toml` may be a valid other one.
const STIRRED: Duration = Duration::from_millis(200);
/// Quiet time after a file was closed or got its name: it is whole, and others may follow.
const WHOLE: Duration = Duration::from_millis(20);
/// Time until a second look where files are missing, whatever stirs meanwhile: what is being replaced is to come back.
const MISSING: Duration = Duration::from_millis(300);
/// The longest that a restless folder, or a file that is written and not closed, puts a scan off.
const PATIENCE: Duration = Duration::from_secs(2);
const PERIOD: Duration = Duration::from_secs(30);

enum Signal {
    /// `None` where the watcher does not know what happened.
    Stirred(Option<notify::Event>),
    Stop,
}

/// Watches while it lives.
#[derive(Debug)]
pub struct Watch {
    stop: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts watching; `report` is called on the watching thread after every scan that changed something.
    ///
    /// A folder that cannot be watched is scanned by period alone.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(directory: Directory, report: impl FnMut(&Scan) + Send + 'static) -> std::io::Result<Self> {
        let (stop, signals) = channel();
        let look = stop.clone();
        let run = move || run(directory, &look, &signals, report);
        let thread = std::thread::Builder::new().name("policy-watch".into()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread is gone already if this fails.
        let _ = self.stop.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The watcher, and whether it is the one for the folder that is there now.
#[derive(Debug)]
struct Eye {
    path: PathBuf,
    signals: Sender<Signal>,
    /// Kept for its life alone.
    watcher: Option<notify::RecommendedWatcher>,
    told: bool,
}

impl Eye {
    /// Watches whatever folder is at the path now.
    fn open(&mut self) {
        let signals = self.signals.clone();
        // A send fails only when the watching thread has ended.
        let event = move |event: notify::Result<notify::Event>| drop(signals.send(Signal::Stirred(event.ok())));
        let started = notify::recommended_watcher(event).and_then(|mut watcher| {
            watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        self.watcher = match started {
            Ok(watcher) => {
                self.told = false;
                Some(watcher)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "policy directory cannot be watched, it is looked at now and then");
                }
                None
            }
        };
    }
}

/// What is known of the folder since it was last looked at.
#[derive(Debug, Default)]
struct Stir {
    /// Files that are written and not closed.
    open: BTreeSet<PathBuf>,
    /// Something happened to the folder itself: it may be another one now.
    folder: bool,
}

impl Stir {
    /// The quiet to wait for after an event; `None` where it changed nothing.
    fn after(&mut self, folder: &Path, event: Option<notify::Event>) -> Option<Duration> {
        let Some(event) = event else { return Some(STIRRED) };
        let quiet = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                event.paths.iter().for_each(|path| _ = self.open.remove(path));
                WHOLE
            }
            EventKind::Access(_) => return None,
            EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => WHOLE,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                event.paths.iter().for_each(|path| _ = self.open.remove(path));
                STIRRED
            }
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => {
                let file = |path: &&PathBuf| path.symlink_metadata().is_ok_and(|found| found.is_file());
                self.open.extend(event.paths.iter().filter(file).cloned());
                STIRRED
            }
            _ => STIRRED,
        };
        self.folder |= event.paths.iter().any(|path| path == folder);
        Some(if self.open.is_empty() { quiet } else { PATIENCE })
    }
}

fn run(
    mut directory: Directory,
    look: &Sender<Signal>,
    signals: &Receiver<Signal>,
    mut report: impl FnMut(&Scan) + Send,
) {
    let mut eye = Eye { path: directory.path().to_owned(), signals: look.clone(), watcher: None, told: false };
    eye.open();
    let mut wait = STIRRED;
    loop {
        match signals.recv_timeout(wait) {
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Signal::Stirred(event)) => match quiet(&eye.path, event, signals) {
                Quiet::Stop => return,
                Quiet::Nothing => continue,
                // Before the scan, so that nothing falls between.
                Quiet::Folder => eye.open(),
                Quiet::Files => {}
            },
            Err(RecvTimeoutError::Timeout) => eye.open(),
        }
        let scan = directory.scan();
        if scan.news() {
            report(&scan);
        }
        wait = PERIOD;
        if scan.again {
            std::thread::sleep(MISSING);
            wait = Duration::ZERO;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quiet {
    /// Nothing changed.
    Nothing,
    Files,
    /// The folder itself may be another one.
    Folder,
    Stop,
}

/// Waits until nothing more comes, or patience ends. What came last says how long to wait.
fn quiet(folder: &Path, first: Option<notify::Event>, signals: &Receiver<Signal>) -> Quiet {
    let mut stir = Stir::default();
    let Some(mut after) = stir.after(folder, first) else { return Quiet::Nothing };
    let started = Instant::now();
    loop {
        let left = PATIENCE.saturating_sub(started.elapsed());
        match signals.recv_timeout(after.min(left)) {
            Ok(Signal::Stirred(event)) if !left.is_zero() => after = stir.after(folder, event).unwrap_or(after),
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Quiet::Stop,
            Ok(Signal::Stirred(event)) => {
                // Patience is over, and this one is looked at with the others.
                stir.after(folder, event);
                return if stir.folder { Quiet::Folder } else { Quiet::Files };
            }
            Err(RecvTimeoutError::Timeout) => return if stir.folder { Quiet::Folder } else { Quiet::Files },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use notify::event::{CreateKind, DataChange};

    use super::*;

    fn event(kind: EventKind, path: &Path) -> Signal {
        Signal::Stirred(Some(notify::Event::new(kind).add_path(path.to_owned())))
    }

    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    fn first(signals: &Receiver<Signal>) -> Option<notify::Event> {
        match signals.recv().unwrap() {
            Signal::Stirred(event) => event,
            Signal::Stop => None,
        }
    }

    #[test]
    fn a_file_that_is_written_is_waited_for_until_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policies.toml");
        std::fs::write(&file, "").unwrap();
        let (send, signals) = channel();
        let writer = std::thread::spawn(move || {
            for kind in [CREATED, WRITTEN, WRITTEN, CLOSED] {
                send.send(event(kind, &file)).unwrap();
                std::thread::sleep(STIRRED + STIRRED / 4);
            }
            send
        });
        let started = Instant::now();
        assert_eq!(quiet(folder.path(), first(&signals), &signals), Quiet::Files);
        assert!(started.elapsed() >= STIRRED * 3, "it waited for the writer, who paused for longer than quiet takes");
        drop(writer.join().unwrap());
    }

    #[test]
    fn a_restless_folder_and_a_file_that_is_never_closed_are_looked_at_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.wasm");
        std::fs::write(&file, "").unwrap();
        let (send, signals) = channel();
        let started = Instant::now();
        send.send(event(WRITTEN, &file)).unwrap();
        assert_eq!(quiet(folder.path(), first(&signals), &signals), Quiet::Files);
        assert!((PATIENCE..PATIENCE * 2).contains(&started.elapsed()));
        for _ in 0..3 {
            send.send(event(EventKind::Modify(ModifyKind::Name(RenameMode::To)), &file)).unwrap();
        }
        assert_eq!(quiet(folder.path(), None, &signals), Quiet::Files);
        assert_eq!(
            quiet(folder.path(), Some(notify::Event::new(EventKind::Access(AccessKind::Any))), &signals),
            Quiet::Nothing
        );
        drop(send);
        assert_eq!(quiet(folder.path(), None, &signals), Quiet::Stop, "nobody is left to tell");
    }

    #[test]
    fn what_happens_to_the_folder_itself_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (_send, signals) = channel();
        let gone = notify::Event::new(EventKind::Remove(notify::event::RemoveKind::Folder));
        assert_eq!(quiet(folder.path(), Some(gone.add_path(folder.path().to_owned())), &signals), Quiet::Folder);
    }
}
