//! Hot reload: a thread that scans the policy directory when something stirs in it, and now and then in any case.
//!
//! The folder is watched, not its files, since editors rename and a ConfigMap swaps a link. What an event says does not
//! matter: any event, and any error of the watcher, means "look again".

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher};

use crate::directory::{Directory, Scan};

/// Quiet time after an event before the scan: an editor's writes come in bursts.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// The longest that a restless folder puts a scan off.
const PATIENCE: Duration = Duration::from_secs(2);
const PERIOD: Duration = Duration::from_secs(30);

enum Signal {
    Look,
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
        if event.is_err() || event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = look.send(Signal::Look);
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

fn run(
    mut directory: Directory,
    look: &Sender<Signal>,
    signals: &Receiver<Signal>,
    mut report: impl FnMut(&Scan) + Send,
) {
    // Kept for its life alone.
    let mut _watching = watcher(directory.path(), look.clone());
    let mut wait = DEBOUNCE;
    loop {
        match signals.recv_timeout(wait) {
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Signal::Look) => {
                if !quiet(signals) {
                    return;
                }
            }
            // A folder that was deleted and made again needs a new watch; before the scan, so that nothing falls between.
            Err(RecvTimeoutError::Timeout) => _watching = watcher(directory.path(), look.clone()),
        }
        let scan = directory.scan();
        wait = if scan.again { DEBOUNCE } else { PERIOD };
        if scan.news() {
            report(&scan);
        }
    }
}

/// Waits until nothing more comes, or patience ends; `false` to stop.
fn quiet(signals: &Receiver<Signal>) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match signals.recv_timeout(DEBOUNCE) {
            Ok(Signal::Look) => {}
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => return true,
        }
    }
    true
}
