//! Component files in a policy directory.
//!
//! Whatever a file holds, it is loaded or refused with one short line; the policies beside it stay.

use std::cell::RefCell;

use berth_policy::{Directory, Runtime, WallClock};

use crate::manifests::is_line;

const GOOD: &[u8] = include_bytes!("../../../policies/ready.wasm");

struct Watched {
    folder: tempfile::TempDir,
    directory: Directory,
}

impl Watched {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("good.wasm"), GOOD).unwrap();
        let mut directory = Directory::new(folder.path(), Runtime::new(WallClock::Off).unwrap());
        directory.scan();
        assert!(directory.set().policies.contains_key("ready"));
        Self { folder, directory }
    }
}

thread_local! {
    static WATCHED: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

/// Puts a file with these bytes into a directory.
pub fn check(data: &[u8]) {
    WATCHED.with_borrow_mut(|watched| {
        let watched = watched.get_or_insert_with(Watched::new);
        let file = watched.folder.path().join("other.wasm");
        std::fs::write(&file, data).unwrap();
        watched.directory.scan();
        let set = watched.directory.set();
        assert!(set.policies.contains_key("ready"), "the policy beside it is gone");
        for refusal in &set.refused {
            is_line(&refusal.reason);
        }
        let loaded = set.policies.len() > 1;
        assert!(loaded || set.refused.iter().any(|refusal| refusal.name == "other"), "neither loaded nor refused");
        std::fs::remove_file(&file).unwrap();
        watched.directory.scan();
        watched.directory.scan();
        assert_eq!(watched.directory.set().policies.len(), 1);
    });
}
