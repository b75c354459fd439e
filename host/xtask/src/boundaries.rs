//! Which crate may use which: dependencies point one way, and heavy ones stay in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Each crate of the workspace with those of the workspace that it may use. Tests of a crate may use more.
const LAYERS: [(&str, &[&str]); 11] = [
    ("berth-core", &[]),
    ("berth-api", &["berth-core"]),
    ("berth-policy", &["berth-core"]),
    ("berth-author", &["berth-core", "berth-policy"]),
    ("berth-control", &["berth-core", "berth-api", "berth-policy"]),
    ("berth-kube", &["berth-core", "berth-api", "berth-policy", "berth-control"]),
    ("berth-sim", &["berth-core", "berth-api", "berth-policy", "berth-control"]),
    ("berth", &["berth-core", "berth-api", "berth-author", "berth-policy", "berth-control", "berth-kube", "berth-sim"]),
    ("xtask", &["berth-core", "berth-api", "berth-policy", "berth-control", "berth-sim", "berth-tests"]),
    ("berth-input", &["berth-core", "berth-api", "berth-policy", "berth-control", "berth-sim", "berth"]),
    ("berth-tests", &["berth-core", "berth-api", "berth-policy", "berth-control", "berth-kube", "berth-sim"]),
];

/// Foreign crates that only one crate may use directly.
const OWNED: [(&str, &str); 4] = [
    ("wasmtime", "berth-policy"),
    ("kube", "berth-kube"),
    ("kube-runtime", "berth-kube"),
    ("k8s-openapi", "berth-kube"),
];

/// Foreign crates that a crate may not even use through others.
const NEVER: [(&str, &[&str]); 2] =
    [("berth-core", &["tokio", "kube", "wasmtime"]), ("berth-api", &["tokio", "kube", "wasmtime"])];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// `dev`, `build`, or nothing for a normal dependency.
    kind: Option<String>,
}

/// Checks the workspace at `root`.
///
/// # Errors
/// Every edge that should not be.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root).output();
    let output = output.context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    let faults = faults(&serde_json::from_slice(&output.stdout).context("cargo metadata is not as expected")?);
    ensure!(faults.is_empty(), "{}\nsee the table at the head of host/xtask/src/boundaries.rs", faults.join("\n"));
    println!("crates use only what they may");
    Ok(())
}

fn faults(metadata: &Metadata) -> Vec<String> {
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let name = |id: &str| names.get(id).copied().unwrap_or("an unknown package");
    // Edges that count: all but those of tests.
    let edges: BTreeMap<&str, Vec<&str>> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| {
            let counts =
                |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"));
            (node.id.as_str(), node.deps.iter().filter(counts).map(|dependency| dependency.pkg.as_str()).collect())
        })
        .collect();
    let mut faults = Vec::new();
    for member in &metadata.workspace_members {
        let user = name(member);
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == user) else {
            faults.push(format!("{user} has no place in the table of layers"));
            continue;
        };
        for used in edges.get(member.as_str()).into_iter().flatten() {
            let ours = metadata.workspace_members.contains(*used);
            if ours && !allowed.contains(&name(used)) {
                faults.push(format!("{user} -> {}: that points the wrong way", name(used)));
            }
            let owner = OWNED.iter().find(|(crate_name, _)| *crate_name == name(used));
            if let Some((_, owner)) = owner.filter(|(_, owner)| *owner != user) {
                faults.push(format!("{user} -> {}: only {owner} may use it", name(used)));
            }
        }
        for forbidden in NEVER.iter().filter(|(crate_name, _)| *crate_name == user).flat_map(|(_, never)| *never) {
            if let Some(path) = path_to(member, forbidden, &edges, &name) {
                faults.push(format!("{}: {user} may not use {forbidden}, even through others", path.join(" -> ")));
            }
        }
    }
    faults
}

/// The shortest way from a package to one named `wanted`.
fn path_to<'a>(
    start: &'a str,
    wanted: &str,
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
    name: &impl Fn(&str) -> &'a str,
) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::from([start]);
    while let Some(found) = (!ways.is_empty()).then(|| ways.remove(0)) {
        let last = *found.last()?;
        if name(last) == wanted {
            return Some(found.into_iter().map(name).collect());
        }
        for next in edges.get(last).into_iter().flatten().copied().filter(|next| seen.insert(next)) {
            ways.push(found.iter().copied().chain([next]).collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::{Value, json};

    use super::*;

    /// A package and the kind of dependency that it is.
    type Use = (&'static str, Option<&'static str>);

    /// Packages with what they use; those that start with `berth` are members.
    fn metadata(packages: &[(&str, &[Use])]) -> Metadata {
        let names = packages.iter().map(|(name, _)| *name);
        let nodes = packages.iter().map(|(name, uses)| {
            let deps = uses.iter().map(|(used, kind)| json!({"pkg": used, "dep_kinds": [{"kind": kind}]}));
            json!({"id": name, "deps": deps.collect::<Vec<Value>>()})
        });
        serde_json::from_value(json!({
            "packages": names.clone().map(|name| json!({"id": name, "name": name})).collect::<Vec<Value>>(),
            "workspace_members": names.filter(|name| name.starts_with("berth")).collect::<Vec<_>>(),
            "resolve": {"nodes": nodes.collect::<Vec<Value>>()},
        }))
        .unwrap()
    }

    #[test]
    fn edges_that_point_right_are_no_fault() {
        let good = metadata(&[
            ("berth-core", &[("berth-sim", Some("dev")), ("serde", None)]),
            ("berth-policy", &[("berth-core", None), ("wasmtime", None)]),
            ("berth-control", &[("berth-policy", None)]),
            ("berth-sim", &[("berth-control", None)]),
            ("serde", &[]),
            ("wasmtime", &[("tokio", None)]),
            ("tokio", &[]),
        ]);
        assert_eq!(faults(&good), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_wrong_edge_is_named() {
        let bad = metadata(&[
            ("berth-core", &[("berth-api", None), ("between", Some("build"))]),
            ("berth-api", &[]),
            ("berth-control", &[("wasmtime", None)]),
            ("berth-else", &[]),
            ("between", &[("tokio", None)]),
            ("tokio", &[]),
            ("wasmtime", &[]),
        ]);
        assert_eq!(
            faults(&bad),
            [
                "berth-control -> wasmtime: only berth-policy may use it",
                "berth-core -> berth-api: that points the wrong way",
                "berth-core -> between -> tokio: berth-core may not use tokio, even through others",
                "berth-else has no place in the table of layers",
            ]
        );
    }

    #[test]
    fn this_workspace_has_no_wrong_edge() {
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    }
}
