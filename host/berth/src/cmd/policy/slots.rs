//! `berth policy shadow|canary|promote|rollback|status`: another version of a policy beside it, compared, and put in its place.
//!
//! Holds: `policies.toml` is edited with its comments kept, written aside and renamed, and only when the controller's own
//! code takes the outcome; the file of the policy is in the folder before it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use berth_policy::{CONFIG_FILE, Config, Figures, Trust, signature_file};
use clap::Args;
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value, value};

use super::trial::Rehearsal;
use crate::cli::{ServerArgs, TrustArgs};
use crate::client::Client;
use crate::fail::{Exit, hinted};
use crate::output::{self, Format, Table as Columns};
use crate::run::policies::{self, put_all};
use crate::wire::{Items, PolicyRow};

#[derive(Debug, Args)]
pub(super) struct Folder {
    /// Folder with the policies, as `berth run` has it
    #[arg(long, value_name = "DIR", default_value = "policies")]
    pub(super) policies: PathBuf,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

impl Folder {
    /// # Errors
    /// If it is not there.
    pub(super) fn open(&self) -> anyhow::Result<PathBuf> {
        if !self.policies.is_dir() {
            let hint = "name it with --policies; a controller without one has it in its data directory";
            bail!(hinted(format!("the policy folder {} is not there", self.policies.display()), hint));
        }
        Ok(self.policies.clone())
    }
}

/// Let another version decide beside a policy; what differs is counted and listed, and nothing of it is in force
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy shadow cost target/cost-2.wasm
  berth policy status cost"
)]
pub(super) struct ShadowArgs {
    /// Name of the policy that decides
    slot: String,
    /// The other version, a component; it is copied into the folder
    file: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

/// Let another version decide for some workloads; it goes back by itself when it is worse than its guard allows
///
/// Every question to it is put to the slot's own policy too, and both answers are compared.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy canary cost target/cost-2.wasm --share 10%
  berth policy canary cost target/cost-2.wasm --label tier=batch --guard after=200,waiting=0.02,cost=0.05,refusals=0"
)]
pub(super) struct CanaryArgs {
    /// Name of the policy that decides
    slot: String,
    /// The other version, a component; it is copied into the folder
    file: PathBuf,
    /// Share of the workloads, by a hash of namespace and name that is always the same
    #[arg(long, value_parser = share, required_unless_present = "label")]
    share: Option<f64>,
    /// Workloads with this label; may repeat, and then all are needed
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// When it goes back: after so many questions, by how much of its replicas wait, cost more or have to leave, or of its
    /// calls fail
    #[arg(long, value_name = "BOUND=N,...", value_delimiter = ',', value_parser = bound)]
    guard: Vec<(String, f64)>,
    #[command(flatten)]
    folder: Folder,
}

/// Which policy is changed.
#[derive(Debug, Args)]
pub(super) struct SlotArgs {
    /// Name of the policy
    slot: String,
    #[command(flatten)]
    folder: Folder,
}

/// Show what stands beside the policies of a running controller, and how it compares
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy status
  berth policy status cost -o json"
)]
pub(super) struct StatusArgs {
    /// Only this policy
    slot: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

fn share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse::<f64>(),
    };
    match number {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("use a share above 0 and at most 1, such as 10% or 0.1".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("use KEY=VALUE, such as tier=batch")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn bound(text: &str) -> Result<(String, f64), String> {
    let mend = "use after, waiting, cost, leaving or refusals with a number, such as waiting=0.05";
    let (bound, number) = text.split_once('=').ok_or(mend)?;
    let known = ["after", "waiting", "cost", "leaving", "refusals"].contains(&bound);
    let number = number.parse().ok().filter(|number: &f64| known && *number >= 0.0 && number.is_finite());
    Ok((bound.to_owned(), number.ok_or(mend)?))
}

/// The `[policy.NAME]` of a `policies.toml`, made where there is none.
pub(super) fn slot_of<'a>(document: &'a mut DocumentMut, name: &str) -> anyhow::Result<&'a mut dyn TableLike> {
    let policies = document.entry("policy").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let policies = policies.as_table_like_mut().context("policy is no table")?;
    let slot = policies.entry(name).or_insert_with(|| Item::Table(Table::new()));
    slot.as_table_like_mut().context("the policy is no table")
}

