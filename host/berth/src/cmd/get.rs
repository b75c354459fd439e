//! `berth get`.

use crate::cli::ServerArgs;
use crate::client::Client;
use crate::fail::{Exit, hinted};
use crate::output::text::{dash, short_digest};
use crate::output::{self, Format, Table, objects};
use crate::wire::{Items, Objects};
use berth_control::view::{WorkloadAt, WorkloadRow};
use berth_core::native::NO_POLICY;
use berth_core::placement::PolicyRef;
use serde_json::{Value, json};

/// List objects, or show one
///
/// `workloads` shows every application with its replicas by cluster. Any other word is a kind, in any spelling: clusters,
/// nodepools (np), offerings (of), placements (pl), distributionpolicies (dp), overridepolicies (op), quotatrees, and every
/// kind that was applied, such as deployments.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth get workloads -A
  berth get deployment qwen3-8b -o yaml
  berth get placements -n default
  berth get offerings -o json"
)]
pub(crate) struct GetArgs {
    /// Kind, such as workloads, clusters or deployment
    kind: String,
    /// Name of one object
    name: Option<String>,
    /// Namespace to look in
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Look in all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// How to print it; json and yaml show the objects whole
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &GetArgs) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server)?;
    let namespace = if args.all_namespaces { "" } else { args.namespace.as_str() };
    if matches!(args.kind.to_lowercase().as_str(), "workload" | "workloads" | "wl") {
        return workloads(args, &client, namespace);
    }
    let mut query = vec![("kind", args.kind.as_str()), ("namespace", namespace)];
    query.extend(args.name.as_deref().map(|name| ("name", name)));
    let found: Objects = client.list("/api/v1/objects", &query)?;
    if let Some(name) = &args.name {
        // One object is printed as itself, not as a list.
        match found.items.as_slice() {
            [] => return Err(not_found(&found.kind, name, namespace)),
            [one] if args.output != Format::Table => {
                output::print(args.output, one, |_| String::new())?;
                return Ok(Exit::Done);
            }
            _ => {}
        }
    }
    if found.items.is_empty() && args.output == Format::Table {
        eprintln!("no {} found{}", found.kind, inside(namespace));
        return Ok(Exit::Done);
    }
    let table = objects::table(&found.kind, &found.items);
    output::print(args.output, &list(found.items), |_| table)?;
    Ok(Exit::Done)
}

/// A list as `kubectl` prints it, which `berth apply` takes.
fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn workloads(args: &GetArgs, client: &Client, namespace: &str) -> anyhow::Result<Exit> {
    let mut found: Items<WorkloadRow> = client.list("/api/v1/workloads", &[("namespace", namespace)])?;
    if let Some(name) = &args.name {
        found.items.retain(|row| *row.workload.name == **name);
        if found.items.is_empty() {
            return Err(not_found("workload", name, namespace));
        }
    }
    if found.items.is_empty() && args.output == Format::Table {
        eprintln!("no workload found{}; `berth apply -f FILE` brings one", inside(namespace));
        return Ok(Exit::Done);
    }
    output::print(args.output, &found, |found| workload_table(&found.items))?;
    Ok(Exit::Done)
}

fn not_found(kind: &str, name: &str, namespace: &str) -> anyhow::Error {
    let hint = if namespace.is_empty() { "" } else { "-n NAMESPACE looks in another namespace, -A in all" };
    hinted(format!("{kind} {name:?} not found{}", inside(namespace)), hint).into()
}

fn inside(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!(" in namespace {namespace}") }
}

fn workload_table(rows: &[WorkloadRow]) -> String {
    let mut table =
        Table::new(&["NAMESPACE", "WORKLOAD", "WANTED", "PLACED", "READY", "CLUSTERS", "POLICY", "WAITS FOR"]);
    for row in rows {
        let kind = row.workload.kind.rsplit('/').next().unwrap_or_default();
        let clusters: Vec<String> = row.clusters.iter().map(|at| place(at, row.wanted > 0)).collect();
        table.row([
            row.workload.namespace.to_string(),
            format!("{kind}/{}", row.workload.name),
            row.wanted.to_string(),
            row.placed.to_string(),
            row.ready.to_string(),
            dash(&clusters.join(" ")),
            row.by.as_ref().map_or("-".to_owned(), decider),
            row.waiting.as_ref().map_or(String::new(), ToString::to_string),
        ]);
    }
    table.render()
}

/// A cluster with its replicas; objects without replicas are only there or not.
fn place(at: &WorkloadAt, counted: bool) -> String {
    if counted { format!("{}:{}", at.cluster, at.replicas) } else { at.cluster.to_string() }
}

/// Name and digest of the policy; a dash where the host alone decided.
fn decider(by: &PolicyRef) -> String {
    if by.name.as_str() == NO_POLICY { "-".to_owned() } else { format!("{}@{}", by.name, short_digest(&by.digest)) }
}
