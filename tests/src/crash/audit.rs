//! What must hold after a crash, as the API shows it and as the files have it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use berth_api::Object;
use berth_control::ports::Members;
use berth_sim::{Simulation, Source, example};
use serde_json::Value;

use super::client::{Answer, Client};
use super::fleet::{CLUSTERS, KINDS, Kind, Name, QUOTA_GPUS, Version, read};
use super::knowledge::{Knowledge, unknown};
use super::torn::Content;

/// Longest wait until everything is placed that can be, by the wall clock.
const SETTLING: Duration = Duration::from_secs(60);

fn ask(client: &Client, path: &str, faults: &mut Vec<String>) -> Value {
    // A busy program says so, and is asked again.
    for _ in 0..200 {
        match client.get(path) {
            Answer::Done(value) => return value,
            Answer::Refused(404, _) => break,
            Answer::Refused(429 | 503, _) => std::thread::sleep(Duration::from_millis(10)),
            Answer::Refused(status, why) => {
                faults.push(format!("GET {path}: {status}: {why}"));
                break;
            }
            Answer::Lost(why) => {
                faults.push(format!("GET {path}: {why}"));
                break;
            }
        }
    }
    Value::Null
}

fn items(value: &Value) -> &[Value] {
    value.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

/// Objects that clients wrote, of all that there are.
fn written<'a>(objects: impl IntoIterator<Item = &'a Value>, faults: &mut Vec<String>) -> Found {
    let mut found = BTreeMap::new();
    for (name, version) in objects.into_iter().filter_map(read) {
        match version {
            Ok(version) => _ = found.insert(name, version),
            Err(is) => faults.push(format!("{name} is not whole: {is}")),
        }
    }
    found
}

/// Objects that clients wrote.
pub(crate) type Found = BTreeMap<Name, Version>;

/// Those that the API shows.
pub(crate) fn served(client: &Client, faults: &mut Vec<String>) -> Found {
    let kinds: BTreeSet<&str> = KINDS.iter().map(|kind| kind.as_str()).collect();
    let answers: Vec<Value> =
        kinds.iter().map(|kind| ask(client, &format!("/api/v1/objects?kind={kind}"), faults)).collect();
    written(answers.iter().flat_map(items), faults)
}

/// Those that a store holds.
pub(crate) fn stored(content: &Content) -> Result<Found> {
    let values: Result<Vec<Value>, _> = content
        .objects
        .iter()
        .filter_map(|one| one.value.as_ref())
        .map(|bytes| serde_json::from_slice(bytes))
        .collect();
    let mut faults = Vec::new();
    let found = written(&values?, &mut faults);
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("; "));
    Ok(found)
}

/// Holds what is there against what clients know, and looks at what must hold at any time.
pub(crate) fn running(client: &Client, known: &mut [Knowledge], faults: &mut Vec<String>) {
    let found = served(client, faults);
    compare(known, &found, faults);
    let broken = ask(client, "/api/v1/policies", faults);
    if items(&broken).is_empty() {
        faults.push("no policy is loaded".to_owned());
    }
    let placements = ask(client, "/api/v1/objects?kind=placements", faults);
    let placements: Vec<&Value> = items(&placements).iter().collect();
    placed(&placements, faults);
    pools(&ask(client, "/api/v1/top", faults), faults);
}

fn compare(known: &mut [Knowledge], found: &Found, faults: &mut Vec<String>) {
    known.iter_mut().for_each(|one| one.check(found, faults));
    unknown(known, found, faults);
}

/// Quotas, gangs, and that every order has one owner.
fn placed(placements: &[&Value], faults: &mut Vec<String>) {
    let (mut gpus, mut owners) = (0, BTreeMap::new());
    for placement in placements {
        let (workload, namespace) =
            (text(placement, "/spec/workload/name"), text(placement, "/spec/workload/namespace"));
        let Some(kind) = Kind::of(workload) else { continue };
        let replicas = replicas(placement) as u32;
        if namespace == "a" {
            gpus += replicas * kind.gpus();
        }
        if kind == Kind::Gang && ![0, kind.replicas(0)].contains(&replicas) {
            faults.push(format!("{replicas} members of gang {namespace}/{workload} are placed"));
        }
        for order in reservations(placement) {
            if let Some(other) = owners.insert(text(order, "/id").to_owned(), workload) {
                faults.push(format!("order {} belongs to {other} and to {workload}", text(order, "/id")));
            }
        }
    }
    if gpus > QUOTA_GPUS {
        faults.push(format!("{gpus} GPUs are placed for a namespace that may have {QUOTA_GPUS}"));
    }
}

fn replicas(placement: &Value) -> u64 {
    let shares = placement.pointer("/spec/shares").and_then(Value::as_array);
    shares.into_iter().flatten().map(|share| number(share, "/replicas")).sum()
}

fn reservations(placement: &Value) -> impl Iterator<Item = &Value> {
    placement.pointer("/status/reservations").and_then(Value::as_array).into_iter().flatten()
}

fn pools(top: &Value, faults: &mut Vec<String>) {
    for pool in top.get("pools").and_then(Value::as_array).into_iter().flatten() {
        let (nodes, ordered, max) = (number(pool, "/nodes"), number(pool, "/ordered"), number(pool, "/max"));
        if nodes + ordered > max {
            faults.push(format!(
                "pool {}: {nodes} nodes and {ordered} on their way, {max} at the most",
                text(pool, "/name")
            ));
        }
    }
}

