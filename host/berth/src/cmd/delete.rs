//! `berth delete`.

use std::path::PathBuf;

use crate::cli::ServerArgs;
use crate::client::Client;
use crate::fail::{Exit, hinted};
use crate::output::{self, Format};
use crate::wire::{Items, ObjectRef, Outcome, References};

use super::{apply, sources};

/// Delete objects by name, or all that a manifest names
///
/// A deleted workload is removed from every member cluster, and nodes that nobody needs any longer go after the delay of
/// their pool.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth delete deployment qwen3-8b
  berth delete nodepool gpu-spot
  berth delete -f app.yaml"
)]
pub(crate) struct DeleteArgs {
    /// Kind, such as deployment or nodepool
    #[arg(required_unless_present = "file", conflicts_with = "file", requires = "name")]
    kind: Option<String>,
    /// Names of the objects
    #[arg(conflicts_with = "file")]
    name: Vec<String>,
    /// Files, folders or - for stdin: everything in them is deleted
    #[arg(short, long = "file", value_name = "FILE|DIR|-")]
    file: Vec<PathBuf>,
    /// Namespace of the objects
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Do not fail if an object does not exist
    #[arg(long)]
    ignore_not_found: bool,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &DeleteArgs) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server)?;
    let deleted: Items<Outcome> = match &args.kind {
        None => client.post("/api/v1/delete", &[], &sources::read(&args.file)?)?,
        Some(kind) => {
            let reference =
                |name: &String| ObjectRef { kind: kind.clone(), namespace: args.namespace.clone(), name: name.clone() };
            client.post("/api/v1/delete", &[], &References { objects: args.name.iter().map(reference).collect() })?
        }
    };
    output::print(args.output, &deleted, |deleted| apply::lines(deleted, false))?;
    let missing = deleted.items.iter().filter(|outcome| outcome.outcome == "not found").count();
    if missing > 0 && !args.ignore_not_found {
        let message = format!("{} not found", output::text::count(missing as u64, "object"));
        return Err(hinted(message, "`berth get KIND -A` lists what there is").into());
    }
    Ok(Exit::Done)
}
