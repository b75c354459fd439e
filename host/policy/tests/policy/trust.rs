//! Signed policies: what is loaded where only what a known key signed may be, what is not, and what is said of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use berth_policy::{
    Directory, KeyError, Keys, PolicyHost, PolicySet, PolicyState, PrivateKey, Scan, Trust, Watch, inspect,
    signature_file,
};
use proptest::prelude::*;

use crate::support::{Home, builtin, misbehave, runtime, term, variant};

static OURS: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate().unwrap());
static OTHERS: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate().unwrap());

fn known(keys: &[&PrivateKey]) -> Trust {
    let text: Vec<String> = keys.iter().map(|key| key.public_pem().unwrap()).collect();
    Trust::new(Keys::parse(&text.concat()).unwrap())
}

/// A folder of which only what we signed is loaded, with `misbehave` under a configuration.
fn home() -> Home {
    let home = Home::trusting(known(&[&OURS]));
    home.write("policies.toml", "[policy.misbehave]\nconfig = { tag = 7 }\n");
    home
}

fn sign(file: &Path, key: &PrivateKey) {
    let signature = key.sign(&fs::read(file).unwrap()).unwrap();
    fs::write(signature_file(file), format!("{signature}\n")).unwrap();
}

/// The only refusal, which must be of `misbehave` and say so.
#[track_caller]
fn refused(home: &Home, says: &str) {
    let refusals = home.refusals();
    assert!(refusals.len() == 1 && refusals[0].starts_with("misbehave: "), "{refusals:?}");
    assert!(refusals[0].contains(says), "{says:?} is not in {refusals:?}");
}

#[test]
fn what_is_not_signed_is_not_even_compiled() {
    let mut home = home();
    home.write("misbehave.wasm", "no component at all");
    home.scan();
    refused(&home, "it is not signed, and only what a known key signed is loaded; `berth policy sign misbehave.wasm");
    sign(&home.path("misbehave.wasm"), &OURS);
    home.scan();
    refused(&home, "it is no WebAssembly component");
}

#[test]
fn a_signature_alone_is_a_change() {
    let mut home = home();
    home.copy(&misbehave(), "misbehave.wasm");
    assert_eq!(home.scan().refused.len(), 1);
    refused(&home, "it is not signed");
    assert_eq!(home.scan(), Scan::default(), "a refusal is reported once");

    sign(&home.path("misbehave.wasm"), &OURS);
    let scan = home.scan();
    assert_eq!((scan.changed, scan.refused), (vec!["misbehave".into()], vec![]));
    assert!(home.refusals().is_empty(), "{:?}", home.refusals());
    assert_eq!(term(&home.ask("", 1), "tag"), 7.0);
    assert_eq!(home.row("misbehave").signed_by.as_deref(), Some(OURS.id().as_str()));
}

#[test]
fn a_policy_in_force_that_loses_its_signature_stays_until_a_restart() {
    let mut home = home();
    home.copy(&misbehave(), "misbehave.wasm");
    sign(&home.path("misbehave.wasm"), &OURS);
    home.scan();
    let before = home.directory.set().policies["misbehave"].clone();

    fs::remove_file(home.path("misbehave.wasm.sig")).unwrap();
    let scan = home.scan();
    assert!(scan.changed.is_empty() && scan.removed.is_empty() && !scan.again, "{scan:?}");
    refused(&home, "it is not signed");
    assert!(
        std::sync::Arc::ptr_eq(&before, &home.directory.set().policies["misbehave"]),
        "with its session and counters"
    );
    assert_eq!(term(&home.ask("", 1), "tag"), 7.0);

    // Nor does it take another configuration meanwhile.
    home.write("policies.toml", "[policy.misbehave]\nconfig = { tag = 8 }\n");
    home.scan();
    assert_eq!(term(&home.ask("", 2), "tag"), 7.0);

    let restarted = |home: &Home| {
        let mut directory = Directory::new(home.folder.path(), runtime()).with_trust(Some(known(&[&OURS])));
        directory.scan();
        directory.set()
    };
    let set = restarted(&home);
    assert!(set.policies.is_empty() && set.refused.len() == 1, "{set:?}");

    sign(&home.path("misbehave.wasm"), &OURS);
    home.scan();
    assert!(home.refusals().is_empty(), "{:?}", home.refusals());
    assert_eq!(term(&home.ask("", 3), "tag"), 8.0);
    assert_eq!(restarted(&home).policies.len(), 1);
}

