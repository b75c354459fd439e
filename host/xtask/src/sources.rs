//! Which files a policy's component is made from, and their digest.
//!
//! A digest covers the crate, what the built-in policies share, the SDK, the interface, the parts of `berth-core` that the
//! algorithms use, the versions of all other crates and of the compiler. Tests do not count. Too much rather than too
//! little: a component whose sources changed may be the same byte for byte, and then only the lock file changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Folders and files that every built-in policy is made from.
const SHARED: [&str; 7] = [
    "plugins/Cargo.toml",
    "plugins/builtin/adapter",
    "plugins/sdk",
    "wit/v0.1",
    "host/core/Cargo.toml",
    "host/core/src/native",
    "rust-toolchain.toml",
];

/// Folders of policies, and where their components are committed: those that are built in, and those that test the host.
const HOMES: [(&str, &str); 2] = [("plugins/builtin", "policies"), ("plugins/testing", "host/policy/tests/guests")];

/// A policy whose component is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) name: String,
    /// Folder of the crate, from the root.
    folder: String,
    /// The component, from the root.
    pub(crate) file: String,
}

/// All of them, by name: the folders below [`HOMES`] that hold a `cdylib`.
///
/// # Errors
/// If the folders cannot be read.
pub(crate) fn guests(root: &Path) -> Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for (home, components) in HOMES.into_iter().filter(|(home, _)| root.join(home).is_dir()) {
        let cannot = || format!("cannot read {}", root.join(home).display());
        for entry in fs::read_dir(root.join(home)).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let manifest = entry.path().join("Cargo.toml");
            if manifest.is_file() && read(&manifest)?.contains("\"cdylib\"") {
                let name = entry.file_name().to_string_lossy().into_owned();
                let (folder, file) = (format!("{home}/{name}"), format!("{components}/{name}.wasm"));
                guests.push(Guest { name, folder, file });
            }
        }
    }
    guests.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(guests)
}

/// SHA-256 of everything that a component is made from, in hexadecimal.
///
/// # Errors
/// If a source cannot be read.
pub(crate) fn digest(root: &Path, guest: &Guest) -> Result<String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for start in SHARED.into_iter().chain([guest.folder.as_str()]) {
        for path in source_files(&root.join(start))? {
            files.insert(relative(root, &path), read(&path)?);
        }
    }
    add_core(root, &mut files)?;
    files.insert("plugins/Cargo.lock".into(), foreign_crates(&read(&root.join("plugins/Cargo.lock"))?)?);

    let mut hash = Sha256::new();
    for (path, text) in &files {
        // Lengths keep two files from passing for one.
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    Ok(hexadecimal(&hash.finalize()))
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds the modules of `berth-core` that `files` name as `crate::MODULE`, and those that they name in turn.
fn add_core(root: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    let core = root.join("host/core/src");
    let in_core = |path: &&String| path.starts_with("host/core/src/");
    let mut open: Vec<String> = files.iter().filter(|(path, _)| in_core(path)).map(|(_, text)| text.clone()).collect();
    while let Some(text) = open.pop() {
        for module in modules_named(&text) {
            let file = core.join(format!("{module}.rs"));
            let start = if file.is_file() { file } else { core.join(&module) };
            if !start.exists() {
                continue;
            }
            for path in source_files(&start)? {
                if let std::collections::btree_map::Entry::Vacant(entry) = files.entry(relative(root, &path)) {
                    open.push(entry.insert(read(&path)?).clone());
                }
            }
        }
    }
    Ok(())
}

/// `a` and `b` of `use crate::a::X`, `crate::{a::X, b}` and the like; comments count, since they do no harm.
fn modules_named(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut modules = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => modules.insert(word(rest)),
            Some(list) => {
                let list = list.split(';').next().unwrap_or_default();
                modules.extend(list.split([',', '{', '}']).map(|part| word(part.trim())));
                true
            }
        };
    }
    modules.remove("");
    modules
}

/// Name, version and checksum of every crate from a registry; crates of the workspace are covered by their sources.
fn foreign_crates(lock: &str) -> Result<String> {
    let lock: toml::Table = toml::from_str(lock).context("plugins/Cargo.lock is not valid")?;
    let packages = lock.get("package").and_then(toml::Value::as_array).context("plugins/Cargo.lock has no packages")?;
    let lines = packages.iter().filter_map(|package| {
        let field = |name: &str| package.get(name).and_then(toml::Value::as_str);
        Some(format!("{} {} {}\n", field("name")?, field("version")?, field("checksum")?))
    });
    Ok(lines.collect())
}

/// The file itself, or the sources below a folder without tests and build output.
fn source_files(start: &Path) -> Result<Vec<PathBuf>> {
    if start.is_file() {
        return Ok(vec![start.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(start).with_context(|| format!("cannot read {}", start.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", start.display()))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !matches!(name.as_str(), "target" | "tests") {
            files.extend(source_files(&path)?);
        }
        let source = [".rs", ".toml", ".wit"].iter().any(|ending| name.ends_with(ending));
        if path.is_file() && source && name != "tests.rs" {
            files.push(path);
        }
    }
    Ok(files)
}

fn relative(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn modules_are_found_in_every_form_of_use() {
        let text =
            "use crate::ids::{A, B};\nuse crate::{\n    fleet::{C, D},\n    quota,\n};\nfn f(_: crate::plan::Plan) {}";
        let found: Vec<String> = modules_named(text).into_iter().collect();
        for module in ["ids", "fleet", "quota", "plan"] {
            assert!(found.iter().any(|name| name == module), "{module} in {found:?}");
        }
    }

    #[test]
    fn a_digest_depends_on_what_the_policy_uses_and_on_nothing_else() {
        let folder = std::env::temp_dir().join(format!("xtask-sources-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for path in ["plugins/Cargo.toml", "plugins/builtin/adapter/src/lib.rs", "plugins/sdk/src/lib.rs"] {
            write(path, "");
        }
        write("plugins/builtin/cost/Cargo.toml", "crate-type = [\"cdylib\"]");
        write("plugins/Cargo.lock", "[[package]]\nname = \"serde\"\nversion = \"1\"\nchecksum = \"a\"\n");
        write("wit/v0.1/policy.wit", "");
        write("host/core/Cargo.toml", "");
        write("rust-toolchain.toml", "");
        write("host/core/src/native/mod.rs", "use crate::policy::Kind;");
        write("host/core/src/policy.rs", "use crate::ids::Name;");
        write("host/core/src/ids.rs", "");
        write("host/core/src/plan.rs", "");

        let [cost] = &guests(&folder).unwrap()[..] else { panic!("one policy, and no folder of tests") };
        assert_eq!((cost.name.as_str(), cost.file.as_str()), ("cost", "policies/cost.wasm"));
        let first = digest(&folder, cost).unwrap();
        write("host/core/src/plan.rs", "// not used by the algorithms");
        write("host/core/src/native/tests.rs", "// a test");
        write("plugins/README.md", "text");
        assert_eq!(digest(&folder, cost).unwrap(), first);
        write("host/core/src/ids.rs", "// used by what is used");
        let second = digest(&folder, cost).unwrap();
        assert_ne!(second, first);
        write("plugins/Cargo.lock", "[[package]]\nname = \"serde\"\nversion = \"2\"\nchecksum = \"b\"\n");
        assert_ne!(digest(&folder, cost).unwrap(), second);
        fs::remove_dir_all(&folder).unwrap();
    }
}
