//! A policy folder as it would be, loaded with the controller's own code before anything in it changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use berth_policy::{CONFIG_FILE, Directory, Inspection, LoadError, PolicySet, Refusal, Trust};

use super::runtime;
use crate::fail::hinted;

/// A copy of a policy folder, loaded. Each component is compiled once, whatever is asked of it.
#[derive(Debug)]
pub(super) struct Rehearsal {
    /// Empty where it is the copy of none.
    folder: PathBuf,
    copy: tempfile::TempDir,
    directory: Directory,
}

impl Rehearsal {
    /// Of no folder: for components alone.
    pub(super) fn empty(trust: Option<Trust>) -> anyhow::Result<Self> {
        let copy = tempfile::tempdir().context("no folder can be made to try it in")?;
        let directory = Directory::new(copy.path(), runtime()?).with_trust(trust);
        Ok(Self { folder: PathBuf::new(), copy, directory })
    }

    /// Of a folder of which a controller loads what is trusted; where nothing is said of that, anything.
    pub(super) fn of(folder: &Path, trust: Option<Trust>) -> anyhow::Result<Self> {
        let mut rehearsal = Self { folder: folder.to_owned(), ..Self::empty(trust)? };
        let copy = rehearsal.copy.path();
        for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            let counts = path.extension().is_some_and(|end| end == "wasm" || end == "sig") || name == CONFIG_FILE;
            if counts && path.is_file() {
                fs::copy(&path, copy.join(name)).with_context(|| format!("{} cannot be read", path.display()))?;
            }
        }
        rehearsal.directory.scan();
        Ok(rehearsal)
    }

    /// # Errors
    /// Why a component would not be loaded.
    pub(super) fn inspect(&mut self, component: &[u8]) -> Result<Inspection, LoadError> {
        self.directory.inspect(component)
    }

    /// What would be in force.
    pub(super) fn set(&self) -> Arc<PolicySet> {
        self.directory.set()
    }

    /// Makes changes, each a file's name and what it is to hold.
    ///
    /// # Errors
    /// The first refusal of those that count.
    pub(super) fn change(
        &mut self,
        changes: &[(&str, &[u8])],
        counts: impl Fn(&Refusal) -> bool,
    ) -> anyhow::Result<()> {
        for (name, bytes) in changes {
            fs::write(self.copy.path().join(name), bytes).context("it cannot be tried")?;
        }
        // A file that is away counts only when it stays away.
        if self.directory.scan().again {
            self.directory.scan();
        }
        match self.set().refused.iter().find(|refusal| counts(refusal)) {
            Some(refusal) => {
                let (copy, folder) = (self.copy.path().display().to_string(), self.folder.display().to_string());
                let why = format!("{}: {}", refusal.name, refusal.reason.replace(&copy, &folder));
                let what = "a controller would refuse it, so nothing is changed";
                Err(anyhow!(why).context(hinted(what, "")))
            }
            None => Ok(()),
        }
    }
}
