//! What a run is made of: a list of things that people do and that go wrong, each at its time. Each stands for itself, so
//! that any of them can be left out, and the rest still makes sense.

use std::fmt;

use berth_api::Object;
use berth_control::ports::ObjectKey;
use berth_core::fleet::OfferingKey;
use berth_core::ids::{ClusterName, WorkloadKey};

use crate::faults::{Chances, Effect};

/// One thing at one time.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Milliseconds of the world's time since the beginning.
    pub(crate) at: u64,
    pub(crate) act: Act,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Apply(Vec<Object>),
    /// Must be refused as a whole.
    Garbage {
        why: &'static str,
        objects: Vec<Object>,
    },
    Scale(WorkloadKey, u32),
    Delete(ObjectKey),
    /// Something happens in the world.
    World(Effect),
    /// Orders and requests go wrong from now on, with these chances.
    Chances(Chances),
    /// The controller's clock is set so many milliseconds forward or back.
    Clock(i64),
    /// The process dies after so many actions of its next step.
    Crash(usize),
    /// Another writer comes first, in so many of the commits to come.
    Rival {
        times: u32,
        same: bool,
    },
    /// After so many commits more, one cannot be written.
    Unwritable(u32),
    /// Native policies answer so from now on, in so many of a hundred calls. `None`: well.
    Policy(Option<Mischief>, u64),
    /// Policies are loaded anew in the middle of cycles, every so many calls, from now on. 0: not any more.
    Reload(u64),
    /// What stands beside a policy from now on, as its table in `policies.toml` has it. `None`: nothing any more.
    Beside {
        slot: &'static str,
        /// `shadow` or `canary`.
        role: &'static str,
        version: Option<String>,
    },
}

/// What a policy answers instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// More than there is room for.
    OverRoom,
    /// Rows that there are not.
    UnknownRows,
    /// The same row twice.
    Twice,
    /// More replicas than were asked for, or fewer than the floor.
    WrongSizes,
    /// As much as fits, at random: another answer each time.
    Fickle,
    /// That there is no room, or no candidate.
    Refuses,
    /// It fails, and the built-in one decides.
    Fails,
    /// Any of these.
    Any,
}

impl Mischief {
    pub(crate) const ALL: [Mischief; 8] = [
        Self::OverRoom,
        Self::UnknownRows,
        Self::Twice,
        Self::WrongSizes,
        Self::Fickle,
        Self::Refuses,
        Self::Fails,
        Self::Any,
    ];
}

/// Minutes, seconds and milliseconds.
pub(crate) fn span(millis: u64) -> String {
    let (hours, minutes, seconds) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", millis % 1000)
}

impl Act {
    /// Who does it.
    pub(crate) fn who(&self) -> &'static str {
        match self {
            Act::Apply(_) | Act::Garbage { .. } | Act::Scale(..) | Act::Delete(_) => "user",
            Act::World(_) | Act::Chances(_) => "world",
            Act::Clock(_) => "clock",
            Act::Crash(_) => "process",
            Act::Rival { .. } | Act::Unwritable(_) => "store",
            Act::Policy(..) | Act::Reload(_) | Act::Beside { .. } => "policies",
        }
    }
}

fn offering(key: &OfferingKey) -> String {
    format!("{} {} in {}", key.instance_type, key.capacity_type.as_str(), key.zone)
}

fn names(objects: &[Object]) -> String {
    objects.iter().map(|object| ObjectKey::from(&object.key()).to_string()).collect::<Vec<_>>().join(", ")
}

