//! The published versions of the policy interface, each behind one adapter.
//!
//! A new version is one more module that implements [`Prepared`] and [`Session`], and one more line in [`KNOWN`]; nothing
//! else in the host knows which version a policy speaks. `wit/README.md` says how a version comes to be.
//!
//! Holds: every version that was ever published stays in [`KNOWN`]. A version is found by its whole name: one that was never
//! published, `0.1.1` as well as `0.2.0`, is refused, since nobody can say what it means.

use berth_core::policy::{Candidates, Decision, Kind, MigrationState, Move, Queue, Request, Tables, Verdict};
use wasmtime::component::Component;
use wasmtime::{Engine, Error, Store};

use crate::engine::Guest;
use crate::load::{LoadError, RawDescription};
use crate::session::{Called, Changes};
use crate::v0_1;

/// All published versions, the newest first.
const KNOWN: &[Adapter] = &[v0_1::ADAPTER];

const PACKAGE: &str = "berth:policy/";
const ABOUT: &str = "about";

/// What the host knows of one version.
pub(crate) struct Adapter {
    pub(crate) version: &'static str,
    /// Binds a component that exports the interface of a kind in this version; fails where its types are others.
    pub(crate) prepare: Prepare,
}

type Prepare = fn(&Engine, &Component, Kind) -> Result<Box<dyn Prepared>, Error>;

/// A component whose exports are known to have the right types, ready to be instantiated.
pub(crate) trait Prepared: Send + Sync {
    /// Checks the types of its exports, and asks it what it is.
    ///
    /// # Errors
    /// Exports of other types; within, what the guest did wrong.
    fn describe(&self, store: &mut Store<Guest>) -> Result<Result<RawDescription, Error>, Error>;

    /// Starts a session. On failure the store comes back with the error, for a look at what happened.
    fn session(&self, store: Store<Guest>, tables: &Tables, config: &str) -> Started;
}

/// A session, or what became of its store.
pub(crate) type Started = Result<Box<dyn Session>, (Store<Guest>, Error)>;

/// A live session in a store of its own. After a call that failed it must be dropped, not called again.
pub(crate) trait Session: Send {
    fn store(&mut self) -> &mut Store<Guest>;

    /// Sends the rows that changed.
    fn update(&mut self, changes: &Changes<'_>) -> Result<(), Error>;

    fn place(&mut self, request: &Request, candidates: &Candidates) -> Called<Decision>;

    fn admit(&mut self, queue: &Queue) -> Called<Verdict>;

    fn migrate(&mut self, state: &MigrationState) -> Called<Vec<Move>>;
}

impl Adapter {
    fn export(&self, interface: &str) -> String {
        format!("{PACKAGE}{interface}@{}", self.version)
    }

    fn is_exported(&self, interface: &str, exports: &[&str]) -> bool {
        exports.contains(&self.export(interface).as_str())
    }
}

/// The version that a component speaks and its kind, by the names of its exports. A component may speak several versions;
/// the newest that the host knows is taken.
///
/// # Errors
/// Exports of an unknown version, of no kind, or of several.
pub(crate) fn find(exports: &[&str]) -> Result<(&'static Adapter, Kind), LoadError> {
    for adapter in KNOWN {
        let kinds = Kind::ALL.into_iter().filter(|kind| adapter.is_exported(kind.as_str(), exports));
        match *kinds.collect::<Vec<Kind>>() {
            [] => {}
            [kind] if adapter.is_exported(ABOUT, exports) => return Ok((adapter, kind)),
            _ => return Err(wrong_exports(adapter, exports)),
        }
    }
    let versions = exports.iter().filter_map(|name| name.strip_prefix(PACKAGE)?.rsplit_once('@').map(|(_, it)| it));
    let mut unknown: Vec<&str> = versions.filter(|it| KNOWN.iter().all(|known| known.version != *it)).collect();
    unknown.dedup();
    match KNOWN.first() {
        Some(newest) if unknown.is_empty() => Err(wrong_exports(newest, exports)),
        _ => Err(LoadError::Version { found: unknown.join(", "), known: known() }),
    }
}

fn wrong_exports(adapter: &Adapter, exports: &[&str]) -> LoadError {
    LoadError::Exports {
        found: if exports.is_empty() { "nothing".into() } else { exports.join(", ") },
        about: adapter.export(ABOUT),
        kinds: Kind::ALL.map(|kind| adapter.export(kind.as_str())).join(", "),
    }
}

fn known() -> String {
    KNOWN.iter().map(|adapter| adapter.version).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::load::digest;

    /// Folders of `wit/` that were published, with the SHA-256 of what is in them. An entry is added when a version is
    /// published, and never changed: components are built against these very types, and there is no way to call them back.
    const FROZEN: [(&str, &str); 1] = [("v0.1", "2683e9878698e24760867a9ea8f62080ba9e717ae6bc71fddc815dac0a256890")];

    /// SHA-256 over the names and contents of all files, in the order of their names.
    fn digest_of(folder: &Path) -> String {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            assert!(entry.path().is_file(), "{} is a folder, which is not in the digest", entry.path().display());
            files.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        }
        let all: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", digest(bytes))).collect();
        digest(all.as_bytes()).to_string()
    }

    #[test]
    fn what_was_published_never_changes() {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        for (folder, frozen) in FROZEN {
            let mend = "put what changes into a version of its own, as wit/README.md says";
            assert_eq!(digest_of(&wit.join(folder)), frozen, "wit/{folder} was published and is frozen; {mend}");
        }
        let folders = fs::read_dir(&wit).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir());
        let mut published: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
        published.retain(|name| name != "next");
        published.sort();
        assert_eq!(published, FROZEN.map(|(folder, _)| folder), "every published folder is frozen");
    }

    #[test]
    fn each_published_version_has_its_adapter() {
        let adapters = KNOWN.iter().map(|adapter| adapter.version.rsplit_once('.').unwrap().0);
        let mut folders: Vec<String> = adapters.map(|version| format!("v{version}")).collect();
        folders.reverse();
        assert_eq!(folders, FROZEN.map(|(folder, _)| folder));
        for adapter in KNOWN {
            let folder = format!("../../wit/v{}", adapter.version.rsplit_once('.').unwrap().0);
            let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("policy.wit");
            let package = format!("package berth:policy@{};", adapter.version);
            assert!(fs::read_to_string(wit).unwrap().contains(&package), "{package}");
        }
    }

    #[test]
    fn a_component_may_speak_a_version_that_is_unknown_beside_one_that_is_known() {
        let exports = ["berth:policy/about@0.1.0", "berth:policy/gang@0.1.0", "berth:policy/gang@7.0.0"];
        let (adapter, kind) = find(&exports).unwrap();
        assert_eq!((adapter.version, kind), ("0.1.0", Kind::Gang));
        let error = find(&["berth:policy/about@7.0.0", "berth:policy/gang@7.0.0"]).err().unwrap().to_string();
        assert!(error.contains("berth:policy@7.0.0") && error.contains("0.1.0"), "{error}");
    }
}