/// Waits until everything is placed that can be, and holds the members against the placements: no replica more, none less,
/// nothing reserved, and no node that nobody needs.
pub(crate) fn settled(client: &Client) -> Result<(), String> {
    let begun = Instant::now();
    let mut last = Vec::new();
    while begun.elapsed() < SETTLING {
        let mut faults = Vec::new();
        let status = ask(client, "/api/v1/status", &mut faults);
        let state = text(&status, "/settled").to_owned();
        if state == "working" {
            faults.push(format!("it is still working: {status}"));
        } else {
            at_rest(client, &mut faults);
        }
        if faults.is_empty() {
            return Ok(());
        }
        last = faults;
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("after {} s: {}", SETTLING.as_secs(), last.join("; ")))
}

fn at_rest(client: &Client, faults: &mut Vec<String>) {
    let top = ask(client, "/api/v1/top", faults);
    let workloads = ask(client, "/api/v1/workloads", faults);
    let mut all_ready = 0;
    for row in items(&workloads) {
        let (wanted, here, ready) = (number(row, "/wanted"), number(row, "/placed"), number(row, "/ready"));
        if Kind::of(text(row, "/workload/name")) == Some(Kind::ConfigMap) {
            continue;
        }
        all_ready += ready;
        // Replicas that lost their node and find no other stay placed; the workload waits then, with a reason.
        let waits = row.get("waiting").is_some_and(Value::is_object);
        if ready > here || here > wanted || !waits && (ready < here || here < wanted) {
            faults.push(format!("{wanted} wanted, {here} placed, {ready} ready: {}", row["workload"]));
        }
    }
    // Every pod at a member takes one of its nodes' places for pods, whether a placement says so or not.
    let mut running = 0;
    for cluster in top.get("clusters").and_then(Value::as_array).into_iter().flatten() {
        let resources = cluster.get("resources").and_then(Value::as_array);
        let pods = resources.into_iter().flatten().find(|one| text(one, "/name") == "pods");
        running += pods
            .map_or(0, |pods| number(pods, "/allocatable") - number(pods, "/free").min(number(pods, "/allocatable")));
    }
    if running != all_ready {
        faults.push(format!("{running} pods run at the members, and {all_ready} replicas that are placed are ready"));
    }
    let placements = ask(client, "/api/v1/objects?kind=placements", faults);
    for placement in items(&placements) {
        for order in reservations(placement) {
            faults.push(format!("{} still holds {order}", text(placement, "/spec/workload/name")));
        }
    }
    for pool in top.get("pools").and_then(Value::as_array).into_iter().flatten() {
        if number(pool, "/ordered") > 0 {
            faults.push(format!("nodes are on their way, and nobody waits for them: {pool}"));
        }
    }
}

/// What the files of a folder hold, read with the library: the store opens, everything in it can be read, and clients find
/// in it what they know. The folder is changed by that; it is to be a copy.
pub(crate) fn files(folder: &Path, known: &mut [Knowledge], faults: &mut Vec<String>) -> Result<()> {
    let content = Content::read(folder).context("the store does not open, or not everything in it can be read")?;
    faults.extend(content.lost_entries());
    let mut values = Vec::new();
    for one in &content.objects {
        match one.value.as_ref().map(|bytes| serde_json::from_slice::<Value>(bytes)) {
            Some(Ok(value)) => values.push(value),
            Some(Err(error)) => faults.push(format!("{}: {error}", one.key)),
            None => {}
        }
    }
    let found = written(&values, faults);
    compare(known, &found, faults);
    let placements: Vec<&Value> = values.iter().filter(|value| text(value, "/kind") == "Placement").collect();
    placed(&placements, faults);
    for placement in &placements {
        let unknown = |share: &&Value| !CLUSTERS.contains(&text(share, "/cluster"));
        let shares = placement.pointer("/spec/shares").and_then(Value::as_array);
        if let Some(share) = shares.into_iter().flatten().find(unknown) {
            faults.push(format!(
                "{} is placed in a cluster that is not there: {share}",
                text(placement, "/metadata/name")
            ));
        }
    }
    world(folder, &content, faults)
}

/// The simulated fleet as it was when the program died: no order was carried out twice.
fn world(folder: &Path, content: &Content, faults: &mut Vec<String>) -> Result<()> {
    let read = |name: &str| fs::read(folder.join(name)).unwrap_or_default();
    let saved = read("world.json");
    // It died before it first saved its world.
    if saved.is_empty() {
        return Ok(());
    }
    // Notes of Berth's own, such as the number of the newest plan, are no objects.
    let values = content.objects.iter().filter_map(|one| one.value.as_ref());
    let objects: Vec<Object> = values.filter_map(|bytes| Object::from_json(bytes).ok()).collect();
    let spec = example::simulation(&objects);
    let source = Source::Dir(folder.to_owned());
    let restored = Simulation::restore(&saved, &read("world.journal"), &objects, spec, &source);
    let mut world = restored.context("the simulated fleet cannot be taken up")?;
    let mut delivered: BTreeMap<String, u64> = BTreeMap::new();
    for name in CLUSTERS {
        let members = world.ports().members;
        for node in members.observe(&name.into()).into_iter().flat_map(|seen| &seen.nodes) {
            if let Some(order) = &node.order {
                *delivered.entry(order.to_string()).or_default() += 1;
            }
        }
    }
    let saved = world.save();
    let rest = saved.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default();
    let value: Value = serde_json::from_slice(rest)?;
    let orders =
        value.pointer("/provider/orders").and_then(Value::as_array).context("the saved fleet has no orders")?;
    for order in orders {
        let (id, nodes) = (self::text(order, "/0"), number(order, "/1/order/nodes"));
        let came = delivered.get(id).copied().unwrap_or(0);
        if came > nodes {
            faults.push(format!("order {id} was for {nodes} nodes, and {came} came"));
        }
    }
    Ok(())
}
