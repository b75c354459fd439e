//! `berth policy`: list what a controller has loaded; look at one file, or try one decision, without a controller; and
//! write, build, test, measure and sign a policy; and put it into a registry, or get it from there.

mod author;
mod bench;
mod record;
mod registry;
mod slots;
mod trial;
mod trust;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use berth_policy::{Case, CaseError, Inspection, Runtime, WallClock};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::{ServerArgs, TrustArgs};
use crate::client::Client;
use crate::fail::{Exit, hinted};
use crate::output::text::{dash, short_digest};
use crate::output::{self, Format, Table};
use crate::run::policies;
use crate::wire::{Items, PolicyRow};

/// Write, build, test, measure, sign, inspect, push and pull policies, and list those of a controller
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    arg_required_else_help = true,
    after_help = "\
Examples:
  berth policy new near --kind placement --lang python
  berth policy build near
  berth policy test near
  berth policy bench near/near.wasm
  berth policy inspect near/near.wasm
  berth policy push near/near.wasm ghcr.io/acme/near:1.2
  berth policy list"
)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    List(ListArgs),
    Inspect(InspectArgs),
    Run(RunArgs),
    New(author::NewArgs),
    Build(author::BuildArgs),
    Test(author::TestArgs),
    Bench(bench::BenchArgs),
    Record(record::RecordArgs),
    Push(registry::PushArgs),
    Pull(registry::PullArgs),
    Shadow(slots::ShadowArgs),
    Canary(slots::CanaryArgs),
    /// Put a policy's canary, or its shadow, in its place; the version before is kept for `rollback`
    #[command(
        verbatim_doc_comment,
        after_help = "\
Examples:
  berth policy promote cost"
    )]
    Promote(slots::SlotArgs),
    /// End a policy's canary or shadow; where there is none, put the version before back
    #[command(
        verbatim_doc_comment,
        after_help = "\
Examples:
  berth policy rollback cost"
    )]
    Rollback(slots::SlotArgs),
    Status(slots::StatusArgs),
    Keygen(trust::KeygenArgs),
    Sign(trust::SignArgs),
    Verify(trust::VerifyArgs),
}

