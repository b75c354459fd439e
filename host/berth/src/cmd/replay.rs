//! `berth replay`: recorded calls decided again by another policy, and what would have changed. And which recorded calls are
//! meant, for all commands that read them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use berth_control::rfc3339;
use berth_core::ids::Millis;
use berth_core::policy::Kind;
use berth_policy::{Faults, Recorded, Records, Replay, Replayed, Runtime, Seat, Totals, Trial, WallClock};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::fail::{Exit, hinted};
use crate::output::text::{count, number, short_digest};
use crate::output::{self, Format, Table};
use crate::run::fleet::RECORDS;

/// Decide recorded calls again with another policy, and show what would have changed
///
/// A controller records every call of a policy in its data directory. This reads the records, also while the controller
/// runs, and changes nothing. Each call is put to the policy as a controller would, in sessions, within the limits of the
/// policy that was asked, and the answer is held against the same rules; only time is not limited, so that the result does
/// not depend on the machine. Each call is decided by itself, on the fleet as it was then.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth replay --policy cheaper.wasm --since 1h
  berth replay --policy policies/cost.wasm --config '{\"keepCurrent\": 0.8}' --name cost
  berth replay --policy cheaper.wasm --workload default/web --data-dir /var/lib/berth -o json

Exit codes: 0 replayed; 1 nothing to replay, or the policy is refused."
)]
pub(crate) struct ReplayArgs {
    /// The component that decides
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Its configuration: JSON, or @FILE [default: what each call was recorded with, where the policy takes it]
    #[arg(long, value_name = "JSON|@FILE")]
    config: Option<String>,
    #[command(flatten)]
    which: WhichArgs,
    /// Decide no more than so many calls, the newest
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Show so many of the largest differences
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Which recorded calls are meant.
#[derive(Debug, Args)]
pub(super) struct WhichArgs {
    /// Data directory of the controller, or a copy of it
    #[arg(long, value_name = "DIR", default_value = "berth-data/example")]
    data_dir: PathBuf,
    /// Only this long back from the newest call, by the controller's clock, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = super::run::duration)]
    since: Option<Duration>,
    /// Only calls of the policy of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only calls about this workload
    #[arg(long, value_name = "NS/NAME", value_parser = workload)]
    workload: Option<(String, String)>,
}

fn workload(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let owned = parts.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    owned.ok_or_else(|| "use NAMESPACE/NAME, such as default/web".to_owned())
}

impl WhichArgs {
    /// The calls that are meant, and the reader, which knows what was skipped.
    pub(super) fn open(&self) -> anyhow::Result<Records> {
        let dir = self.data_dir.join(RECORDS);
        let hint =
            "name the controller's data directory with --data-dir; a controller with --records-size 0 records nothing";
        let unread = || hinted(format!("there are no records in {}", dir.display()), hint);
        let records = Records::open(&dir).with_context(unread)?;
        let newest = records.newest_ms().ok_or_else(unread)?;
        let since = self.since.map_or(0, |since| newest.saturating_sub(since.as_millis() as u64));
        Ok(records.from(since))
    }

    pub(super) fn means(&self, kind: Option<Kind>, one: &Recorded) -> bool {
        kind.is_none_or(|kind| one.call.question.kind() == kind)
            && self.name.as_ref().is_none_or(|name| one.call.slot.as_str() == name)
            && self.workload.as_ref().is_none_or(|(namespace, name)| one.is_about(namespace, name))
    }

