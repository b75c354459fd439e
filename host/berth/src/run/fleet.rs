//! The fleet file and the data directory: what is read at the start, and what is kept beside the store.
//!
//! Beside the store lie `fleet.yaml`, the fleet file as it was applied last, and the simulated fleet: `world.json` as it
//! stood when it was last saved, and `world.journal` with what was asked of it since, so that it lives on as it was when the
//! program died. The store is the controller's truth; the saved world is what its clusters would show.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use berth_api::fleet_file::load_fleet;
use berth_api::resources::SimulationSpec;
use berth_api::{Loaded, Object};
use berth_control::store::EmbeddedStore;
use berth_core::ids::Millis;
use berth_sim::{Options, Simulation, Source};
use sha2::{Digest, Sha256};

use super::{Config, Fleet};
use crate::fail::hinted;

const APPLIED: &str = "fleet.yaml";
/// Begins the first line of the fleet file as it is kept; a checksum of the rest follows.
const SEAL: &str = "# As applied last, with sha256 ";
const WORLD: &str = "world.json";
const JOURNAL: &str = "world.journal";
/// Folder of the recorded calls of policies.
pub(crate) const RECORDS: &str = "decisions";
/// Which canaries went back.
pub(super) const CANARIES: &str = "canaries.json";

/// The simulated clock starts here when a data directory is new: 2026-01-01T00:00:00Z. Fixed, so that a run can be repeated.
pub(crate) const EPOCH: Millis = Millis(1_767_225_600_000);

#[derive(Debug)]
pub(crate) struct FleetFile {
    /// For people.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) loaded: Loaded,
    /// Where the series are that it names.
    pub(crate) source: Source,
}

impl FleetFile {
    /// # Errors
    /// Every fault of the file.
    pub(crate) fn read(fleet: &Fleet) -> anyhow::Result<Self> {
        let (name, text, source) = match fleet {
            Fleet::Example => {
                ("the bundled example".to_owned(), berth_sim::example::FLEET.to_owned(), berth_sim::example::source())
            }
            Fleet::File(file) => {
                let text = fs::read_to_string(file)
                    .with_context(|| hinted(format!("the fleet file {} cannot be read", file.display()), ""))?;
                let folder = file.parent().map_or_else(PathBuf::new, Path::to_owned);
                (file.display().to_string(), text, Source::Dir(folder))
            }
        };
        let loaded = load_fleet(&name, &text).map_err(|errors| refused(&name, &errors))?;
        berth_sim::check_fleet(&loaded.objects).map_err(|error| {
            hinted(format!("{name} is refused\n  {error}"), "nothing was changed; mend it and start again")
        })?;
        Ok(Self { name, text, loaded, source })
    }
}

fn simulation(objects: &[Object]) -> Option<&SimulationSpec> {
    objects.iter().find_map(|object| match object {
        Object::Simulation(simulation) => Some(&simulation.spec),
        _ => None,
    })
}

fn refused(name: &str, errors: &[berth_api::LoadError]) -> anyhow::Error {
    let faults: String = errors.iter().map(|error| format!("\n  {error}")).collect();
    hinted(format!("{name} is refused{faults}"), "nothing was changed; mend it and start again").into()
}

/// The data directory.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    /// Whether it held a store before this run.
    pub(crate) is_new: bool,
}