/// Show the policies of a running controller: state, digest, calls, failures, and files that were refused
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy list
  berth policy list -o json"
)]
struct ListArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// Check a component as a controller would, and show what it says of itself
///
/// Nothing is loaded into a controller. A file that a controller would refuse is refused here, with the same reason.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy inspect policies/cost.wasm
  berth policy inspect my-policy.wasm -o json
  berth policy inspect my-policy.wasm --policy-key policy.pub"
)]
struct InspectArgs {
    /// The component
    file: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Let a policy take one decision, in and out as JSON, so that it can be tried by itself
///
/// The case holds the fleet's tables, the configuration, and the question of the policy's kind, with the names of the policy
/// interface. The answer is checked as a controller checks it.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy run policies/cost.wasm --input case.json
  berth policy run policies/fifo.wasm --input queue.json -o yaml"
)]
struct RunArgs {
    /// The component
    file: PathBuf,
    /// The case, as JSON
    #[arg(long, value_name = "CASE.json")]
    input: PathBuf,
    /// How to print the answer; a table is printed as JSON
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: PolicyArgs) -> anyhow::Result<Exit> {
    match args.command {
        PolicyCommand::List(args) => list(&args),
        PolicyCommand::Inspect(args) => inspect(&args),
        PolicyCommand::Run(args) => try_case(&args),
        PolicyCommand::New(args) => author::new(&args),
        PolicyCommand::Build(args) => author::build(&args),
        PolicyCommand::Test(args) => author::test(&args),
        PolicyCommand::Bench(args) => bench::run(&args),
        PolicyCommand::Record(args) => record::record(&args),
        PolicyCommand::Push(args) => registry::push(&args),
        PolicyCommand::Pull(args) => registry::pull(&args),
        PolicyCommand::Shadow(args) => slots::shadow(&args),
        PolicyCommand::Canary(args) => slots::canary(&args),
        PolicyCommand::Promote(args) => slots::promote(&args),
        PolicyCommand::Rollback(args) => slots::rollback(&args),
        PolicyCommand::Status(args) => slots::status(&args),
        PolicyCommand::Keygen(args) => trust::keygen(&args),
        PolicyCommand::Sign(args) => trust::sign(&args),
        PolicyCommand::Verify(args) => trust::verify(&args),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let policies: Items<PolicyRow> = Client::new(&args.server)?.get("/api/v1/policies", &[])?;
    output::print(args.output, &policies, |policies| table(&policies.items))?;
    Ok(Exit::Done)
}

fn table(rows: &[PolicyRow]) -> String {
    let mut table = Table::new(&[
        "NAME",
        "KIND",
        "VERSION",
        "DIGEST",
        "STATE",
        "CALLS",
        "FAILURES",
        "FUEL/CALL",
        "P50",
        "P99",
        "FILE",
    ]);
    for row in rows {
        let failures: u64 = row.failures.values().sum();
        table.row([
            dash(&row.name),
            dash(row.kind.as_deref().unwrap_or_default()),
            dash(&row.version),
            dash(short_digest(&row.digest)),
            row.state.clone(),
            row.calls.to_string(),
            failures.to_string(),
            row.fuel_per_call.to_string(),
            micros(row.p50_us),
            micros(row.p99_us),
            row.file.clone(),
        ]);
    }
    let mut text = table.render();
    for row in rows {
        if let Some(reason) = &row.reason {
            text.push_str(&format!(
                "\n{} is {}: {reason}\n",
                if row.file.is_empty() { &row.name } else { &row.file },
                row.state
            ));
        }
    }
    text
}

fn micros(micros: u64) -> String {
    if micros == 0 { "-".to_owned() } else { format!("{micros} us") }
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(Runtime::new(WallClock::On)?)
}

fn inspect(args: &InspectArgs) -> anyhow::Result<Exit> {
    let trust = policies::trust(&args.trust.policy_key)?;
    let inspection = berth_policy::inspect(&runtime()?, &args.file, trust.as_ref());
    let inspection = inspection.map_err(|error| refused(&args.file, error))?;
    output::print(args.output, &inspection, card)?;
    Ok(Exit::Done)
}

fn card(inspection: &Inspection) -> String {
    let description = &inspection.description;
    let needs =
        if description.needs.is_empty() { "nothing beyond the usual".to_owned() } else { description.needs.join(", ") };
    let rows = [
        ("name", description.name.to_string()),
        ("kind", description.kind.as_str().to_owned()),
        ("version", description.version.to_string()),
        ("what", description.doc.clone()),
        ("needs", needs),
        ("interface", inspection.interface.to_owned()),
        ("size", format!("{} bytes", inspection.bytes)),
        ("digest", inspection.digest.to_string()),
    ];
    let signed_by = inspection.signed_by.as_ref().map(|key| ("signed by", key.to_string()));
    let rows = rows.into_iter().chain(signed_by);
    let mut text: String = rows.map(|(name, value)| format!("{name:<10} {value}\n")).collect();
    text.push_str(&configuration(description.config_schema.as_ref()));
    text
}

/// The fields of a configuration, as its schema has them.
fn configuration(schema: Option<&Value>) -> String {
    let Some(fields) = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object) else {
        return "config     takes none\n".to_owned();
    };
    let field = |(name, schema): (&String, &Value)| {
        let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        let default = schema.get("default").map(|value| format!(", default {value}")).unwrap_or_default();
        let choices = schema.get("enum").map(Value::to_string);
        format!("  {name} ({}{default}): {}\n", choices.as_deref().unwrap_or(text("type")), text("description"))
    };
    format!("config\n{}", fields.iter().map(field).collect::<String>())
}

fn try_case(args: &RunArgs) -> anyhow::Result<Exit> {
    let text = fs::read_to_string(&args.input)
        .with_context(|| hinted(format!("{} cannot be read", args.input.display()), ""))?;
    let hint = "a case has fleet, config, and request with candidates, queue or state, by the policy's kind";
    let case: Case =
        serde_json::from_str(&text).with_context(|| hinted(format!("{} is no case", args.input.display()), hint))?;
    let outcome = berth_policy::run_case(&runtime()?, &args.file, &case).map_err(|error| match error {
        CaseError::Case(what) => anyhow!(what).context(hinted(format!("{} is no case", args.input.display()), hint)),
        other => refused(&args.file, other),
    })?;
    let format = if args.output == Format::Yaml { Format::Yaml } else { Format::Json };
    output::print(format, &outcome, |_| String::new())?;
    Ok(if outcome.broken_rule.is_some() { Exit::Failed } else { Exit::Done })
}

pub(super) fn refused(file: &Path, error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    anyhow!(error).context(hinted(format!("{} is refused", file.display()), "a controller would keep its predecessor"))
}