    pub(super) fn nothing(&self, kind: &str) -> anyhow::Error {
        let what = format!("no recorded call of {kind} fits in {}", self.data_dir.join(RECORDS).display());
        hinted(what, "widen --since, --name and --workload").into()
    }
}

/// Says on stderr what of the records could not be used.
pub(super) fn warn(faults: &Faults) {
    for fault in &faults.first {
        eprintln!("warning: {}: {}; skipped", fault.file.display(), fault.what);
    }
    let more = faults.count - faults.first.len() as u64;
    if more > 0 {
        eprintln!("warning: {more} more places of the records are damaged and were skipped");
    }
}

/// What would have changed, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    policy: String,
    version: String,
    digest: String,
    kind: Kind,
    totals: Totals,
    examples: Vec<Example>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Example {
    what: String,
    at_ms: u64,
    slot: String,
    by: String,
    moved: u64,
    /// Why it is as it is, where an answer is none, or did not hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    seats: Vec<Seat>,
}

pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<Exit> {
    // Fuel alone limits, so that the result does not depend on the machine.
    let refused = |error| super::policy::refused(&args.policy, error);
    let trial = Trial::open(&Runtime::new(WallClock::Off)?, &args.policy).map_err(refused)?;
    let inspection = trial.inspection();
    let kind = inspection.description.kind;
    let config = args.config.as_deref().map(config).transpose()?;
    let mut replay = Replay::new(&trial, config).map_err(refused)?;
    let mut records = args.which.open()?;
    let means = |one: &Recorded| args.which.means(Some(kind), one);
    if let Some(limit) = args.limit {
        records.keep_newest(limit, means);
    }
    let (mut totals, mut largest) = (Totals::default(), Vec::new());
    let (begun, mut told) = (Instant::now(), Instant::now());
    loop {
        let block: Vec<Recorded> = records.by_ref().filter(means).take(Replay::round()).collect();
        if block.is_empty() {
            break;
        }
        for one in replay.decide(block).map_err(refused)? {
            totals.add(&one, replay.needs());
            keep(&mut largest, one, args.examples);
        }
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            eprintln!("{} calls", totals.calls);
        }
    }
    warn(records.faults());
    if totals.calls == 0 {
        return Err(args.which.nothing(&format!("a {} policy", kind.as_str())));
    }
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!(
        "{} decided again in {seconds:.1} s, {:.0} a second",
        count(totals.calls, "call"),
        totals.calls as f64 / seconds
    );
    let outcome = Outcome {
        policy: inspection.description.name.to_string(),
        version: inspection.description.version.to_string(),
        digest: inspection.digest.to_string(),
        kind,
        totals,
        examples: largest.iter().map(example).collect(),
    };
    output::print(args.output, &outcome, table)?;
    Ok(Exit::Done)
}

fn config(text: &str) -> anyhow::Result<Map<String, Value>> {
    let read = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| hinted(format!("{file} cannot be read"), ""))?,
        None => text.to_owned(),
    };
    let hint = "a configuration is a JSON object, such as '{\"keepCurrent\": 0.8}', or @FILE with one";
    serde_json::from_str(&read).with_context(|| hinted("--config is no configuration", hint))
}

/// Keeps the largest differences, and of equal ones the earlier.
fn keep(largest: &mut Vec<Replayed>, one: Replayed, most: usize) {
    if one.weight() == 0 {
        return;
    }
    let place = largest.partition_point(|known| known.weight() >= one.weight());
    if place < most {
        largest.insert(place, one);
        largest.truncate(most);
    }
}

fn example(one: &Replayed) -> Example {
    let call = &one.recorded.call;
    let mut notes = Vec::new();
    if let Some((by, why)) = &call.failed {
        notes.push(format!("before: {} failed, {why}; the built-in policy decided", by.name));
    }
    if let Some(rule) = &one.recorded.broke_rule {
        notes.push(format!("before: the answer broke a rule, {rule}; the built-in policy decided"));
    }
    if let Err(problem) = &one.before {
        notes.push(format!("before: {}", problem.message));
    }
    if let Some(why) = &one.failed {
        notes.push(format!("after: it fails, {why}; the built-in policy would decide"));
    }
    if let Some(rule) = &one.refused {
        notes.push(format!("after: the answer breaks a rule, {rule}; the built-in policy would decide"));
    }
    if let Err(problem) = &one.after {
        notes.push(format!("after: {}", problem.message));
    }
    let (slot, by) = (call.slot.to_string(), call.by.name.to_string());
    let what = call.question.about();
    Example { what, at_ms: call.at_ms, slot, by, moved: one.compared.moved, notes, seats: one.seats() }
}

