//! Hot reload: a thread that scans the policy directory when something stirs in it, and now and then in any case.
//!
//! The folder is watched, not its files, since editors rename and a ConfigMap swaps a link. What an event says does not
//! matter: any event, and any error of the watcher, means "look again".

use std::path::Path;
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
/// Time until a second look where files are missing.
const MISSING: Duration = Duration::from_millis(300);
/// The longest that a restless folder puts a scan off.
const PATIENCE: Duration = Duration::from_secs(2);
const PERIOD: Duration = Duration::from_secs(30);

enum Signal {
    /// Look again after so much quiet.
    Look(Duration),
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

fn watcher(path: &Path, look: Sender<Signal>) -> Option<notify::RecommendedWatcher> {
    // A send fails only when the watching thread has ended.
    let event = move |event: notify::Result<notify::Event>| {
        if let Some(quiet) = event.map_or(Some(STIRRED), |event| quiet_after(event.kind)) {
            let _ = look.send(Signal::Look(quiet));
        }
    };
    let started = notify::recommended_watcher(event).and_then(|mut watcher| {
        watcher.watch(path, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match started {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "policy directory is scanned every 30 s, it cannot be watched");
            None
        }
    }
}

/// The quiet to wait for after an event; `None` where it changed nothing.
fn quiet_after(event: EventKind) -> Option<Duration> {
    match event {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(WHOLE),
        EventKind::Access(_) => None,
        EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => Some(WHOLE),
        _ => Some(STIRRED),
    }
}

fn run(
    mut directory: Directory,
    look: &Sender<Signal>,
    signals: &Receiver<Signal>,
    mut report: impl FnMut(&Scan) + Send,
) {
    // Kept for its life alone.
    let mut _watching = watcher(directory.path(), look.clone());
    let mut wait = STIRRED;
    loop {
        match signals.recv_timeout(wait) {
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Signal::Look(after)) => {
                if !quiet(after, signals) {
                    return;
                }
            }
            // A folder that was deleted and made again needs a new watch; before the scan, so that nothing falls between.
            Err(RecvTimeoutError::Timeout) => _watching = watcher(directory.path(), look.clone()),
        }
        let scan = directory.scan();
        wait = if scan.again { MISSING } else { PERIOD };
        if scan.news() {
            report(&scan);
        }
    }
}

/// Waits until nothing more comes, or patience ends; `false` to stop. What came last says how long to wait.
fn quiet(mut after: Duration, signals: &Receiver<Signal>) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match signals.recv_timeout(after) {
            Ok(Signal::Look(next)) => after = next,
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_file_that_is_still_written_is_waited_for() {
        let (send, signals) = channel();
        let writer = std::thread::spawn(move || {
            for after in [STIRRED, STIRRED, WHOLE] {
                send.send(Signal::Look(after)).unwrap();
                std::thread::sleep(STIRRED / 4);
            }
            (send, Instant::now())
        });
        let started = Instant::now();
        assert!(quiet(STIRRED, &signals));
        let ended = Instant::now();
        let _writer = writer.join().unwrap();
        assert!(ended - started >= STIRRED / 2 + WHOLE, "it waited for the writer to be done");
    }

    #[test]
    fn a_restless_folder_is_looked_at_all_the_same() {
        let (send, signals) = channel();
        for _ in 0..3 {
            send.send(Signal::Look(WHOLE)).unwrap();
        }
        assert!(quiet(STIRRED, &signals));
        drop(send);
        assert!(!quiet(WHOLE, &signals), "nobody is left to tell");
    }
}
