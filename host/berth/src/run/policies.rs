//! Which folder the policies come from: the one that was named, `policies` here, or the built-in components written out. And
//! whose are loaded.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use berth_policy::{CONFIG_FILE, Directory, Keys, Runtime, Scan, Trust, WallClock};
use tempfile::NamedTempFile;

use crate::fail::hinted;

/// The built-in policies as components, so that the program needs no folder beside it.
pub(crate) const BUILT_IN: [(&str, &[u8]); 6] = [
    ("weighted.wasm", include_bytes!("../../../../policies/weighted.wasm")),
    ("available.wasm", include_bytes!("../../../../policies/available.wasm")),
    ("aggregate.wasm", include_bytes!("../../../../policies/aggregate.wasm")),
    ("cost.wasm", include_bytes!("../../../../policies/cost.wasm")),
    ("fifo.wasm", include_bytes!("../../../../policies/fifo.wasm")),
    ("ready.wasm", include_bytes!("../../../../policies/ready.wasm")),
];

/// The folder to watch. The built-in policies are written to `data_dir` only if nothing else is there.
pub(crate) fn folder(named: Option<&Path>, data_dir: &Path) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        if !named.is_dir() {
            let hint = "name a folder with .wasm components, or leave --policies away for the built-in ones";
            return Err(hinted(format!("the policy folder {} is not there", named.display()), hint).into());
        }
        return Ok(named.to_owned());
    }
    let here = PathBuf::from("policies");
    if here.is_dir() {
        return Ok(here);
    }
    let own = data_dir.join("policies");
    write_built_in(&own).with_context(|| format!("the built-in policies cannot be written to {}", own.display()))?;
    Ok(own)
}

/// What the holders of these keys signed, and what is built in; `None`, which trusts all, only where no key was asked for.
///
/// # Errors
/// If a file does not hold public keys alone.
pub(crate) fn trust(key_files: &[PathBuf]) -> anyhow::Result<Option<Trust>> {
    let mut known: Option<Keys> = None;
    for file in key_files {
        let hint = "a public key is PEM and begins with -----BEGIN PUBLIC KEY-----; `berth policy keygen` makes a pair";
        let faulty = || hinted(format!("the policy key {} is not usable", file.display()), hint);
        let keys = Keys::read(file).with_context(faulty)?;
        match &mut known {
            Some(known) => known.add(keys),
            None => known = Some(keys),
        }
    }
    let mut trust = known.map(Trust::new);
    if let Some(trust) = &mut trust {
        BUILT_IN.iter().for_each(|(_, component)| trust.add(component));
    }
    Ok(trust)
}

/// Loads a folder for the first time. A policy that is refused is no reason not to start, but a `policies.toml` is.
pub(crate) fn open(folder: PathBuf, trust: Option<Trust>, wall_clock: WallClock) -> anyhow::Result<(Directory, Scan)> {
    let mut directory = Directory::new(folder, Runtime::new(wall_clock)?).with_trust(trust);
    let scan = directory.scan();
    let whole = scan.refused.iter().find(|refusal| refusal.file.ends_with(CONFIG_FILE));
    if let Some(refusal) = whole {
        let file = directory.path().join(CONFIG_FILE);
        return Err(
            hinted(format!("{} is refused: {}", file.display(), refusal.reason), "mend it and start again").into()
        );
    }
    Ok((directory, scan))
}

/// A file that is there is left alone: it may be a policy that replaced a built-in one.
fn write_built_in(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, bytes) in BUILT_IN {
        if !folder.join(name).exists() {
            put(folder, name, bytes)?;
        }
    }
    Ok(())
}

/// Puts a file into a policy folder, whole: whoever watches it never sees half of one.
pub(crate) fn put(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    put_all(folder, &[(name, bytes)])
}

/// Puts files there, one after the other, when all of them are written: a disk that is full changes nothing.
pub(crate) fn put_all(folder: &Path, files: &[(&str, &[u8])]) -> std::io::Result<()> {
    let write = |bytes: &[u8]| {
        // A name that no controller looks at, and as readable as a file is that anybody writes.
        let mut partial =
            tempfile::Builder::new().prefix(".").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
        partial.write_all(bytes)?;
        Ok(partial)
    };
    let written: Vec<NamedTempFile> = files.iter().map(|(_, bytes)| write(bytes)).collect::<std::io::Result<_>>()?;
    for (partial, (name, _)) in written.into_iter().zip(files) {
        partial.persist(folder.join(name))?;
    }
    Ok(())
}
