//! The examples: each language's component gives the answers that the cases of its example have, bit for bit.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use berth_author::{AuthorError, Project};
use berth_policy::{CaseFile, Runtime, Trial, WallClock};
use sha2::{Digest, Sha256};

pub(crate) fn examples() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/examples")).unwrap()
}

pub(crate) fn runtime() -> Runtime {
    Runtime::new(WallClock::Off).unwrap()
}

/// All cases of a folder, by the order of their names.
pub(crate) fn cases(folder: &Path) -> Vec<(String, CaseFile)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let case = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path.file_name().unwrap().to_string_lossy().into_owned(), case)
    };
    files.into_iter().map(case).collect()
}

/// What a case file finds wrong with a component.
pub(crate) fn faults(trial: &Trial, cases: &[(String, CaseFile)]) -> Vec<String> {
    let fault = |(name, case): &(String, CaseFile)| Some(format!("{name}: {}", trial.test(case).unwrap().err()?));
    cases.iter().filter_map(fault).collect()
}

/// Says that a test did not happen, for want of a tool.
pub(crate) fn left_out(what: &str, why: &AuthorError) {
    berth_tests::left_out(what, &format!("{why}; {}", why.hint()));
}

/// Where a project's component is kept, by the state of its sources.
pub(crate) fn kept(project: &Project) -> PathBuf {
    let name = format!("{}-{}-{}.wasm", project.name, project.language, digest(project));
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The component of an example, built where it was not yet; `None` where there is no tool for it.
fn component(policy: &str, language: &str) -> Option<Trial> {
    let project = Project::open(&examples().join(policy).join(language)).unwrap();
    let kept = kept(&project);
    if kept.is_file() {
        return Some(Trial::open(&runtime(), &kept).unwrap());
    }
    if let Some(missing) = berth_author::missing(&project) {
        left_out(&project.name, &missing);
        return None;
    }
    match berth_author::make(&project, &runtime(), Some(&kept)) {
        Ok(made) => Some(made.trial),
        Err(error) => panic!("{}: {error}: {:?}; {}", project.name, std::error::Error::source(&error), error.hint()),
    }
}

/// Of all that a component is made of: its sources, and what this repository puts around them.
fn digest(project: &Project) -> String {
    let root = fs::canonicalize(examples().join("../..")).unwrap();
    let mut sources = BTreeSet::new();
    let around = ["host/author/src", "plugins/Cargo.lock", "plugins/sdk", "wit"].map(|path| root.join(path));
    for place in around.iter().chain([&project.folder]) {
        files(place, &mut sources);
    }
    let mut digest = Sha256::new();
    for path in sources {
        let below = path.strip_prefix(&project.folder).or(path.strip_prefix(&root)).unwrap_or(&path);
        digest.update(below.to_string_lossy().as_bytes());
        digest.update(Sha256::digest(fs::read(&path).unwrap()));
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn files(place: &Path, found: &mut BTreeSet<PathBuf>) {
    if place.is_file() {
        found.insert(place.to_owned());
        return;
    }
    for entry in fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !["build", "node_modules", ".venv", "__pycache__"].contains(&name.as_str()) && !name.ends_with(".wasm") {
            files(&path, found);
        }
    }
}

fn conforms(policy: &str, language: &str) {
    let Some(trial) = component(policy, language) else { return };
    let faults = faults(&trial, &cases(&examples().join(policy).join("cases")));
    assert!(faults.is_empty(), "{policy} in {language}:\n{}", faults.join("\n"));
}

macro_rules! conform {
    ($($policy:ident: $($language:ident),*;)*) => {
        $(mod $policy {
            $(
                #[test]
                fn $language() {
                    super::conforms(stringify!($policy), stringify!($language));
                }
            )*
        })*
    };
}

conform! {
    region: rust, js, python, c, go;
    smallest: rust, js, python, c, go;
    leave: rust, js, python, c, go;
}
