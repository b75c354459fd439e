//! `berth policy record`: recorded calls of a live fleet as cases.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use berth_core::policy::Kind;
use clap::Args;
use serde::Serialize;

use super::author::kind;
use crate::cmd::replay::{WhichArgs, choose};
use crate::fail::{Exit, hinted};
use crate::output::text::count;
use crate::output::{self, Format};

/// Save recorded calls of a live fleet as cases, with the answers that were given
///
/// A controller records every call of a policy in its data directory. Calls that differ are chosen rather than many alike. The
/// cases pass with the policy that decided them; with another one they show what it decides otherwise.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy record near --since 1h --limit 20
  berth policy record near --kind gang --data-dir /var/lib/berth"
)]
pub(super) struct RecordArgs {
    /// The project's folder, or any other; the cases go to `cases` in it
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Only calls of this kind: placement, gang or migration [default: that of the project, or all]
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    #[command(flatten)]
    which: WhichArgs,
    /// Save no more than so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Saved {
    cases: Vec<PathBuf>,
}

pub(super) fn record(args: &RecordArgs) -> anyhow::Result<Exit> {
    let project = berth_author::Project::open(&args.dir).ok();
    let kind = args.kind.or(project.as_ref().map(|project| project.kind));
    let chosen = choose(&args.which, kind, args.limit, |one| one.case().is_ok_and(|case| case.is_some()))?;
    let folder = args.dir.join("cases");
    let context = |path: &Path| hinted(format!("{} cannot be written", path.display()), "choose another folder");
    fs::create_dir_all(&folder).with_context(|| context(&folder))?;
    let mut cases = Vec::new();
    for one in chosen {
        let Some(case) = one.case()? else { continue };
        let name = format!("recorded-{}-{}-{}.json", one.call.slot, one.call.at_ms, one.call.number);
        let file = folder.join(name);
        let text = serde_json::to_string_pretty(&case)? + "\n";
        fs::write(&file, text).with_context(|| context(&file))?;
        cases.push(file);
    }
    output::print(args.output, &Saved { cases }, |saved| {
        let (cases, folder) = (count(saved.cases.len() as u64, "case"), folder.display());
        let test = match project {
            Some(_) => args.dir.display().to_string(),
            None => format!("FILE.wasm --cases {folder}"),
        };
        format!("{cases} in {folder}\nthen:  berth policy test {test}\n")
    })?;
    Ok(Exit::Done)
}
