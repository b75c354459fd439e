//! Policies as WebAssembly components: loaded, checked, limited, called, swapped.
//!
//! The only crate that knows wasmtime. From outside it looks like [`berth_core::policy::Policies`]: questions in the host's
//! own types, answers in the same, and never a failure. The way of a policy through this crate:
//!
//! ```text
//! watch -> directory -> trust -> load (compile, check, describe, configure, probe) -> set -> host (sessions, breaker) -> version -> v0_1
//! ```

mod bench;
mod beside;
mod bind;
mod bounds;
mod call;
mod case;
mod compare;
mod config;
mod directory;
mod engine;
mod expect;
mod host;
mod journal;
mod live;
mod load;
mod nearest;
mod probe;
mod property;
mod replay;
mod session;
mod set;
mod slots;
mod stats;
mod trust;
mod v0_1;
mod version;
mod watch;

pub use bench::{Cost, KindsDiffer, Size, bench};
pub use beside::{Difference, Figures, Side, WentBack};
pub use bind::{Labels, Rule};
pub use call::{Answered, Call, Listener, Output, Question};
pub use case::{Case, CaseError, CaseOutcome, Inspection, Trial, inspect, run_case};
pub use compare::{Compared, Measure, compare, measure};
pub use config::{CONFIG_FILE, Config, ConfigError, LimitsConfig, Place};
pub use directory::{Directory, Scan};
pub use engine::{Limits, Runtime, RuntimeError, WallClock};
pub use expect::{CaseFile, Expect, Step};
pub use host::PolicyHost;
pub use journal::{Fault, Faults, Journal, JournalSettings, JournalStatus, Reader as Records, Recorded};
pub use load::{Description, LoadError, Loaded};
pub use replay::{Replay, Replayed, Seat, Totals};
pub use set::{Bindings, PolicySet, Refusal};
pub use slots::{Besides, Canary, Guard};
pub use stats::{Failure, PolicyState, PolicyStatus};
pub use trust::{KeyError, KeyId, Keys, PrivateKey, Signature, Trust, Untrusted, signature_file};
pub use watch::Watch;
