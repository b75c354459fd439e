//! `policies.toml`, read as it is and through a policy directory.
//!
//! - It is accepted or refused whole, with one short line that says where and why.
//! - What is accepted has no limit of nothing, and no file outside of the directory.
//! - A directory whose file is refused keeps the policies that it has, and is well again with a good one.

use std::cell::RefCell;
use std::sync::Arc;

use berth_policy::{CONFIG_FILE, Config, Directory, PolicySet, Runtime, WallClock};

use crate::manifests::is_line;

const GOOD: &str = "[policy.first]\nfile = \"ready.wasm\"\n";
const COMPONENT: &[u8] = include_bytes!("../../../policies/ready.wasm");

struct Watched {
    folder: tempfile::TempDir,
    directory: Directory,
    good: Arc<PolicySet>,
}

impl Watched {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ready.wasm"), COMPONENT).unwrap();
        std::fs::write(folder.path().join(CONFIG_FILE), GOOD).unwrap();
        let mut directory = Directory::new(folder.path(), Runtime::new(WallClock::Off).unwrap());
        directory.scan();
        let good = directory.set();
        assert!(good.refused.is_empty() && good.policies.contains_key("first"), "{:?}", good.refused);
        Self { folder, directory, good }
    }

    fn write(&mut self, text: &[u8]) {
        std::fs::write(self.folder.path().join(CONFIG_FILE), text).unwrap();
        self.directory.scan();
    }

    fn check(&mut self, data: &[u8]) {
        let parsed = std::str::from_utf8(data).ok().map(Config::parse);
        self.write(data);
        let set = self.directory.set();
        for refusal in &set.refused {
            is_line(&refusal.reason);
            assert!(!refusal.reason.is_empty() && !refusal.name.is_empty());
        }
        let whole = set.refused.iter().any(|refusal| refusal.file.ends_with(CONFIG_FILE));
        if !matches!(parsed, Some(Ok(_))) {
            assert!(whole, "what cannot be read is not refused");
        }
        if whole {
            assert_eq!(set.policies.keys().collect::<Vec<_>>(), self.good.policies.keys().collect::<Vec<_>>());
            assert_eq!(set.bindings, self.good.bindings, "bindings of a file that is refused");
        }
        // What vanishes is given one scan to come back.
        self.directory.scan();
        self.write(GOOD.as_bytes());
        self.directory.scan();
        let set = self.directory.set();
        assert!(set.refused.is_empty(), "a good file is refused: {:?}", set.refused);
        assert_eq!(set.policies.keys().collect::<Vec<_>>(), self.good.policies.keys().collect::<Vec<_>>());
        assert_eq!(set.bindings, self.good.bindings);
    }
}

thread_local! {
    static WATCHED: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

/// Reads bytes as the file, alone and in a directory.
pub fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        match Config::parse(text) {
            Err(error) => is_line(&error.to_string()),
            Ok(config) => {
                for (name, policy) in &config.policies {
                    is_line(name.as_str());
                    is_line(&policy.file);
                    let outside = policy.file.contains(['/', '\\', '\0']) || policy.file.starts_with('.');
                    assert!(!outside && !policy.file.is_empty(), "{:?} is no file of the directory", policy.file);
                    let limits = &policy.limits;
                    let numbers = [limits.fuel, limits.deadline_ms, limits.memory_bytes as u64, limits.file_bytes];
                    assert!(!numbers.contains(&0), "{limits:?}");
                }
            }
        }
    }
    WATCHED.with_borrow_mut(|watched| watched.get_or_insert_with(Watched::new).check(data));
}
