//! Files of this repository that travel in the program: the interface, the SDK, the examples as templates, and glue.
//!
//! A project must build wherever the program is, without a clone of Berth beside it and in exactly this version.

use std::fs;
use std::path::Path;

use crate::error::AuthorError;

/// `(path, contents)` of files under a folder of this repository.
macro_rules! embedded {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../", $folder, "/", $path)))),*]
    };
}

pub(crate) const INTERFACE: &str = include_str!("../../../wit/v0.1/policy.wit");
pub(crate) const JS_ENTRY: &str = include_str!("glue/entry.js");
pub(crate) const CARGO_TOML: &str = include_str!("../templates/Cargo.toml");
pub(crate) const GITIGNORE: &str = include_str!("../templates/gitignore");

/// Header and source of the bindings for C. Made with names as short as they get: the world is called `policy`, and the
/// interfaces by their last part (`--rename berth:policy/placement@0.1.0=placement`).
pub(crate) struct CBindings {
    pub(crate) placement: (&'static str, &'static str),
    pub(crate) gang: (&'static str, &'static str),
    pub(crate) migration: (&'static str, &'static str),
}

pub(crate) const C_BINDINGS: CBindings = CBindings {
    placement: (include_str!("glue/c/placement/policy.h"), include_str!("glue/c/placement/policy.c")),
    gang: (include_str!("glue/c/gang/policy.h"), include_str!("glue/c/gang/policy.c")),
    migration: (include_str!("glue/c/migration/policy.h"), include_str!("glue/c/migration/policy.c")),
};

/// What stands between the generated bindings for Go and the policy.
pub(crate) struct GoGlue {
    pub(crate) about: &'static str,
    pub(crate) placement: &'static str,
    pub(crate) gang: &'static str,
    pub(crate) migration: &'static str,
    pub(crate) types: &'static str,
    pub(crate) runtime: &'static str,
    pub(crate) main: &'static str,
}

pub(crate) const GO_GLUE: GoGlue = GoGlue {
    about: include_str!("glue/go/about.go"),
    placement: include_str!("glue/go/placement.go"),
    gang: include_str!("glue/go/gang.go"),
    migration: include_str!("glue/go/migration.go"),
    types: include_str!("glue/go/types.go"),
    runtime: include_str!("glue/go/runtime.go"),
    main: include_str!("glue/go/main.go"),
};

/// The SDK's workspace, as far as a policy needs it.
pub(crate) const SDK: &[(&str, &str)] = embedded!("plugins":
    "Cargo.toml",
    "sdk/Cargo.toml",
    "sdk/src/bindings.rs",
    "sdk/src/config.rs",
    "sdk/src/export.rs",
    "sdk/src/fill.rs",
    "sdk/src/fleet.rs",
    "sdk/src/lib.rs",
    "sdk/src/memory.rs",
    "sdk/src/policy.rs",
    "sdk/src/problem.rs",
    "sdk/src/scoring.rs",
    "sdk/src/testing.rs",
    "sdk/worlds/gang/Cargo.toml",
    "sdk/worlds/gang/src/lib.rs",
    "sdk/worlds/migration/Cargo.toml",
    "sdk/worlds/migration/src/lib.rs",
    "sdk/worlds/placement/Cargo.toml",
    "sdk/worlds/placement/src/lib.rs",
);

/// The examples, which are the templates of new projects.
pub(crate) const EXAMPLES: &[(&str, &str)] = embedded!("plugins/examples":
    "leave/c/policy.c",
    "leave/cases/gone.json",
    "leave/cases/stays.json",
    "leave/cases/stuck.json",
    "leave/go/go.mod",
    "leave/go/policy.go",
    "leave/js/policy.js",
    "leave/python/migration.py",
    "leave/rust/src/lib.rs",
    "region/c/policy.c",
    "region/cases/changes.json",
    "region/cases/components.json",
    "region/cases/first-by-name.json",
    "region/cases/floor.json",
    "region/cases/most.json",
    "region/cases/no-value.json",
    "region/cases/not-for-this.json",
    "region/cases/other-column.json",
    "region/cases/share.json",
    "region/cases/spill.json",
    "region/go/go.mod",
    "region/go/policy.go",
    "region/js/policy.js",
    "region/python/placement.py",
    "region/rust/src/lib.rs",
    "smallest/c/policy.c",
    "smallest/cases/fits.json",
    "smallest/cases/order.json",
    "smallest/cases/waits.json",
    "smallest/go/go.mod",
    "smallest/go/policy.go",
    "smallest/js/policy.js",
    "smallest/python/gang.py",
    "smallest/rust/src/lib.rs",
);

/// Writes a file and the folders above it; one that has the contents already is left alone, so that nothing is built anew.
pub(crate) fn write(path: &Path, contents: &[u8]) -> Result<(), AuthorError> {
    if fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(AuthorError::io(folder, "made"))?;
    }
    fs::write(path, contents).map_err(AuthorError::io(path, "written"))
}

/// Writes the SDK into a project's folder, with the interface where the SDK looks for it.
pub(crate) fn write_sdk(folder: &Path) -> Result<(), AuthorError> {
    let berth = folder.join("build/berth");
    for (path, contents) in SDK {
        write(&berth.join("plugins").join(path), contents.as_bytes())?;
    }
    write(&berth.join("wit/v0.1/policy.wit"), INTERFACE.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    /// Files below `folder` that git would keep, by their paths from `root`.
    fn below(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["build", "node_modules", ".venv", "__pycache__", "target"].contains(&name.as_str()) {
                    below(root, &path, found);
                }
            } else if !name.ends_with(".wasm") {
                found.insert(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }

    fn all(folder: &str) -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
        let mut found = BTreeSet::new();
        below(&root, &root, &mut found);
        found
    }

    #[test]
    fn all_of_the_sdk_travels() {
        let embedded: BTreeSet<String> = SDK.iter().map(|(path, _)| (*path).to_owned()).collect();
        let there =
            all("plugins").into_iter().filter(|path| path.starts_with("sdk/") || path == "Cargo.toml").collect();
        assert_eq!(embedded, there);
    }

    #[test]
    fn all_of_the_examples_travel() {
        let embedded: BTreeSet<String> = EXAMPLES.iter().map(|(path, _)| (*path).to_owned()).collect();
        // Each example's manifests are written anew, and `green` is a lesson of its own.
        let manifest = |path: &str| path.ends_with("policy.toml") || path.ends_with("Cargo.toml");
        let there = all("plugins/examples");
        let there =
            there.into_iter().filter(|path| !manifest(path) && path.contains('/') && !path.starts_with("green/"));
        assert_eq!(embedded, there.collect());
    }
}
