//! `berth policy push|pull`: policies to and from an OCI registry.
//!
//! Holds: what is pulled is checked whole before a file changes: its digest, that it is a policy, and that a controller would
//! take the folder as it will be. Each file is then put there at once, so that whoever watches sees the one before or this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use berth_policy::{CONFIG_FILE, Config, Inspection, KeyId, Limits, Refusal, Signature, signature_file};
use clap::Args;
use serde::Serialize;
use toml_edit::{DocumentMut, value};

use super::runtime;
use super::slots::slot_of;
use super::trial::Rehearsal;
use crate::cmd::run::duration;
use crate::fail::{Exit, Hinted, hinted};
use crate::output::{self, Format};
use crate::registry::{Artifact, Client, Digest, Manifest, Reference, Settings};
use crate::run::policies::{self, put_all};

#[derive(Debug, Args)]
struct RegistryArgs {
    /// Speak HTTP without TLS [default: true with a registry on this machine, otherwise false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    plain_http: Option<bool>,
    /// Give up on a registry that says nothing for so long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = patience)]
    timeout: Duration,
}

impl RegistryArgs {
    fn settings(&self) -> Settings {
        Settings { plain_http: self.plain_http, timeout: self.timeout }
    }
}

fn patience(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    Some(duration(text)?).filter(|time| range.contains(time)).ok_or_else(|| "use 100ms to 1h".to_owned())
}

/// Put a policy into an OCI registry, from which `berth policy pull` and other tools for Wasm get it
///
/// What a controller would refuse is not pushed. A signature beside the component, FILE.sig, goes with it. The same file gives
/// the same reference by digest each time. Who has logged in with `docker login` or `oras login` is known to the registry.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy push near/near.wasm ghcr.io/acme/near:1.2
  berth policy push near/near.wasm 127.0.0.1:5000/near -o json"
)]
pub(super) struct PushArgs {
    /// The component
    file: PathBuf,
    /// Where to put it: REGISTRY[:PORT]/REPOSITORY[:TAG]; the tag is `latest` where there is none
    #[arg(value_name = "REFERENCE")]
    reference: Reference,
    #[command(flatten)]
    registry: RegistryArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Get a policy from an OCI registry, into the folder of a controller or elsewhere
///
/// Nothing is written whose digest is not the one that the reference or the manifest has, that is no policy, or that a
/// controller with this folder would refuse. A running controller swaps to it at once. In the folder it replaces the version
/// of the same policy: the file that [policy.NAME] has in policies.toml, or NAME.wasm.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy pull ghcr.io/acme/near:1.2
  berth policy pull ghcr.io/acme/near:1.2 --policies /etc/berth/policies --pin
  berth policy pull ghcr.io/acme/near:1.2 --policy-key policy.pub
  berth policy pull ghcr.io/acme/near@sha256:9b1c...e0 --out near-1.2.wasm"
)]
pub(super) struct PullArgs {
    /// What to get: REGISTRY[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]; the tag is `latest` where there is neither
    #[arg(value_name = "REFERENCE")]
    reference: Reference,
    #[command(flatten)]
    folder: super::slots::Folder,
    /// Write it to this file, instead of into the folder
    #[arg(long, value_name = "FILE", conflicts_with = "policies")]
    out: Option<PathBuf>,
    /// Replace a file that is no version of this policy too
    #[arg(long)]
    force: bool,
    /// Let the controller load this very component alone: write its digest to policies.toml
    #[arg(long, conflicts_with = "out")]
    pin: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What was pushed, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pushed {
    /// With tag and digest.
    reference: String,
    #[serde(flatten)]
    policy: Policy,
    /// The file from which it was taken.
    signature: Option<PathBuf>,
}

/// What was pulled, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pulled {
    reference: String,
    #[serde(flatten)]
    policy: Policy,
    file: PathBuf,
    /// Digest of what was in the file; absent where there was none.
    was: Option<Digest>,
    /// Where it was put.
    signature: Option<PathBuf>,
    /// Whose it is, where that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<KeyId>,
    pinned: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    policy: String,
    version: String,
    kind: &'static str,
    /// Of the component: what `policies.toml` pins, and decisions name.
    digest: Digest,
}

impl Policy {
    fn of(inspection: &Inspection, component: &[u8]) -> Self {
        let description = &inspection.description;
        Self {
            policy: description.name.to_string(),
            version: description.version.to_string(),
            kind: description.kind.as_str(),
            digest: Digest::of(component),
        }
    }

    fn line(&self) -> String {
        format!("{} {} ({})", self.policy, self.version, self.kind)
    }
}

fn rows(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}