#[test]
fn a_component_that_was_changed_keeps_its_predecessor() {
    let mut home = home();
    home.copy(&misbehave(), "misbehave.wasm");
    sign(&home.path("misbehave.wasm"), &OURS);
    home.scan();
    let digest = home.row("misbehave").digest;

    home.write("misbehave.wasm", variant(&misbehave(), 1));
    home.scan();
    let says = format!("misbehave.wasm.sig is no signature of it by a known key ({})", OURS.id().short());
    refused(&home, &says);
    assert_eq!(&*home.ask("", 1).by.digest, digest);

    sign(&home.path("misbehave.wasm"), &OURS);
    home.scan();
    assert_ne!(home.row("misbehave").digest, digest);
    assert!(home.refusals().is_empty(), "{:?}", home.refusals());
}

#[test]
fn the_key_must_be_known_and_any_known_one_will_do() {
    let mut home = home();
    home.copy(&misbehave(), "misbehave.wasm");
    sign(&home.path("misbehave.wasm"), &OTHERS);
    home.scan();
    refused(&home, "one of the two was changed, or another key signed it");

    let mut home = Home::trusting(known(&[&OURS, &OTHERS]));
    home.copy(&misbehave(), "misbehave.wasm");
    for key in [&*OTHERS, &*OURS] {
        sign(&home.path("misbehave.wasm"), key);
        assert_eq!(home.scan().changed, ["misbehave".into()], "who signed it is part of what is in force");
        assert_eq!(home.row("misbehave").signed_by.as_deref(), Some(key.id().as_str()));
    }
}

#[test]
fn what_is_no_signature() {
    let mut home = home();
    home.copy(&misbehave(), "misbehave.wasm");
    let good = OURS.sign(&fs::read(misbehave()).unwrap()).unwrap().to_string();
    let large = " ".repeat(70_000);
    for (text, says) in [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("rubbish!", "it is not in base64"),
        (&good[..40], "its base64 holds no ECDSA signature"),
        (&format!("{}{good}", good.trim_end()), "misbehave.wasm.sig is no signature: "),
        (
            "{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\"}",
            "no Sigstore bundle with a signature of a file",
        ),
        (&large, "it is larger than a signature can be"),
    ] {
        home.write("misbehave.wasm.sig", text);
        home.scan();
        refused(&home, says);
        refused(&home, "`berth policy sign misbehave.wasm --key KEY`");
    }
    fs::remove_file(home.path("misbehave.wasm.sig")).unwrap();
    fs::create_dir(home.path("misbehave.wasm.sig")).unwrap();
    home.scan();
    refused(&home, "it is no regular file");

    fs::remove_dir(home.path("misbehave.wasm.sig")).unwrap();
    // As `openssl base64` breaks it, and as Windows ends lines.
    home.write("misbehave.wasm.sig", format!("{}\r\n{}\r\n", &good[..64], good[64..].trim_end()));
    home.scan();
    assert!(home.refusals().is_empty(), "{:?}", home.refusals());
}

/// What `cosign sign-blob --key cosign.key --bundle x.wasm.sig x.wasm` of cosign 3.1.3 wrote, without a transparency log, where
/// the file held `a policy` and the end of its line.
const BUNDLE: &str = include_str!("../cosign/bundle.sig");
const COSIGN_PUB: &str = include_str!("../cosign/cosign.pub");

