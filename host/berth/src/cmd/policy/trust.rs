//! `berth policy keygen`, `sign` and `verify`: whose a component is, for controllers that load only what a known key signed.
//!
//! Holds: a key is never overwritten, and a private one never printed; what is signed are the very bytes that were checked.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use berth_policy::{KeyId, PrivateKey, Trial, Untrusted, signature_file};
use clap::Args;
use serde::Serialize;

use super::runtime;
use crate::cli::TrustArgs;
use crate::fail::{Exit, hinted};
use crate::output::{self, Format};
use crate::private::{self, What};
use crate::run::policies;

/// Make a pair of keys: one to sign policies with, and one by which a controller knows them
///
/// ECDSA on P-256: NAME.key as `openssl` and `cosign import-key-pair` read it, open to its owner alone, and NAME.pub. Keys that
/// `openssl` made, and public keys of `cosign`, do as well.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy keygen
  berth policy keygen keys/release"
)]
pub(super) struct KeygenArgs {
    /// Where to put them, without .key and .pub; no file is ever overwritten
    #[arg(default_value = "policy")]
    name: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Sign a component; the signature goes into FILE.sig beside it
///
/// The same as `cosign sign-blob --key` and `openssl dgst -sha256 -sign` make. What a controller would refuse is not signed.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy sign near/near.wasm --key policy.key
  cp near/near.wasm near/near.wasm.sig policies/"
)]
pub(super) struct SignArgs {
    /// The component
    file: PathBuf,
    /// The private key, in PEM and not encrypted
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Check a component's signature as a controller with these keys would
///
/// Only the signature is looked at; `berth policy inspect FILE --policy-key KEY` looks at the component too.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  berth policy verify policies/near.wasm --policy-key policy.pub
  berth policy verify policies/near.wasm --policy-key old.pub --policy-key new.pub -o json

Exit codes: 0 a controller would trust it; 1 it would not, with the reason."
)]
pub(super) struct VerifyArgs {
    /// The component; its signature is in FILE.sig
    file: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

const KEY: What = What {
    kind: "signing key",
    mend: "a private key is PEM and begins with -----BEGIN PRIVATE KEY-----; `berth policy keygen` makes a pair",
    leaked: "make a new pair with `berth policy keygen`",
};

/// A pair of keys, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pair<'a> {
    key_id: &'a KeyId,
    private_key: &'a Path,
    public_key: &'a Path,
}

pub(super) fn keygen(args: &KeygenArgs) -> anyhow::Result<Exit> {
    let (private, public) = (with_end(&args.name, ".key"), with_end(&args.name, ".pub"));
    let unmade = |file: &Path| {
        hinted(format!("{} cannot be made", file.display()), "its folder must be there; give the keys another name")
    };
    for file in [&private, &public] {
        if file.symlink_metadata().is_ok() {
            let hint = "a key is never overwritten; give another name, such as `berth policy keygen new`";
            return Err(hinted(format!("{} is there already", file.display()), hint).into());
        }
    }
    let key = PrivateKey::generate()?;
    let (secret, open) = (key.to_pem()?, key.public_pem()?);
    private::create(&private, secret.as_ref()).with_context(|| unmade(&private))?;
    let made = fs::File::create_new(&public).and_then(|mut file| file.write_all(open.as_bytes()));
    if made.is_err() {
        // Nobody has signed with it, and it would stand in the way of the next try.
        let _ = fs::remove_file(&private);
    }
    made.with_context(|| unmade(&public))?;
    let pair = Pair { key_id: key.id(), private_key: &private, public_key: &public };
    output::print(args.output, &pair, |pair| {
        let (private, public) = (pair.private_key.display(), pair.public_key.display());
        format!(
            "key      {}\nprivate  {private}: who has it can sign; `berth policy sign FILE --key {private}`\n\
             public   {public}: for controllers; `berth run --policy-key {public}`\n",
            pair.key_id
        )
    })?;
    Ok(Exit::Done)
}

/// A component with whose it is, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Signed<'a> {
    file: &'a Path,
    signature: PathBuf,
    /// `None` where it needs no signature, since it is built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<KeyId>,
}

pub(super) fn sign(args: &SignArgs) -> anyhow::Result<Exit> {
    let file = args.file.as_path();
    let faulty = || hinted(format!("the signing key {} is not usable", args.key.display()), KEY.mend);
    let text = private::Text::read(&args.key, KEY)?;
    let key = PrivateKey::parse(&text.text).with_context(faulty)?;
    // Who named the public key by mistake is to hear that, not this.
    text.closed()?;
    let bytes = fs::read(file).with_context(|| hinted(format!("{} cannot be read", file.display()), ""))?;
    Trial::of(&runtime()?, file, &bytes).map_err(|error| super::refused(file, error))?;
    let signature = signature_file(file);
    let (folder, name) = (signature.parent().unwrap_or(Path::new("")), signature.file_name().unwrap_or_default());
    policies::put(folder, &name.to_string_lossy(), format!("{}\n", key.sign(&bytes)?).as_bytes())
        .with_context(|| hinted(format!("{} cannot be written", signature.display()), ""))?;
    let signed = Signed { file, signature, signed_by: Some(key.id().clone()) };
    output::print(args.output, &signed, |signed| format!("{}: signed by {}\n", signed.signature.display(), key.id()))?;
    Ok(Exit::Done)
}

pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let file = args.file.as_path();
    let unnamed = || hinted("no key is named", "name the public key with --policy-key or BERTH_POLICY_KEY");
    let trust = policies::trust(&args.trust.policy_key)?.with_context(unnamed)?;
    let bytes = fs::read(file).with_context(|| hinted(format!("{} cannot be read", file.display()), ""))?;
    let signed_by = trust.check(file, &bytes).map_err(|error: Untrusted| super::refused(file, error))?;
    let signed = Signed { file, signature: signature_file(file), signed_by };
    output::print(args.output, &signed, |signed| match &signed.signed_by {
        Some(key) => format!("{}: signed by {key}\n", signed.file.display()),
        None => format!("{}: built into this Berth, and needs no signature\n", signed.file.display()),
    })?;
    Ok(Exit::Done)
}

fn with_end(name: &Path, end: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(end);
    name.into()
}