/// What of an object matters for reading a history.
fn detail(object: &Object) -> String {
    let value = object.to_value();
    let text = value.get("spec").or_else(|| value.get("data")).map(ToString::to_string).unwrap_or_default();
    const MOST: usize = 600;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Apply(objects) => {
                write!(f, "applies {}", names(objects))?;
                objects.iter().try_for_each(|object| write!(f, "\n{:26}{} {}", "", object.name(), detail(object)))
            }
            Act::Garbage { why, objects } => write!(f, "applies {}, which is wrong: {why}", names(objects)),
            Act::Scale(workload, replicas) => write!(f, "scales {workload} to {replicas}"),
            Act::Delete(key) => write!(f, "deletes {key}"),
            Act::World(effect) => write!(f, "{}", effect_text(effect)),
            Act::Chances(chances) if *chances == Chances::default() => write!(f, "orders and requests go well again"),
            Act::Chances(chances) => write!(f, "orders and requests go wrong: {}", chances_text(chances)),
            Act::Clock(millis) if *millis < 0 => write!(f, "goes back by {}", span(millis.unsigned_abs())),
            Act::Clock(millis) => write!(f, "goes forward by {}", span(millis.unsigned_abs())),
            Act::Crash(actions) => write!(f, "dies after {actions} actions of its next step"),
            Act::Rival { times, same } => {
                let what = if *same { "of what is to be written" } else { "of anything" };
                write!(f, "another writer comes first, {times} times, with a new revision {what}")
            }
            Act::Unwritable(after) => write!(f, "cannot be written after {after} more commits"),
            Act::Policy(None, _) => write!(f, "behave again"),
            Act::Policy(Some(mischief), per_cent) => write!(f, "misbehave in {per_cent} % of calls: {mischief:?}"),
            Act::Beside { slot, role, version: None } => write!(f, "{slot} has no {role} any more"),
            Act::Beside { slot, role, version: Some(version) } => {
                write!(f, "{slot} has a {role}: {}", version.trim_end().replace('\n', ", "))
            }
            Act::Reload(0) => write!(f, "stay what they are"),
            Act::Reload(calls) => write!(f, "are reloaded every {calls} calls, within cycles"),
        }
    }
}

fn chances_text(chances: &Chances) -> String {
    let all = [
        ("lost", chances.order_lost),
        ("silent", chances.order_silent),
        ("late", chances.order_late),
        ("twice", chances.order_twice),
        ("partial", chances.order_partial),
        ("refused", chances.order_refused),
        ("other requests lost", chances.request_lost),
    ];
    let some = all.iter().filter(|(_, chance)| *chance > 0.0);
    some.map(|(what, chance)| format!("{what} {:.0} %", chance * 100.0)).collect::<Vec<_>>().join(", ")
}

fn effect_text(effect: &Effect) -> String {
    let cluster_text = |name: &ClusterName, what: &str| format!("cluster {name} {what}");
    match effect {
        Effect::Reachable(name, true) => cluster_text(name, "answers again"),
        Effect::Reachable(name, false) => cluster_text(name, "does not answer"),
        Effect::LoseNodes { cluster, pool, nodes } => {
            let pool = pool.as_ref().map(|pool| format!(" of pool {pool}")).unwrap_or_default();
            format!("cluster {cluster} loses {nodes} nodes{pool}")
        }
        Effect::LoseNode(name, node) => format!("cluster {name} loses node {node}"),
        Effect::Capacity(key, nodes) => format!("{nodes} nodes can be had of {}", offering(key)),
        Effect::Empty(key, true) => format!("out of stock: {}", offering(key)),
        Effect::Empty(key, false) => format!("in stock again: {}", offering(key)),
        Effect::Failing(key, true) => format!("orders fail, whatever the stock: {}", offering(key)),
        Effect::Failing(key, false) => format!("orders succeed again: {}", offering(key)),
        Effect::Slow(name, true) => cluster_text(name, "starts nodes and pods slowly"),
        Effect::Slow(name, false) => cluster_text(name, "starts nodes and pods as fast as before"),
        Effect::Remember(name) => cluster_text(name, "is copied, for later"),
        Effect::Restore(name) => cluster_text(name, "is restored from the copy"),
        Effect::Stale(name, true) => cluster_text(name, "shows what was, from the copy if there is one"),
        Effect::Stale(name, false) => cluster_text(name, "shows what is"),
        Effect::Tamper(name, number) => cluster_text(name, &format!("has its workload {number} deleted by hand")),
        Effect::Chances(_) | Effect::Hour(_) => String::new(),
    }
}