#[test]
fn a_bundle_of_cosign() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.wasm");
    let trust = Trust::new(Keys::parse(COSIGN_PUB).unwrap());
    fs::write(signature_file(&file), BUNDLE).unwrap();
    let signer = trust.check(&file, b"a policy\n").unwrap().unwrap();
    // The bundle names the key alike, in base64 (`hint`).
    assert_eq!(signer.as_str(), "4beca600eaaeb0fac5b6da8d4c0f17dd8049008ef6922100a875f0fc637645df");
    assert!(trust.check(&file, b"a policy").is_err());
    let other = BUNDLE.replace("MEYCIQCzx", "MEYCIQCzy");
    fs::write(signature_file(&file), other).unwrap();
    assert!(trust.check(&file, b"a policy\n").is_err());
}

#[test]
fn components_that_are_trusted_by_their_bytes() {
    let mut trust = known(&[&OURS]);
    trust.add(&fs::read(builtin("weighted.wasm")).unwrap());
    let mut home = Home::trusting(trust);
    home.copy(&builtin("weighted.wasm"), "weighted.wasm");
    home.copy(&builtin("available.wasm"), "available.wasm");
    home.scan();
    assert_eq!((home.row("weighted").state, home.row("weighted").signed_by), (PolicyState::Active, None));
    assert_eq!(home.row("available").state, PolicyState::Refused);
    // They may be signed all the same, and a signature that does not count does no harm.
    sign(&home.path("weighted.wasm"), &OURS);
    home.scan();
    assert_eq!(home.row("weighted").signed_by.as_deref(), Some(OURS.id().as_str()));
    home.write("weighted.wasm.sig", "rubbish");
    home.scan();
    assert_eq!((home.row("weighted").state, home.row("weighted").signed_by), (PolicyState::Active, None));

    home.write("weighted.wasm", variant(&builtin("weighted.wasm"), 1));
    home.scan();
    assert!(home.rows("weighted").iter().any(|row| row.state == PolicyState::Refused));
}

#[test]
fn a_trial_is_held_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("near.wasm");
    fs::copy(misbehave(), &file).unwrap();
    let trust = known(&[&OURS]);
    assert!(inspect(&runtime(), &file, None).unwrap().signed_by.is_none());
    let untrusted = inspect(&runtime(), &file, Some(&trust)).unwrap_err().to_string();
    assert!(untrusted.contains("`berth policy sign near.wasm --key KEY`"), "{untrusted}");
    sign(&file, &OURS);
    assert_eq!(inspect(&runtime(), &file, Some(&trust)).unwrap().signed_by.as_ref(), Some(OURS.id()));
}

/// A watched folder of which only what we signed is loaded, and how to look at what is in force.
struct Watched {
    folder: tempfile::TempDir,
    host: PolicyHost,
    _watch: Watch,
}