fn table(outcome: &Outcome) -> String {
    let Outcome { policy, version, digest, kind, totals, examples } = outcome;
    let mut text =
        format!("{policy} {version} ({}) on {}\n", short_digest(digest), count(totals.calls, "recorded call"));
    text.push_str(&format!("{} of {} same", totals.same, totals.calls));
    let same = totals.same == totals.calls && totals.identical == totals.calls;
    text.push_str(if same { ", bit for bit\n\n" } else { "\n\n" });
    let mut rows = Table::new(&["", "BEFORE", "AFTER"]);
    let mut row = |name: &str, before: String, after: String| rows.row([name.to_owned(), before, after]);
    let (before, after) = (&totals.before, &totals.after);
    let whole = |number: u64| number.to_string();
    if *kind != Kind::Migration {
        row("replicas placed", whole(before.placed), whole(after.placed));
        row("replicas waiting", whole(before.waiting), whole(after.waiting));
    }
    if *kind == Kind::Placement {
        row("USD an hour", number(before.usd_per_hour), number(after.usd_per_hour));
    }
    let leaving = if *kind == Kind::Gang { "workloads preempted" } else { "running replicas that leave" };
    row(leaving, whole(before.leaving), whole(after.leaving));
    row("calls without an answer", whole(totals.problems_before), whole(totals.problems_after));
    let per = |fuel: u64| whole(fuel / totals.calls.max(1));
    row("fuel a call", per(totals.fuel_before), per(totals.fuel_after));
    text.push_str(&rows.render());
    text.push_str(&format!("\n{} would be elsewhere", count(totals.moved, "replica")));
    text.push_str(&format!("; {} refused by the check, {} failed\n", totals.refused, totals.failed));
    for (need, calls) in &totals.lacking {
        text.push_str(&format!("note: {} may lack `{need}`, which the policy needs\n", count(*calls, "call")));
    }
    examples.iter().for_each(|example| text.push_str(&explained(example)));
    text
}

fn explained(example: &Example) -> String {
    let Example { what, at_ms, slot, by, moved, notes, seats } = example;
    let at = rfc3339(Millis(*at_ms));
    let mut text =
        format!("\n{what} at {at}, asked of {slot}, decided by {by}: {} elsewhere\n", count(*moved, "replica"));
    notes.iter().for_each(|note| text.push_str(&format!("  {note}\n")));
    let terms = |terms: &[(std::sync::Arc<str>, f64)]| {
        let each: Vec<String> = terms.iter().map(|(name, value)| format!("{name} {}", number(*value))).collect();
        output::text::dash(&each.join(", "))
    };
    let mut rows = Table::new(&["  AT", "BEFORE", "AFTER", "WHY BEFORE", "WHY AFTER"]);
    for seat in seats {
        let (before, after) = (seat.before.to_string(), seat.after.to_string());
        rows.row([format!("  {}", seat.at), before, after, terms(&seat.terms_before), terms(&seat.terms_after)]);
    }
    if !seats.is_empty() {
        text.push_str(&rows.render());
    }
    text
}

/// Recorded calls as cases: `berth policy record`.
pub(super) fn choose(
    which: &WhichArgs,
    kind: Option<Kind>,
    limit: usize,
    means: impl Fn(&Recorded) -> bool,
) -> anyhow::Result<VecDeque<Recorded>> {
    let mut records = which.open()?;
    let mut seen = std::collections::BTreeSet::new();
    let mut chosen = VecDeque::new();
    for one in records.by_ref().filter(|one| which.means(kind, one) && means(one)) {
        // Of calls that are alike one is enough; the newest kinds of calls are kept.
        if seen.insert(one.mark()) {
            chosen.push_back(one);
            if chosen.len() > limit {
                chosen.pop_front();
            }
        }
    }
    warn(records.faults());
    if chosen.is_empty() {
        return Err(which.nothing("a policy of that kind"));
    }
    Ok(chosen)
}
