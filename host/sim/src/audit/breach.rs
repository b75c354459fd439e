//! What can be found: one kind for each way in which a promise of the design can be broken.

use std::fmt;

macro_rules! invariants {
    ($($(#[$doc:meta])* $variant:ident = ($number:literal, $name:literal),)*) => {
        /// A way in which something that always holds does not. The numbers are those of the list "What always holds".
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant {
            $($(#[$doc])* $variant,)*
        }

        impl Invariant {
            pub const ALL: &[Invariant] = &[$(Invariant::$variant,)*];

            /// Its number in the list of what always holds; 0 for what must hold so that the others can be checked.
            pub fn number(self) -> u8 {
                match self { $(Invariant::$variant => $number,)* }
            }

            /// A stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Invariant::$variant => $name,)* }
            }
        }
    };
}

invariants! {
    /// A plan puts more replicas into a pool than its nodes, with those on order, can hold.
    NodesOvercommitted = (1, "nodes-overcommitted"),
    /// A plan lets a pool grow beyond its maximum.
    PoolOvercommitted = (1, "pool-overcommitted"),
    /// A plan orders more nodes of an offering than are known to be in stock.
    OfferingOvercommitted = (1, "offering-overcommitted"),
    /// A plan makes a quota use more than its ceiling.
    QuotaOvercommitted = (1, "quota-overcommitted"),
    /// A plan places a component of a gang below its floor.
    GangFloor = (1, "gang-floor"),
    /// A plan places more replicas than are wanted.
    TooManyPlaced = (1, "too-many-placed"),
    /// A gang is placed, or applied, in several clusters or in part.
    GangApart = (2, "gang-apart"),
    /// A gang that cannot start goes on holding what it holds.
    GangStuck = (2, "gang-stuck"),
    /// A placement changed, and no committed plan says so.
    ChangeWithoutPlan = (3, "change-without-plan"),
    /// A plan, or a placement that it changed, has no decision record that can be read.
    RecordMissing = (3, "record-missing"),
    /// A decision record says something else than the placement that came of it.
    RecordDiffers = (3, "record-differs"),
    /// A member got a manifest that no placement asks for.
    AppliedWithoutPlan = (3, "applied-without-plan"),
    /// Two runs of the same store, clock, seed and policies went different ways.
    PlansDiffer = (4, "plans-differ"),
    /// An object that was accepted is not in the store.
    ObjectLost = (5, "object-lost"),
    /// An object is in the store with other contents than those that were accepted.
    ObjectChanged = (5, "object-changed"),
    /// An object whose deletion was accepted is in the store again.
    ObjectBack = (5, "object-back"),
    /// More replicas are started than are placed.
    StartedTwice = (5, "started-twice"),
    /// An order's id was used for two orders, or an order brought more nodes than it asked for.
    OrderedTwice = (5, "ordered-twice"),
    /// A reservation is held long after it expired.
    ReservationLeaked = (6, "reservation-leaked"),
    /// A provider carries out an order that no record knows.
    OrderLeaked = (6, "order-leaked"),
    /// A node that nothing needs is never given back.
    NodeLeaked = (6, "node-leaked"),
    /// Something of a deleted workload stays at a member that can be reached.
    ObjectLeftBehind = (6, "object-left-behind"),
    /// A workload waits, or a cluster was passed over, and nothing says why.
    ReasonMissing = (7, "reason-missing"),
    /// A reason has a code that is not in the list.
    UnknownCode = (7, "unknown-code"),
    /// One decision, or one plan, was made with two versions of a policy.
    PoliciesMixed = (8, "policies-mixed"),
    /// A decision was recorded, and no plan committed it.
    DecisionLost = (8, "decision-lost"),
    /// Plans do not follow on each other.
    PlansBroken = (0, "plans-broken"),
    /// The history lost or changed an entry that was in it.
    HistoryChanged = (0, "history-changed"),
    /// A revision of the store, or of an object, did not rise.
    RevisionFell = (0, "revision-fell"),
    /// Something in the store cannot be read.
    Unreadable = (0, "unreadable"),
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    pub invariant: Invariant,
    /// The workload, pool, order or object.
    pub about: String,
    /// What was found and what should be, with numbers.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, about, what } = self;
        write!(f, "[{} {}] {about}: {what}", invariant.number(), invariant.as_str())
    }
}

/// The breaches of one look.
#[derive(Debug, Default)]
pub(super) struct Found(pub(super) Vec<Breach>);

impl Found {
    pub(super) fn add(&mut self, invariant: Invariant, about: impl fmt::Display, what: impl Into<String>) {
        self.0.push(Breach { invariant, about: about.to_string(), what: what.into() });
    }
}