impl Watched {
    fn new(fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path());
        let mut directory = Directory::new(folder.path(), runtime()).with_trust(Some(known(&[&OURS])));
        directory.scan();
        let host = PolicyHost::new(&directory);
        let watch = Watch::start(directory, |_| ()).unwrap();
        Self { folder, host, _watch: watch }
    }

    #[track_caller]
    fn wait_until(&self, what: &str, is: impl Fn(&PolicySet) -> bool) {
        let started = Instant::now();
        while !is(&self.host.set()) {
            assert!(started.elapsed() < Duration::from_secs(60), "{what}: {:?}", self.host.set());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn active(set: &PolicySet, digest: &str) -> bool {
    set.refused.is_empty() && set.policies.get("misbehave").is_some_and(|policy| &*policy.by.digest == digest)
}

fn digest_of(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.wasm"), bytes).unwrap();
    inspect(&runtime(), &folder.path().join("x.wasm"), None).unwrap().digest.to_string()
}

#[test]
fn a_watched_folder_in_which_component_and_signature_arrive_one_by_one() {
    let watched = Watched::new(|_| ());
    let component = watched.folder.path().join("misbehave.wasm");
    let version = |mark: u8| variant(&misbehave(), mark);
    fs::write(&component, version(0)).unwrap();
    watched.wait_until("it is refused", |set| set.refused.len() == 1 && set.policies.is_empty());
    sign(&component, &OURS);
    watched.wait_until("it is loaded", |set| active(set, &digest_of(&version(0))));

    // The next version, its component first.
    fs::write(&component, version(1)).unwrap();
    watched.wait_until("the predecessor stays", |set| set.refused.len() == 1 && set.policies.len() == 1);
    sign(&component, &OURS);
    watched.wait_until("the second is in force", |set| active(set, &digest_of(&version(1))));

    // The one after, its signature first.
    fs::write(signature_file(&component), OURS.sign(&version(2)).unwrap().to_string()).unwrap();
    watched.wait_until("the second stays", |set| set.refused.len() == 1 && set.policies.len() == 1);
    fs::write(&component, version(2)).unwrap();
    watched.wait_until("the third is in force", |set| active(set, &digest_of(&version(2))));

    // Both at once, in the order in which `cp` takes them.
    fs::write(&component, version(3)).unwrap();
    sign(&component, &OURS);
    watched.wait_until("the fourth is in force", |set| active(set, &digest_of(&version(3))));

    fs::remove_file(signature_file(&component)).unwrap();
    watched.wait_until("it stays, and shows why", |set| set.refused.len() == 1 && set.policies.len() == 1);
}

#[test]
fn a_config_map_with_signatures_that_is_updated() {
    // A new folder, a link beside, a rename, as the kubelet does it.
    let project = |folder: &Path, stamp: &str, mark: u8| {
        let data = folder.join(stamp);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("misbehave.wasm"), variant(&misbehave(), mark)).unwrap();
        sign(&data.join("misbehave.wasm"), &OURS);
        symlink(stamp, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let watched = Watched::new(|folder| {
        project(folder, "..0", 0);
        for name in ["misbehave.wasm", "misbehave.wasm.sig"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    });
    for mark in 0..=3 {
        let folder = watched.folder.path();
        if mark > 0 {
            project(folder, &format!("..{mark}"), mark);
            fs::remove_dir_all(folder.join(format!("..{}", mark - 1))).unwrap();
        }
        watched.wait_until("each version is loaded", |set| active(set, &digest_of(&variant(&misbehave(), mark))));
    }
}

/// The key of RFC 6979, A.2.5, which everybody has.
const RFC_6979: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgya+p2EW6dRZrXCFX
Z7HWk05Qw9s26JsSe4piKxIPZyGhRANCAARg/tS6JVqdMclh63TGNW1owEm4kjth
+mzmaWIuYPKftnkD/hAIuLyZpBrp6VYovGTy8bIMLX6fUXejwpTURiKZ
-----END PRIVATE KEY-----
";

#[test]
fn a_signature_is_that_of_the_standard() {
    let key = PrivateKey::parse(RFC_6979).unwrap();
    // `openssl pkey -pubin -outform DER | sha256sum`
    assert_eq!(key.id().as_str(), "5a7a78cca4a0f420d9bc62bb669c3c2759e39f723d3ae10dcbe0f0815a07ecd4");
    // r and s of the message `sample` with SHA-256.
    let expected = "MEYCIQDv1IsqrLao/RFA3ZzUXoHWnSyHe1aq+ZHDTQ6oTq83FgIhAPfLHJQtZXxB1DbHobbin2Xz6QDbua/0Bk3Eqy+EOs2o";
    assert_eq!(key.sign(b"sample").unwrap().to_string(), expected);
    let again = PrivateKey::parse(OURS.to_pem().unwrap().as_ref()).unwrap();
    assert_eq!((again.id(), again.sign(b"x").unwrap()), (OURS.id(), OURS.sign(b"x").unwrap()));
    assert_eq!(format!("{again:?}"), format!("PrivateKey({:?})", OURS.id()), "nothing of it is shown");
}

#[test]
fn a_key_file_is_taken_whole_or_not_at_all() {
    let (public, private) = (OURS.public_pem().unwrap(), OURS.to_pem().unwrap());
    let other = OTHERS.public_pem().unwrap();
    let keys = Keys::parse(&format!("# ours\r\n{}\nothers:\n{other}", public.replace('\n', "\r\n"))).unwrap();
    assert_eq!(keys.to_string(), format!("{}, {}", OURS.id().short(), OTHERS.id().short()));
    assert!(Keys::parse(&public.repeat(9)).unwrap().to_string().ends_with(" and 5 more"));
    let of = |text: &str| Keys::parse(text).unwrap_err().to_string();
    assert_eq!(of(""), "it holds no key in PEM");
    assert_eq!(of(&public.replace("-----", "")), "it holds no key in PEM");
    assert_eq!(of(private.as_ref()), "it holds a private key, and the public one is wanted");
    assert_eq!(
        of(&public.replace("PUBLIC KEY", "CERTIFICATE")),
        "it holds a \"CERTIFICATE\", and a key of P-256 is wanted"
    );
    assert_eq!(of(&public.replace("MFkw", "MFkx")), "its key 1 is not one of P-256");
    let ed25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    assert_eq!(of(&format!("{public}{ed25519}")), "its key 2 is not one of P-256");
    let half: String = public.lines().take(2).map(|line| format!("{line}\n")).collect();
    assert_eq!(of(&half), "line 1 is no part of a key in PEM: a BEGIN or END that stands alone");
    assert_eq!(of(&format!("{half}{other}")), "line 3 is no part of a key in PEM: a BEGIN or END that stands alone");
    // Somebody may believe that such a key does not count any more, or that it does.
    let noted = format!("{public}# {other}");
    assert_eq!(of(&noted), "line 5 is no part of a key in PEM: a BEGIN or END that stands alone");

    let of = |text: &str| PrivateKey::parse(text).unwrap_err();
    assert!(matches!(of(&public), KeyError::Public));
    assert!(matches!(of(""), KeyError::None));
    assert!(matches!(of(&private.as_ref().repeat(2)), KeyError::Several(2)));
    for label in ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        assert!(matches!(of(&private.as_ref().replace("PRIVATE KEY", label)), KeyError::Encrypted));
    }
    assert!(matches!(Keys::read(Path::new("/nonexistent/a.pub")), Err(KeyError::Read(_))));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), public.repeat(1_000)).unwrap();
    assert!(matches!(Keys::read(file.path()), Err(KeyError::TooLarge)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_change_of_a_byte_verifies(
        component in prop::collection::vec(any::<u8>(), 1..200),
        in_signature in any::<bool>(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        let trust = known(&[&OURS]);
        let mut signature = format!("{}\n", OURS.sign(&component).unwrap()).into_bytes();
        fs::write(signature_file(&file), &signature).unwrap();
        prop_assert_eq!(trust.check(&file, &component).unwrap(), Some(OURS.id().clone()));

        let mut changed = component.clone();
        if in_signature {
            // All but the end of its line.
            let at = at.index(signature.len() - 1);
            prop_assume!(signature[at] != to);
            signature[at] = to;
            fs::write(signature_file(&file), &signature).unwrap();
        } else {
            let at = at.index(component.len());
            prop_assume!(changed[at] != to);
            changed[at] = to;
        }
        prop_assert!(trust.check(&file, &changed).is_err());
    }

    #[test]
    fn no_text_makes_reading_keys_or_signatures_panic(text in "\\PC*", at in any::<prop::sample::Index>(), cut in 0..40_usize) {
        let whole = OURS.public_pem().unwrap();
        let start = at.index(whole.len());
        let end = (start + cut).min(whole.len());
        let mixed = format!("{}{text}{}", &whole[..start], &whole[end..]);
        if let Ok(keys) = Keys::parse(&mixed) {
            let spliced = keys.to_string();
            prop_assert_eq!(spliced, OURS.id().short(), "no key is known that was not written");
        }
        let _ = (Keys::parse(&text), PrivateKey::parse(&text), PrivateKey::parse(&mixed));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        fs::write(signature_file(&file), &text).unwrap();
        prop_assert!(known(&[&OURS]).check(&file, b"x").is_err());
    }
}
