//! `berth policy new`, `build` and `test`: a policy from its first line to its component, without a controller.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use berth_author::{AuthorError, Language, Project};
use berth_core::policy::Kind;
use berth_policy::{CaseFile, Runtime, Trial, WallClock};
use clap::Args;
use serde::Serialize;

use crate::fail::{Exit, hinted};
use crate::output::text::short_digest;
use crate::output::{self, Format};

/// Write a new policy's project: sources, cases that it passes, and what builds it
///
/// It starts as a small but whole policy: a placement policy that prefers the region with the lowest value of a column, a
/// gang policy that starts the smallest job first, or a migration policy that leaves clusters that are gone.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy new near --kind placement --lang python
  berth policy new fair --kind gang --lang go --dir policies-src/fair"
)]
pub(super) struct NewArgs {
    /// The policy's name: 1 to 63 of a-z, 0-9 and -
    name: String,
    /// What it decides: placement, gang or migration
    #[arg(long, value_parser = kind)]
    kind: Kind,
    /// What it is written in: rust, js, python, c or go
    #[arg(long, value_name = "LANG")]
    lang: Language,
    /// Where to put it, instead of a folder of its name here
    #[arg(long)]
    dir: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Build a policy with its language's own tools, and check the component as a controller would
///
/// The component lands in the project's folder, or where --file says, when it has passed: it imports nothing, has the types
/// of the policy interface, and takes a first decision, with the configuration in policy.toml if it has a [config]. Where a
/// tool is missing, one line says how to get it.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy build near
  berth policy build near --file policies/near.wasm"
)]
pub(super) struct BuildArgs {
    /// The project's folder, which has a policy.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where to put the component, instead of DIR/NAME.wasm
    #[arg(long)]
    file: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Ask a policy what its cases ask, and compare each answer with the one expected, bit for bit
///
/// A case is a JSON file: `given` has the fleet, the configuration and the question, `expect` has the answer, the problem, the
/// failure, the refusal, or properties that the answer must have, such as "total" or "within". That an answer breaks no rule is
/// always checked. Fuel and memory are limited as in a controller; time is not, so a slow machine fails no test.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy test near
  berth policy test near.wasm --cases near/cases
  berth policy test policies/cost.wasm --cases one-case.json -o json"
)]
pub(super) struct TestArgs {
    /// The project's folder, or a component
    what: PathBuf,
    /// Folder of cases, or one case, instead of `cases` in the project's folder or beside the component
    #[arg(long, value_name = "DIR|FILE")]
    cases: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn kind(text: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| format!("use one of {}", Kind::ALL.map(Kind::as_str).join(", ")))
}

/// A project, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    name: &'a str,
    kind: Kind,
    language: &'a str,
    dir: &'a Path,
    /// The tool that is not there yet, and how to get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
}

pub(super) fn new(args: &NewArgs) -> anyhow::Result<Exit> {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let project = berth_author::create(&dir, &args.name, args.kind, args.lang).map_err(failed)?;
    let missing = berth_author::missing(&project).map(|missing| format!("{missing}; {}", missing.hint()));
    let language = project.language.as_str();
    let created = Created { name: &project.name, kind: project.kind, language, dir: &dir, missing };
    output::print(args.output, &created, |created| {
        let at = dir.display();
        let name = created.name;
        let mut text = format!("{name} is a {} policy in {language}, in {at}\n", created.kind.as_str());
        if let Some(missing) = &created.missing {
            text.push_str(&format!("first: {missing}\n"));
        }
        text.push_str(&format!("then:  berth policy build {at} && berth policy test {at}\n"));
        text
    })?;
    Ok(Exit::Done)
}

/// A component that was made, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Built<'a> {
    name: &'a str,
    version: &'a str,
    kind: Kind,
    language: &'a str,
    file: &'a Path,
    bytes: u64,
    digest: &'a str,
}