impl Home {
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let dir = config.data_dir.clone();
        let context =
            || hinted(format!("the data directory {} cannot be used", dir.display()), "choose another with --data-dir");
        private_folder(&dir).with_context(context)?;
        if config.fresh {
            for file in EmbeddedStore::FILES.into_iter().chain([APPLIED, WORLD, JOURNAL, CANARIES]) {
                remove(&dir.join(file)).with_context(context)?;
            }
            match fs::remove_dir_all(dir.join(RECORDS)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(context),
                _ => {}
            }
        }
        let is_new = !EmbeddedStore::FILES.iter().any(|file| dir.join(file).exists());
        Ok(Self { dir, is_new })
    }

    /// Objects of the fleet file that are new or changed since it was applied last. What was changed through the API since
    /// stays, unless the file changed it too.
    pub(crate) fn changed(&self, fleet: &FleetFile) -> anyhow::Result<Vec<Object>> {
        let objects = fleet.loaded.objects.clone();
        let before = match fs::read(self.dir.join(APPLIED)) {
            Ok(bytes) => self.unsealed(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(objects),
            Err(error) => return Err(anyhow!(error).context("the fleet file that was applied last cannot be read")),
        };
        if before == fleet.text {
            return Ok(Vec::new());
        }
        // One that cannot be read any more, after a change of version, counts as never applied.
        let before = load_fleet(APPLIED, &before).unwrap_or_default().objects;
        Ok(objects.into_iter().filter(|object| !before.contains(object)).collect())
    }

    pub(crate) fn applied(&self, fleet: &FleetFile) -> anyhow::Result<()> {
        self.write(APPLIED, format!("{SEAL}{}\n{}", digest(&fleet.text), fleet.text).as_bytes())
    }

    /// The fleet file as it was applied last, if it is what [`Home::applied`] wrote. One that is not would bring back objects
    /// as the fleet file has them, over what was changed through the API.
    fn unsealed(&self, bytes: &[u8]) -> anyhow::Result<String> {
        let parts = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_prefix(SEAL)?.split_once('\n'));
        match parts.filter(|(sum, text)| *sum == digest(text)) {
            Some((_, text)) => Ok(text.to_owned()),
            None => {
                let what = format!("{} is not what was written", self.dir.join(APPLIED).display());
                let hint = "put back a sound copy of the folder; or remove the file, and the whole fleet file is applied again";
                Err(hinted(what, hint).into())
            }
        }
    }

    /// The simulated fleet as it was saved, or a new one. `objects` is what the store holds.
    pub(crate) fn world(&self, objects: &[Object], source: &Source, seed: u64) -> anyhow::Result<Simulation> {
        let spec = simulation(objects);
        match fs::read(self.dir.join(WORLD)) {
            Ok(bytes) => {
                let journal = match fs::read(self.dir.join(JOURNAL)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    read => read.context("the journal of the saved simulation cannot be read")?,
                };
                let restored = Simulation::restore(&bytes, &journal, objects, spec, source);
                restored.with_context(|| format!("{} cannot be used", self.dir.join(WORLD).display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.dir.join(JOURNAL).exists() => {
                let what = format!("{} is missing, and its journal is there", self.dir.join(WORLD).display());
                Err(hinted(what, "put back a sound copy of the folder, or start over with --fresh").into())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Simulation::new(objects, spec, seed, EPOCH, source, Options::default())?)
            }
            Err(error) => Err(anyhow!(error).context("the saved simulation cannot be read")),
        }
    }

    /// The store's files are made by the store, which does not know what is in them.
    pub(crate) fn close_to_others(&self) -> anyhow::Result<()> {
        for file in EmbeddedStore::FILES.map(|name| self.dir.join(name)) {
            let context =
                || hinted(format!("{} cannot be closed to others", file.display()), "it must be owned by this user");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).with_context(context)?;
        }
        Ok(())
    }

    /// Saves the simulated fleet, and begins a journal of what is asked of it from now on. What the journal holds is with
    /// the operating system as soon as it is written, and so outlives the program.
    pub(crate) fn save(&self, world: &mut Simulation) -> anyhow::Result<()> {
        if let Some(error) = world.journal_fault() {
            let context =
                hinted(format!("{} cannot be written", self.dir.join(JOURNAL).display()), "is the disk full?");
            return Err(anyhow!(error).context(context));
        }
        self.write(WORLD, &world.save())?;
        let file = self.dir.join(JOURNAL);
        let begun = private_file(&file);
        let begun =
            begun.with_context(|| hinted(format!("{} cannot be written", file.display()), "is the disk full?"))?;
        world.record(Box::new(begun));
        Ok(())
    }

    /// Whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (file, partial) = (self.dir.join(name), self.dir.join(format!(".{name}")));
        let written = private_file(&partial).and_then(|mut partial| {
            io::Write::write_all(&mut partial, bytes)?;
            partial.sync_all()
        });
        let written = written.and_then(|()| fs::rename(&partial, &file));
        written.with_context(|| hinted(format!("{} cannot be written", file.display()), "is the disk full?"))
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What is applied may hold Secrets: the folder is made for its owner alone, and so is every file in it.
fn private_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn private_file(file: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)
}