/// `policies.toml` under way.
struct Edit {
    folder: PathBuf,
    slot: String,
    document: DocumentMut,
    /// Files that come with it, by name.
    files: Vec<(String, Vec<u8>)>,
    trust: Option<Trust>,
    rehearsal: Rehearsal,
}

impl Edit {
    fn open(folder: &Folder, slot: &str) -> anyhow::Result<Self> {
        let trust = policies::trust(&folder.trust.policy_key)?;
        let folder = folder.open()?;
        let path = folder.join(CONFIG_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        Config::parse(&text).context(hinted(format!("{} is refused", path.display()), "mend it first"))?;
        let rehearsal = Rehearsal::of(&folder, trust.clone())?;
        let (slot, document) = (slot.to_owned(), text.parse()?);
        let mut edit = Self { folder, slot, document, files: Vec::new(), trust, rehearsal };
        edit.name()?;
        Ok(edit)
    }

    /// Makes the `[policy.SLOT]` of a file that is loaded by its own name.
    fn name(&mut self) -> anyhow::Result<()> {
        let named = self.document.get("policy").and_then(|policies| policies.get(self.slot.as_str()));
        let file = match named {
            Some(_) => format!("{}.wasm", self.slot),
            None => self.unnamed()?,
        };
        let slot = slot_of(&mut self.document, &self.slot)?;
        if !slot.contains_key("file") {
            slot.insert("file", value(file));
        }
        Ok(())
    }

    /// The file that calls itself so.
    fn unnamed(&self) -> anyhow::Result<String> {
        let set = self.rehearsal.set();
        let Some(policy) = set.policies.get(self.slot.as_str()).filter(|_| !self.slot.contains('/')) else {
            let names: Vec<&str> =
                set.policies.keys().map(|name| name.as_str()).filter(|name| !name.contains('/')).collect();
            let hint = format!("it has {}", names.join(", "));
            bail!(hinted(format!("{} has no policy {} that is in force", self.folder.display(), self.slot), &hint));
        };
        Ok(policy.file.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    fn table(&mut self) -> anyhow::Result<&mut Table> {
        let slot = self.document["policy"][self.slot.as_str()].as_table_mut();
        slot.with_context(|| format!("write [policy.{}] as a table of its own, not inline", self.slot))
    }

    /// Takes a version along, with its signature where it has one, unless it is there. Returns its name there.
    fn take_along(&mut self, file: &Path) -> anyhow::Result<String> {
        let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        // First of all, so that nothing is compiled that nobody vouches for.
        let vouched = self.trust.as_ref().map(|trust| trust.check(file, &bytes)).transpose();
        vouched.map_err(|error| super::refused(file, error))?;
        self.rehearsal.inspect(&bytes).map_err(|error| super::refused(file, error))?;
        let name = file.file_name().and_then(|name| name.to_str()).context("the file has no name")?.to_owned();
        let target = self.folder.join(&name);
        let there = fs::read(&target).ok();
        if there.as_ref().is_some_and(|there| *there != bytes) {
            let hint = "give the new version another file name, so that the one that decides stays";
            bail!(hinted(format!("{} is another file of that name", target.display()), hint));
        }
        // The signature first, so that the component is never seen without.
        let signature = fs::read(signature_file(file)).ok();
        self.files.extend(signature.map(|text| (format!("{name}.sig"), text)));
        self.files.extend(there.is_none().then(|| (name.clone(), bytes)));
        Ok(name)
    }

    /// Writes it, with the files that come with it before it, if a controller would take it.
    fn save(mut self) -> anyhow::Result<()> {
        let text = self.document.to_string();
        let mut files: Vec<(&str, &[u8])> = self.files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
        files.push((CONFIG_FILE, text.as_bytes()));
        let beside = format!("{}/", self.slot);
        let ours = |name: &str| name == CONFIG_FILE || name == self.slot || name.starts_with(&beside);
        self.rehearsal.change(&files, |refusal| ours(&refusal.name))?;
        put_all(&self.folder, &files).with_context(|| format!("{} cannot be written", self.folder.display()))
    }
}

const STILL: &str = "What is different: `berth policy status`. To end it: `berth policy rollback";

pub(super) fn shadow(args: &ShadowArgs) -> anyhow::Result<Exit> {
    let mut edit = Edit::open(&args.folder, &args.slot)?;
    let file = edit.take_along(&args.file)?;
    let mut table = Table::new();
    table.insert("file", value(&file));
    edit.table()?.insert("shadow", Item::Table(table));
    edit.save()?;
    let slot = &args.slot;
    println!("{file} decides beside {slot} from the next planning cycle on; nothing of it is in force.");
    println!("{STILL} {slot}`.");
    Ok(Exit::Done)
}

pub(super) fn canary(args: &CanaryArgs) -> anyhow::Result<Exit> {
    let mut edit = Edit::open(&args.folder, &args.slot)?;
    let file = edit.take_along(&args.file)?;
    let mut table = Table::new();
    table.insert("file", value(&file));
    if let Some(share) = args.share {
        table.insert("share", value(share));
    }
    if !args.label.is_empty() {
        let mut labels = InlineTable::new();
        args.label.iter().for_each(|(key, text)| _ = labels.insert(key, text.as_str().into()));
        table.insert("labels", value(labels));
    }
    if !args.guard.is_empty() {
        let mut guard = InlineTable::new();
        for (bound, number) in &args.guard {
            let number: Value = if bound == "after" { (*number as i64).into() } else { (*number).into() };
            guard.insert(bound, number);
        }
        table.insert("guard", value(guard));
    }
    edit.table()?.insert("canary", Item::Table(table));
    edit.save()?;
    let slot = &args.slot;
    let share = args.share.map(|share| format!("{} % of the workloads", share * 100.0));
    let labels = args.label.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ");
    let labels = (!labels.is_empty()).then(|| format!("workloads with {labels}"));
    let whom: Vec<String> = share.into_iter().chain(labels).collect();
    println!("{file} decides as {slot}/canary for {} from the next planning cycle on.", whom.join(" and for "));
    println!("It goes back by itself when it is worse than its guard allows.");
    println!("{STILL} {slot}`. For all: `berth policy promote {slot}`.");
    Ok(Exit::Done)
}

/// The keys that make a version.
const VERSION: [&str; 4] = ["file", "config", "limits", "digest"];

fn take(table: &mut Table) -> Vec<(&'static str, Item)> {
    VERSION.into_iter().filter_map(|key| Some((key, table.remove(key)?))).collect()
}

fn live(table: &Table, what: &str) -> bool {
    table
        .get(what)
        .and_then(Item::as_table_like)
        .is_some_and(|one| !one.get("off").and_then(Item::as_bool).unwrap_or(false))
}

pub(super) fn promote(args: &SlotArgs) -> anyhow::Result<Exit> {
    let mut edit = Edit::open(&args.folder, &args.slot)?;
    let (slot, table) = (&args.slot, edit.table()?);
    let Some(what) = ["canary", "shadow"].into_iter().find(|what| live(table, what)) else {
        let hint = format!("start one: berth policy canary {slot} FILE --share 10%");
        bail!(hinted(format!("{slot} has no canary and no shadow to promote"), &hint));
    };
    let mut new = match table.remove(what) {
        Some(Item::Table(new)) => new,
        Some(other) => other.into_table().map_err(|_| anyhow!("[policy.{slot}.{what}] is no table"))?,
        None => Table::new(),
    };
    let old = take(table);
    let mut previous = Table::new();
    old.iter().for_each(|(key, item)| _ = previous.insert(key, item.clone()));
    let new = take(&mut new);
    let other_file = new.iter().any(|(key, _)| *key == "file");
    for (key, item) in old {
        // What a version leaves open is that of its slot; a digest goes with its file.
        let given = new.iter().any(|(given, _)| *given == key);
        let stale = key == "digest" && other_file;
        if !given && !stale {
            table.insert(key, item);
        }
    }
    new.into_iter().for_each(|(key, item)| _ = table.insert(key, item));
    table.insert("previous", Item::Table(previous));
    edit.save()?;
    println!("The {what} decides as {slot} for all from the next planning cycle on.");
    println!("The version before is kept: `berth policy rollback {slot}` puts it back.");
    Ok(Exit::Done)
}

pub(super) fn rollback(args: &SlotArgs) -> anyhow::Result<Exit> {
    let mut edit = Edit::open(&args.folder, &args.slot)?;
    let (slot, table) = (&args.slot, edit.table()?);
    let said = if let Some(what) = ["canary", "shadow"].into_iter().find(|what| live(table, what)) {
        if let Some(one) = table.get_mut(what).and_then(Item::as_table_like_mut) {
            one.insert("off", value(true));
        }
        format!("The {what} of {slot} ends with the next planning cycle; {slot} itself stays as it is.")
    } else if let Some(previous) = table.remove("previous") {
        let mut previous = previous.into_table().map_err(|_| anyhow!("[policy.{slot}.previous] is no table"))?;
        let new = take(table);
        take(&mut previous).into_iter().for_each(|(key, item)| _ = table.insert(key, item));
        let mut kept = Table::new();
        new.into_iter().for_each(|(key, item)| _ = kept.insert(key, item));
        table.insert("previous", Item::Table(kept));
        format!(
            "{slot} decides as it did before from the next planning cycle on; the version that went is kept as the one before."
        )
    } else {
        bail!(hinted(
            format!("{slot} has no canary, no shadow and no version before"),
            "there is nothing to roll back"
        ));
    };
    edit.save()?;
    println!("{said}");
    Ok(Exit::Done)
}

pub(super) fn status(args: &StatusArgs) -> anyhow::Result<Exit> {
    let mut policies: Items<PolicyRow> = Client::new(&args.server)?.get("/api/v1/policies", &[])?;
    let slots: Vec<String> =
        policies.items.iter().filter(|row| row.compared.is_some()).map(|row| slot(row).to_owned()).collect();
    if let Some(wanted) = &args.slot {
        policies.items.retain(|row| slot(row) == wanted);
        if policies.items.is_empty() {
            bail!(hinted(
                format!("the controller has no policy {wanted}"),
                "`berth policy list` shows those that it has"
            ));
        }
    } else {
        policies.items.retain(|row| slots.iter().any(|name| name == slot(row)));
    }
    output::print(args.output, &policies, |policies| card(&policies.items))?;
    Ok(Exit::Done)
}

fn slot(row: &PolicyRow) -> &str {
    row.name.split('/').next().unwrap_or_default()
}

fn card(rows: &[PolicyRow]) -> String {
    if rows.is_empty() {
        return "No policy has a shadow or a canary.\n".to_owned();
    }
    let mut table = Columns::new(&[
        "NAME",
        "STATE",
        "FILE",
        "CALLS",
        "FAILED",
        "COMPARED",
        "SAME",
        "MOVED",
        "WAITING",
        "USD/REPLICA-H",
        "LEAVING",
    ]);
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    for row in rows {
        let failures: u64 = row.failures.values().sum();
        let mut cells =
            vec![row.name.clone(), row.state.clone(), row.file.clone(), row.calls.to_string(), failures.to_string()];
        match &row.compared {
            None | Some(Figures { pairs: 0, .. }) => cells.extend(["-"; 6].map(str::to_owned)),
            Some(figures @ Figures { pairs, same, moved, own, other, .. }) => cells.extend([
                pairs.to_string(),
                percent(*same as f64 / *pairs as f64),
                moved.to_string(),
                format!("{} (own {})", percent(other.waiting_share()), percent(own.waiting_share())),
                format!("{:.4} (own {:.4})", other.usd_per_replica_hour(), own.usd_per_replica_hour()),
                format!("{} (own {})", percent(figures.leaving_share(other)), percent(figures.leaving_share(own))),
            ]),
        }
        table.row(cells);
    }
    let mut text = table.render();
    for row in rows {
        if let Some(reason) = &row.reason {
            text.push_str(&format!("\n{} is {}: {reason}\n", row.name, row.state));
        }
        let Some(compared) = &row.compared else { continue };
        if compared.dropped > 0 {
            text.push_str(&format!(
                "\n{}: {} questions were not compared, for want of time\n",
                row.name, compared.dropped
            ));
        }
        if !compared.differences.is_empty() {
            text.push_str(&format!("\n{} differs, the newest last:\n", row.name));
        }
        for one in &compared.differences {
            text.push_str(&format!("  {}: {} -> {}\n", one.about, one.own, one.other));
        }
    }
    text
}
