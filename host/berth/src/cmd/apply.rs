//! `berth apply`.

use std::path::PathBuf;

use crate::cli::ServerArgs;
use crate::client::Client;
use crate::fail::Exit;
use crate::output::{self, Format};
use crate::wire::{Items, Outcome};

use super::sources;

/// Create or change objects from manifests, all of them or none
///
/// Takes Kubernetes manifests as they are, Berth's own resources, and the policies of Karmada and ACK One. If one object is
/// not valid, nothing is changed, and every fault is named.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth apply -f app.yaml
  berth apply -f manifests/ --dry-run
  helm template ./chart | berth apply -f -"
)]
pub(crate) struct ApplyArgs {
    /// Files, folders with .yaml, .yml and .json files, or - for stdin
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    file: Vec<PathBuf>,
    /// Check everything and say what would change, without changing it
    #[arg(long)]
    dry_run: bool,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &ApplyArgs) -> anyhow::Result<Exit> {
    let sources = sources::read(&args.file)?;
    let query: &[(&str, &str)] = if args.dry_run { &[("dryRun", "true")] } else { &[] };
    let applied: Items<Outcome> = Client::new(&args.server)?.post("/api/v1/apply", query, &sources)?;
    output::print(args.output, &applied, |applied| lines(applied, args.dry_run))?;
    Ok(Exit::Done)
}

/// One line an object, and its warnings below it.
pub(crate) fn lines(outcomes: &Items<Outcome>, dry_run: bool) -> String {
    let mut text = String::new();
    for outcome in &outcomes.items {
        let namespace = if outcome.namespace.is_empty() { String::new() } else { format!("{}/", outcome.namespace) };
        let note = if dry_run { " (dry run)" } else { "" };
        text.push_str(&format!("{} {namespace}{} {}{note}\n", outcome.kind, outcome.name, outcome.outcome));
        for warning in &outcome.warnings {
            text.push_str(&format!("  warning: {warning}\n"));
        }
    }
    text
}