pub(super) fn push(args: &PushArgs) -> anyhow::Result<Exit> {
    let PushArgs { file, reference, .. } = args;
    if reference.digest().is_some() {
        bail!(hinted(format!("{reference} has a digest"), "leave the digest away: it comes of what is pushed"));
    }
    let inspection = berth_policy::inspect(&runtime()?, file, None).map_err(|error| super::refused(file, error))?;
    let component = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let policy = Policy::of(&inspection, &component);
    if policy.digest.as_str() != format!("sha256:{}", inspection.digest) {
        bail!(hinted(format!("{} changed while it was read", file.display()), "push it again"));
    }
    let signature = Signature::read(file)?.map(|signature| signature.to_string());
    let artifact = Artifact::new(&inspection, component, signature.as_deref())?;
    Client::new(reference, args.registry.settings())?.push(&artifact)?;
    let reference = reference.at(&artifact.digest).to_string();
    let pushed = Pushed { reference, policy, signature: signature.map(|_| signature_file(file)) };
    output::print(args.output, &pushed, |pushed| {
        let signature = pushed.signature.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
        let table = [
            ("reference", pushed.reference.clone()),
            ("digest", pushed.policy.digest.to_string()),
            ("signature", signature),
        ];
        format!("{} is in the registry\n{}", pushed.policy.line(), rows(&table))
    })?;
    Ok(Exit::Done)
}

pub(super) fn pull(args: &PullArgs) -> anyhow::Result<Exit> {
    let reference = &args.reference;
    let no_policy = |why: String| -> Hinted { hinted(format!("{reference} is no policy: {why}"), PUSH) };
    let mut client = Client::new(reference, args.registry.settings())?;
    let (manifest, digest) = client.manifest()?;
    let manifest = Manifest::parse(&manifest).map_err(no_policy)?;
    let layer = manifest.component().map_err(no_policy)?;
    let signature = layer.signature().map(|text| Signature::parse(text.as_bytes())).transpose();
    let signature = signature.map_err(|what| no_policy(format!("its signature is none: {what}")))?;
    let component = client.blob(layer, Limits::default().file_bytes)?;
    let trust = policies::trust(&args.folder.trust.policy_key)?;
    let signed_by = trust.as_ref().map(|trust| trust.check_with("FILE", &component, signature.clone())).transpose();
    let signed_by =
        signed_by.map_err(|error| anyhow!(error).context(hinted(format!("{reference} is refused"), SIGNED)))?.flatten();
    let mut rehearsal = match &args.out {
        Some(_) => Rehearsal::empty(trust)?,
        None => Rehearsal::of(&args.folder.open()?, trust)?,
    };
    let inspection = rehearsal
        .inspect(&component)
        .map_err(|error| anyhow!(error).context(hinted(format!("{reference} is refused"), PUSH)))?;
    let target = Target::find(args, &rehearsal, &inspection)?;
    let was = target.check(args, &mut rehearsal, &inspection)?;
    let policy = Policy::of(&inspection, &component);
    let signature = signature.map(|signature| signature.to_string());
    let pin = if args.pin { Some(target.pin(&policy)?) } else { None };
    if args.out.is_none() {
        target.rehearse(&mut rehearsal, &component, signature.as_deref(), pin.as_deref())?;
    }
    target.write(&component, signature.as_deref(), pin.as_deref())?;
    let signature = signature.map(|_| signature_file(&target.file()));
    let reference = reference.at(&digest).to_string();
    let pulled = Pulled { reference, policy, file: target.file(), was, signature, signed_by, pinned: args.pin };
    output::print(args.output, &pulled, |pulled| card(pulled, args))?;
    Ok(Exit::Done)
}

const SIGNED: &str = "berth policy push takes the signature beside a component along";
const PUSH: &str = "berth policy push writes what can be pulled";

fn card(pulled: &Pulled, args: &PullArgs) -> String {
    let Pulled { policy, file, was, .. } = pulled;
    let what = match was {
        None => "",
        Some(was) if *was == policy.digest => ", as it was",
        Some(_) => ", in place of the one before",
    };
    let mut table = vec![("reference", pulled.reference.clone()), ("digest", policy.digest.to_string())];
    table.extend(was.as_ref().filter(|was| **was != policy.digest).map(|was| ("before", was.to_string())));
    table.extend(pulled.signature.as_ref().map(|file| ("signature", file.display().to_string())));
    table.extend(pulled.signed_by.as_ref().map(|key| ("signed by", key.to_string())));
    let mut text = format!("{} is in {}{what}\n{}", policy.line(), file.display(), rows(&table));
    if args.out.is_none() {
        let config = args.folder.policies.join(CONFIG_FILE);
        let pin = format!("[policy.{}] digest = \"{}\"", policy.policy, policy.digest);
        let how = if pulled.pinned { "pinned" } else { "to pin it" };
        text.push_str(&rows(&[(how, format!("{pin} in {}", config.display()))]));
    }
    text
}

/// The file that is written.
struct Target {
    folder: PathBuf,
    name: String,
    /// The digest that the folder's configuration has for it.
    pinned: Option<String>,
}

