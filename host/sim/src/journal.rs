//! The journal of a simulated world: everything that was asked of it since it was saved, written as it is asked.
//!
//! Real member clusters and providers live on when the controller dies. So does a simulated world: the world as it was saved,
//! with the journal played over it, is the world as it was when the process ended, since a world goes the same way when the
//! same is asked of it at the same times. Each line stands under a checksum; the last one may be cut short by the end of the
//! process, and then it was not asked. The first line says which saved world the journal follows.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use berth_core::ids::{ClusterName, Millis, OrderId, PoolName, WorkloadKey};
use berth_core::placement::NodeOrder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Something that was asked of the world, or that time passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Asked {
    /// Number of the saved world that this journal follows.
    Follows(u64),
    Advance(Millis),
    Apply {
        cluster: ClusterName,
        workload: WorkloadKey,
        manifest: String,
        digest: Arc<str>,
    },
    Delete {
        cluster: ClusterName,
        workload: WorkloadKey,
    },
    Order(NodeOrder),
    Cancel(OrderId),
    Remove {
        cluster: ClusterName,
        pool: PoolName,
        node: Arc<str>,
    },
}

/// Where it is written; nowhere until [`Journal::start`]. All parts of a world write to one.
#[derive(Clone, Default)]
pub(crate) struct Journal {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    sink: Option<Box<dyn Write + Send>>,
    failed: Option<io::Error>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

/// Hexadecimal digits of a line's checksum.
const SUM: usize = 16;

pub(crate) fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(SUM / 2).map(|byte| format!("{byte:02x}")).collect()
}

impl Journal {
    fn with<R>(&self, use_it: impl FnOnce(&mut Inner) -> R) -> R {
        // A panic while writing leaves a line cut short at worst, which is met when it is read.
        use_it(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on in a new place, after the saved world `number`.
    pub(crate) fn start(&self, sink: Box<dyn Write + Send>, number: u64) {
        self.with(|inner| *inner = Inner { sink: Some(sink), failed: None });
        self.write(|| Asked::Follows(number));
    }

    /// Writes what is asked, if there is somewhere to write.
    pub(crate) fn write(&self, asked: impl FnOnce() -> Asked) {
        self.with(|inner| {
            let Some(sink) = &mut inner.sink else { return };
            // Strings and numbers only: there is nothing that JSON cannot hold.
            let json = serde_json::to_string(&asked()).unwrap_or_default();
            let line = format!("{} {json}\n", sum(json.as_bytes()));
            if let Err(error) = sink.write_all(line.as_bytes()) {
                inner.failed.get_or_insert(error);
            }
        });
    }

    /// The first fault of writing since this was last asked.
    pub(crate) fn fault(&self) -> Option<io::Error> {
        self.with(|inner| inner.failed.take())
    }
}

/// Reads a journal: number of the world that it follows, and what was asked since. `None` where not even the first line was
/// written.
///
/// # Errors
/// What is wrong with which line.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(u64, Vec<Asked>)>, String> {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    // What has no end was cut short.
    if lines.last().is_some_and(|line| !line.ends_with(b"\n")) {
        lines.pop();
    }
    let line = |(number, line): (usize, &[u8])| {
        let fault = || format!("line {} of its journal is not what was written", number + 1);
        let (found, json) = line.split_at_checked(SUM + 1).ok_or_else(fault)?;
        let json = json.strip_suffix(b"\n").ok_or_else(fault)?;
        let sound = found == format!("{} ", sum(json)).as_bytes();
        sound.then(|| serde_json::from_slice::<Asked>(json).ok()).flatten().ok_or_else(fault)
    };
    let mut asked = lines.into_iter().enumerate().map(line);
    match asked.next() {
        None => Ok(None),
        Some(Ok(Asked::Follows(number))) => Ok(Some((number, asked.collect::<Result<_, _>>()?))),
        Some(Ok(_)) => Err("its journal does not say what it follows".to_owned()),
        Some(Err(fault)) => Err(fault),
    }
}