pub(super) fn build(args: &BuildArgs) -> anyhow::Result<Exit> {
    let project = Project::open(&args.dir).map_err(failed)?;
    let runtime = Runtime::new(WallClock::On)?;
    // As the user wrote it; the project knows its folder by its whole path.
    let beside = args.dir.join(format!("{}.wasm", project.name));
    let file = args.file.as_ref().unwrap_or(&beside);
    let made = berth_author::make(&project, &runtime, Some(file)).map_err(failed)?;
    let inspection = made.trial.inspection();
    let built = Built {
        name: &project.name,
        version: &inspection.description.version,
        kind: project.kind,
        language: project.language.as_str(),
        file: &made.file,
        bytes: inspection.bytes,
        digest: &inspection.digest,
    };
    output::print(args.output, &built, |built| {
        let (kind, digest) = (built.kind.as_str(), short_digest(built.digest));
        let kib = built.bytes.div_ceil(1024);
        format!("{} {}  {kind}  {kib} KiB  {digest}  {}\n", built.name, built.version, built.file.display())
    })?;
    Ok(Exit::Done)
}

fn failed(error: AuthorError) -> anyhow::Error {
    let hint = error.hint().to_owned();
    let message = error.to_string();
    anyhow!(error).context(hinted(message, hint))
}

/// One case and how it went.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tested {
    case: String,
    about: String,
    passed: bool,
    /// What differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<String>,
}

/// The project that a component belongs to, if it is beside it.
pub(super) fn project_of(component: &Path) -> anyhow::Result<Option<Project>> {
    Project::of_component(component).map_err(failed)
}

pub(super) fn test(args: &TestArgs) -> anyhow::Result<Exit> {
    let (component, project) = if args.what.is_dir() {
        let project = Project::open(&args.what).map_err(failed)?;
        (args.what.join(format!("{}.wasm", project.name)), Some(project))
    } else {
        (args.what.clone(), project_of(&args.what)?)
    };
    if !component.is_file() {
        let hint = format!("berth policy build {}", args.what.display());
        return Err(anyhow!(hinted(format!("there is no {} to test", component.display()), hint)));
    }
    let trial = Trial::open(&Runtime::new(WallClock::Off)?, &component);
    let trial = trial.map_err(|error| super::refused(&component, error))?;
    let cases = case_files(args.cases.as_ref().unwrap_or(&component.with_file_name("cases")))?;
    let mut tested = Vec::new();
    for path in cases {
        let no_case = || hinted(format!("{} is no case", path.display()), CASE_HINT);
        let text =
            fs::read_to_string(&path).with_context(|| hinted(format!("{} cannot be read", path.display()), ""))?;
        let mut file: CaseFile = serde_json::from_str(&text).with_context(no_case)?;
        if let Some(project) = &project {
            file.given.config.get_or_insert_with(|| project.config.clone());
        }
        let difference = trial.test(&file).with_context(no_case)?.err();
        let case = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        tested.push(Tested { case, about: file.about, passed: difference.is_none(), difference });
    }
    let failed = tested.iter().filter(|one| !one.passed).count();
    output::print(args.output, &tested, |tested| {
        let mut text = String::new();
        for one in tested {
            text.push_str(&format!("{}  {}: {}\n", if one.passed { "ok    " } else { "FAILED" }, one.case, one.about));
            if let Some(difference) = &one.difference {
                text.push_str(&format!("        {difference}\n"));
            }
        }
        text.push_str(&format!("{} of {} cases pass\n", tested.len() - failed, tested.len()));
        text
    })?;
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
}

const CASE_HINT: &str = "a case has given and expect; given has fleet, config, and request with candidates, queue or state; \
                         expect has answer, problem, failure or refused, or properties of the answer";

/// The cases in a folder in the order of their names, or the one case that is named.
fn case_files(place: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let entries = fs::read_dir(place).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let unread = || hinted(format!("{} cannot be read", place.display()), "say where the cases are with --cases");
    let paths = entries.with_context(unread)?.into_iter().map(|entry| entry.path());
    let mut cases: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    cases.sort();
    if cases.is_empty() {
        return Err(anyhow!(hinted(format!("{} holds no case", place.display()), "files of cases end in .json")));
    }
    Ok(cases)
}