impl Target {
    fn find(args: &PullArgs, rehearsal: &Rehearsal, inspection: &Inspection) -> anyhow::Result<Self> {
        if let Some(out) = &args.out {
            let name = out.file_name().and_then(|name| name.to_str()).context("--out names no file")?.to_owned();
            let folder = out.parent().unwrap_or(Path::new("")).to_owned();
            return Ok(Self { folder, name, pinned: None });
        }
        let folder = args.folder.policies.clone();
        let path = folder.join(CONFIG_FILE);
        let config = Config::read(&folder)
            .context(hinted(format!("{} is refused", path.display()), "mend it first"))?
            .unwrap_or_default();
        let policy = &inspection.description.name;
        let of_slot = config.policies.get(policy);
        let in_force =
            rehearsal.set().policies.get(policy).and_then(|policy| Some(policy.file.file_name()?.to_owned()));
        let name = match (of_slot, in_force.and_then(|name| name.into_string().ok())) {
            (Some(slot), _) => slot.file.clone(),
            (None, Some(file)) => file,
            (None, None) => format!("{policy}.wasm"),
        };
        Ok(Self { folder, name, pinned: of_slot.and_then(|slot| slot.digest.clone()) })
    }

    fn file(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn signature_name(&self) -> String {
        format!("{}.sig", self.name)
    }

    /// What is in the file now; an error where it should stay.
    fn check(
        &self,
        args: &PullArgs,
        rehearsal: &mut Rehearsal,
        inspection: &Inspection,
    ) -> anyhow::Result<Option<Digest>> {
        let (path, new) = (self.file(), &inspection.description);
        if let Some(pinned) = self.pinned.as_ref().filter(|pinned| !args.pin && **pinned != *inspection.digest) {
            let what =
                format!("{CONFIG_FILE} pins {} to sha256:{pinned}, and this is sha256:{}", new.name, inspection.digest);
            bail!(hinted(what, "pull with --pin to pin it to this one"));
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        let was = Digest::of(&bytes);
        if args.force || was.as_str() == format!("sha256:{}", inspection.digest) {
            return Ok(Some(was));
        }
        let what = match rehearsal.inspect(&bytes) {
            Ok(Inspection { description: old, .. }) if old.name == new.name && old.kind == new.kind => {
                return Ok(Some(was));
            }
            Ok(Inspection { description: old, .. }) => {
                format!("{} holds {}, a {} policy", path.display(), old.name, old.kind.as_str())
            }
            Err(_) => format!("{} is there, and is no policy", path.display()),
        };
        Err(hinted(what, "--force replaces it, and --out writes elsewhere").into())
    }

    /// Loads the folder as it will be.
    fn rehearse(
        &self,
        rehearsal: &mut Rehearsal,
        component: &[u8],
        signature: Option<&str>,
        pin: Option<&str>,
    ) -> anyhow::Result<()> {
        let faulty = |refusal: &Refusal| refusal.name == CONFIG_FILE;
        // It may name what is to be pulled next.
        let was_faulty = rehearsal.set().refused.iter().any(faulty);
        let signature_name = self.signature_name();
        let mut changes = vec![(self.name.as_str(), component)];
        changes.extend(signature.map(|text| (signature_name.as_str(), text.as_bytes())));
        changes.extend(pin.map(|text| (CONFIG_FILE, text.as_bytes())));
        rehearsal.change(&changes, |refusal| refusal.file.ends_with(&self.name) || faulty(refusal) && !was_faulty)
    }

    /// The folder's configuration with the digest of the policy in it.
    fn pin(&self, policy: &Policy) -> anyhow::Result<String> {
        let path = self.folder.join(CONFIG_FILE);
        let text = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
        let mut document: DocumentMut = text.parse()?;
        let slot = slot_of(&mut document, &policy.policy)?;
        slot.insert("digest", value(policy.digest.as_str()));
        Ok(document.to_string())
    }

    /// The signature first, since alone it says nothing, and a component without it may be refused; the pin last.
    fn write(&self, component: &[u8], signature: Option<&str>, pin: Option<&str>) -> anyhow::Result<()> {
        let cannot = || {
            let hint = "check the folder, and who may write there";
            hinted(format!("{} cannot be written", self.file().display()), hint)
        };
        let signature_name = self.signature_name();
        let signature = signature.map(|text| format!("{text}\n"));
        let mut files: Vec<(&str, &[u8])> = Vec::new();
        files.extend(signature.iter().map(|text| (signature_name.as_str(), text.as_bytes())));
        files.push((&self.name, component));
        files.extend(pin.map(|text| (CONFIG_FILE, text.as_bytes())));
        files.retain(|(name, bytes)| !fs::read(self.folder.join(name)).is_ok_and(|there| there == *bytes));
        put_all(&self.folder, &files).with_context(cannot)?;
        if signature.is_some() {
            return Ok(());
        }
        // One that is left belongs to the bytes before.
        match fs::remove_file(self.folder.join(&signature_name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.with_context(cannot),
        }
    }
}
