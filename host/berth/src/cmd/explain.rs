//! `berth explain`.

use berth_control::view::{DecisionRow, Explanation, Verdict};
use berth_core::native::NO_POLICY;
use berth_core::placement::PolicyRef;

use crate::cli::ServerArgs;
use crate::client::Client;
use crate::fail::{Exit, hinted};
use crate::output::text::{count, number, short_digest, span};
use crate::output::{self, Format, Table};
use crate::wire::Explained;

/// Say why a workload runs where it does, and why not elsewhere
///
/// For each cluster: the replicas that it got, or the reason why it got none; the room, price and lead time that the policy
/// saw; and the numbers that the policy says decided. Then the story: the last decisions and what happened since.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth explain qwen3-8b
  berth explain pytorchjob/finetune -n research
  berth explain qwen3-8b -o json"
)]
pub(crate) struct ExplainArgs {
    /// Name, or kind/name where a name is not enough
    workload: String,
    /// Namespace of the workload
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<Exit> {
    let (kind, name) = match args.workload.split_once('/') {
        Some((kind, name)) => (kind, name),
        None => ("", args.workload.as_str()),
    };
    if name.is_empty() {
        return Err(hinted("the workload has no name", "write NAME or KIND/NAME").into());
    }
    let query = [("kind", kind), ("namespace", args.namespace.as_str()), ("name", name)];
    let explained: Explained = Client::new(&args.server)?.get("/api/v1/explain", &query)?;
    output::print(args.output, &explained, render)?;
    Ok(Exit::Done)
}

fn render(explained: &Explained) -> String {
    let Explanation { row, decision, clusters, history } = &explained.explanation;
    let mut text = format!(
        "{}: {} wanted, {} placed, {} ready\n",
        row.workload,
        count(row.wanted.into(), "replica"),
        row.placed,
        row.ready
    );
    if let Some(reason) = &row.waiting {
        text.push_str(&format!("waits: {reason}\n"));
    }
    let Some(decision) = decision else {
        text.push_str("no decision yet\n");
        return text;
    };
    let age = span(explained.now.since(decision.at));
    match decision.by.name.as_str() {
        NO_POLICY => text.push_str(&format!("decided {age} ago without a policy")),
        _ => text.push_str(&format!("decided {age} ago by {}", policy(&decision.by))),
    }
    if decision.fuel > 0 {
        text.push_str(&format!(", {} fuel", decision.fuel));
    }
    text.push_str(&format!(", plan {}\n", decision.plan.0));
    if let Some((failed, what)) = &decision.failed {
        text.push_str(&format!("  instead of {}, which failed: {what}\n", policy(failed)));
    }
    text.push('\n');
    text.push_str(&verdicts(clusters));
    text.push_str("\nLast decisions, newest first:\n");
    for decision in std::iter::once(decision).chain(history) {
        text.push_str(&story(decision, explained.now.since(decision.at)));
    }
    if !explained.events.is_empty() {
        text.push_str("\nWhat happened:\n");
        for event in &explained.events {
            text.push_str(&format!("  {:>7} ago  {event}\n", span(explained.now.since(event.at))));
        }
    }
    text
}

fn policy(by: &PolicyRef) -> String {
    match by.name.as_str() {
        NO_POLICY => "no policy".to_owned(),
        name => format!("{name} {} ({})", by.version, short_digest(&by.digest)),
    }
}

fn verdicts(clusters: &[Verdict]) -> String {
    let mut table = Table::new(&["CLUSTER", "REPLICAS", "READY ROOM", "ELASTIC ROOM", "USD/H", "LEAD", "TIER", "WHY"]);
    for verdict in clusters {
        let candidate = |show: fn(&berth_control::view::CandidateRow) -> String| {
            verdict.candidate.as_ref().map_or("-".to_owned(), show)
        };
        let terms: Vec<String> =
            verdict.terms.iter().map(|(name, value)| format!("{name}={}", number(*value))).collect();
        let why = match (&verdict.reason, terms.is_empty()) {
            (None, true) => "chosen".to_owned(),
            (None, false) => format!("chosen: {}", terms.join(" ")),
            (Some(reason), true) => reason.to_string(),
            (Some(reason), false) => format!("{reason}; {}", terms.join(" ")),
        };
        table.row([
            verdict.cluster.to_string(),
            verdict.replicas.to_string(),
            candidate(|row| row.ready.to_string()),
            candidate(|row| row.elastic.to_string()),
            candidate(|row| number(row.price)),
            candidate(|row| format!("{}s", row.lead_seconds)),
            candidate(|row| row.tier.to_string()),
            why,
        ]);
    }
    table.render()
}

fn story(decision: &DecisionRow, age: u64) -> String {
    let changes: Vec<String> = decision.clusters.iter().map(ToString::to_string).collect();
    let changes = if changes.is_empty() { "nothing placed".to_owned() } else { changes.join(", ") };
    let short = decision.short.as_ref().map_or(String::new(), |reason| format!("; rest waits: {reason}"));
    format!("  {:>7} ago  {changes} by {}{short}\n", span(age), policy(&decision.by))
}
