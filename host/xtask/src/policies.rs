//! Builds the policies' components, and holds the committed ones against their sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use wit_component::ComponentEncoder;

use crate::lock::{Entry, Lock};
use crate::sources::{self, Guest, hexadecimal};
use crate::wrapper;

const TARGET: &str = "wasm32-unknown-unknown";
const MEND: &str = "build and commit them with `cargo run -p xtask -- policies build`";

/// Builds the policies whose components are committed, or one of them, and locks them.
pub(crate) fn build(root: &Path, only: Option<&str>) -> Result<()> {
    let all = sources::guests(root)?;
    let chosen: Vec<&Guest> = all.iter().filter(|guest| only.is_none_or(|name| guest.name == name)).collect();
    ensure!(
        !chosen.is_empty(),
        "there is no policy {}; there are {}",
        only.unwrap_or("at all"),
        names(&all).join(", ")
    );
    let mut lock = Lock::read(root)?;
    lock.0.retain(|name, _| all.iter().any(|guest| guest.name == *name));
    let built = components(root, &names(chosen.iter().copied()), true)?;
    for (guest, (name, component)) in chosen.into_iter().zip(built) {
        let entry = Entry { sources: sources::digest(root, guest)?, component: digest(&component) };
        let news =
            if lock.0.get(&name).is_some_and(|old| old.component == entry.component) { "unchanged" } else { "new" };
        write(&root.join(&guest.file), &component)?;
        println!("{:<40} {:>4} KiB  {news}", guest.file, component.len().div_ceil(1024));
        lock.0.insert(name, entry);
    }
    lock.write(root)
}

fn names<'a>(guests: impl IntoIterator<Item = &'a Guest>) -> Vec<String> {
    guests.into_iter().map(|guest| guest.name.clone()).collect()
}

/// Builds one component from any crate of the plugins workspace.
pub(crate) fn component(root: &Path, package: &str, output: &Path) -> Result<()> {
    for (_, component) in components(root, &[package.to_owned()], false)? {
        write(output, &component)?;
        println!("{}  {} KiB", output.display(), component.len().div_ceil(1024));
    }
    Ok(())
}

/// Holds the lock file against the sources and the committed components, and with `rebuild` against a new build.
///
/// # Errors
/// What differs, and the mend.
pub(crate) fn check(root: &Path, rebuild: bool) -> Result<()> {
    let mut faults = stale(root)?;
    if faults.is_empty() && rebuild {
        let guests = sources::guests(root)?;
        for (guest, (_, component)) in guests.iter().zip(components(root, &names(&guests), true)?) {
            if fs::read(root.join(&guest.file)).is_ok_and(|committed| committed != component) {
                faults.push(format!("{} is not what its sources give", guest.file));
            }
        }
    }
    ensure!(faults.is_empty(), "{}\n{MEND}", faults.join("\n"));
    println!("policies are current{}", if rebuild { ", byte for byte" } else { "" });
    Ok(())
}

/// Which committed components do not fit the sources; nothing is built.
fn stale(root: &Path) -> Result<Vec<String>> {
    let lock = Lock::read(root)?;
    let guests = sources::guests(root)?;
    let mut faults = Vec::new();
    for guest in &guests {
        let Guest { name, file, .. } = guest;
        let Some(entry) = lock.0.get(name) else {
            faults.push(format!("policies/policies.lock has no entry for {name}"));
            continue;
        };
        if entry.sources != sources::digest(root, guest)? {
            faults.push(format!("{file} is older than its sources"));
        }
        match fs::read(root.join(file)) {
            Ok(bytes) if digest(&bytes) == entry.component => {}
            Ok(_) => faults.push(format!("{file} is not the file that policies.lock names")),
            Err(error) => faults.push(format!("cannot read {file}: {error}")),
        }
    }
    let unknown = lock.0.keys().filter(|name| !guests.iter().any(|guest| guest.name == **name));
    faults.extend(unknown.map(|name| format!("policies/policies.lock names {name}, which has no sources")));
    Ok(faults)
}

fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Compiles `packages` in one go and makes a component of each; `locked` refuses versions that are not in the lock file.
fn components(root: &Path, packages: &[String], locked: bool) -> Result<Vec<(String, Vec<u8>)>> {
    let sysroot = rustc(root, &["--print", "sysroot"])?;
    let library = rustc(root, &["--print", "target-libdir", "--target", TARGET])?;
    ensure!(
        Path::new(&library).is_dir(),
        "the compiler lacks the target {TARGET}; install it with `rustup target add {TARGET}`"
    );
    let target = target_folder(root);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--target", TARGET, "--manifest-path"]);
    cargo.arg(root.join("plugins/Cargo.toml")).arg("--target-dir").arg(&target).current_dir(root.join("plugins"));
    for package in packages {
        cargo.args(["--package", package]);
    }
    if locked {
        cargo.arg("--locked");
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", remap(root, &target, &sysroot)?).env("CARGO_INCREMENTAL", "0");
    wrapper::install(&mut cargo)?;
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "the policies do not compile");
    packages
        .iter()
        .map(|package| {
            let module = target.join(TARGET).join("release").join(format!("{}.wasm", package.replace('-', "_")));
            let module = fs::read(&module)
                .with_context(|| format!("{package} makes no {}: is it a cdylib?", module.display()))?;
            Ok((package.clone(), encode(package, &module)?))
        })
        .collect()
}

/// A component of a module; it is refused if it would import a function.
fn encode(package: &str, module: &[u8]) -> Result<Vec<u8>> {
    let component = ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    component.with_context(|| format!("{package} makes no component: does it export a policy and import nothing?"))
}

fn target_folder(root: &Path) -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = if folder.is_absolute() { folder } else { root.join(folder) };
    folder.join("policies")
}

/// Compiler flags that keep the folders of this machine out of the components, so that they are the same everywhere.
fn remap(root: &Path, target: &Path, sysroot: &str) -> Result<String> {
    let version = rustc(root, &["--version", "--verbose"])?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
    let home = match std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
    {
        Some(home) => home,
        None => bail!("cannot tell where cargo keeps crates; set CARGO_HOME"),
    };
    let library = Path::new(sysroot).join("lib/rustlib/src/rust");
    let pairs = [
        (root, "/berth".to_owned()),
        (target, "/target".to_owned()),
        (home.as_path(), "/cargo".to_owned()),
        (library.as_path(), format!("/rustc/{commit}")),
    ];
    let flags = pairs.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    // What runs over columns is vectorised, which pays for the counting of fuel in each turn of a loop.
    let flags = flags.chain(["-Ctarget-feature=+simd128".to_owned()]);
    Ok(flags.collect::<Vec<_>>().join("\x1f"))
}

fn rustc(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("rustc").args(arguments).current_dir(root).output().context("cannot run rustc")?;
    ensure!(
        output.status.success(),
        "rustc {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_committed_policies_are_those_of_the_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let faults = stale(&root).unwrap();
        assert!(faults.is_empty(), "{}\n{MEND}", faults.join("\n"));
    }
}
