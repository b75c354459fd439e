//! The auditor shares no code with what it checks: of the other crates it uses plain values and ports alone.

use std::fs;
use std::path::{Path, PathBuf};

/// What it may use: values that say nothing about how anything is decided, the ports that it reads through, and how numbers
/// and times are written.
const MAY: &[&str] = &[
    "berth_api::Object",
    "berth_api::duration::Duration",
    "berth_api::quantity::base",
    "berth_api::quantity::from_value",
    "berth_control::Settings",
    "berth_control::event::Event",
    "berth_control::event::What",
    "berth_control::ports::",
    "berth_core::fleet::OfferingKey",
    "berth_core::fleet::Stock",
    "berth_core::fleet::StockState",
    "berth_core::ids::",
    "berth_core::reason::Code",
];

/// The paths that a piece of source names, with every name of a group on its own.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let comments = |line: &&str| !line.trim_start().starts_with("//");
    let code: String = text.lines().filter(comments).collect::<Vec<_>>().join("\n");
    for (at, _) in code.match_indices("berth_") {
        let rest = &code[at..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        let (path, tail) = rest.split_at(end);
        match tail.strip_prefix('{').and_then(|tail| tail.split_once('}')) {
            Some((group, _)) if path.ends_with("::") => {
                let names = group.split(',').map(str::trim).filter(|name| !name.is_empty());
                found.extend(names.map(|name| format!("{path}{}", name.split(" as ").next().unwrap_or(name))));
            }
            _ => found.push(path.to_owned()),
        }
    }
    found
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("tests") => {}
            true => sources(&path, files),
            false => files.push(path),
        }
    }
}

#[test]
fn it_uses_nothing_that_it_checks() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("audit.rs")];
    sources(&source.join("audit"), &mut files);
    assert!(files.len() > 15, "{files:?}");
    let allowed =
        |path: &String| MAY.iter().any(|may| if may.ends_with("::") { path.starts_with(may) } else { *path == *may });
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let others: Vec<String> = paths(&text).into_iter().filter(|path| !allowed(path)).collect();
        assert_eq!(others, [""; 0], "{}: is not among what the auditor may use", file.display());
        for part in ["crate::soak", "crate::drive", "crate::simulate"] {
            assert!(!text.contains(part), "{}: {part}", file.display());
        }
    }
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let text = "use berth_core::plan::{Plan, Planner as P};\n// berth_core::check\nlet a = berth_control::state::State::new();";
    assert_eq!(
        paths(text),
        ["berth_core::plan::Plan", "berth_core::plan::Planner", "berth_control::state::State::new"]
    );
}
