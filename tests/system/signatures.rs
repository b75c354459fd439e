//! Signatures and keys are those of the rest of the world: what `openssl` signs is trusted, and what is signed here `openssl`
//! verifies. Left out, and said so, where there is no `openssl`; with `BERTH_CONFORMANCE` that is a failure. And keys by
//! the environment, which scripts do not have.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder with a component, and commands in it.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/tests/guests/misbehave.wasm");
        fs::copy(guest, folder.path().join("near.wasm")).unwrap();
        Self(folder)
    }

    fn command(&self, program: &str, arguments: &str) -> Command {
        let mut command = Command::new(program);
        command.args(arguments.split(' ')).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_remove("BERTH_POLICY_KEY");
        command
    }

    fn output(&self, program: &str, arguments: &str) -> std::io::Result<Output> {
        self.command(program, arguments).output()
    }

    /// What a command that succeeds prints.
    #[track_caller]
    fn run(&self, program: &str, arguments: &str) -> String {
        let output = self.output(program, arguments).unwrap();
        assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn berth(&self, arguments: &str) -> String {
        self.run(env!("CARGO_BIN_EXE_berth"), arguments)
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) -> String {
        self.run("openssl", arguments)
    }

    fn has_openssl(&self) -> bool {
        let Err(error) = self.output("openssl", "version") else { return true };
        berth_tests::left_out("signatures with openssl", &format!("openssl: {error}"));
        false
    }
}

#[test]
fn what_is_signed_here_openssl_verifies() {
    let bench = Bench::new();
    if !bench.has_openssl() {
        return;
    }
    bench.berth("policy keygen ours");
    bench.berth("policy sign near.wasm --key ours.key");
    bench.openssl("base64 -d -A -in near.wasm.sig -out near.der");
    let says = bench.openssl("dgst -sha256 -verify ours.pub -signature near.der near.wasm");
    assert_eq!(says, "Verified OK\n");
    // The key itself, its public half, and its name.
    assert_eq!(
        bench.openssl("pkey -in ours.key -pubout"),
        fs::read_to_string(bench.0.path().join("ours.pub")).unwrap()
    );
    bench.openssl("pkey -pubin -in ours.pub -outform DER -out ours.der");
    let id = bench.openssl("dgst -sha256 -r ours.der");
    let id = id.split(' ').next().unwrap();
    assert!(bench.berth("policy verify near.wasm --policy-key ours.pub").contains(id), "{id}");
}

#[test]
fn what_openssl_signs_is_trusted() {
    let bench = Bench::new();
    if !bench.has_openssl() {
        return;
    }
    let keys = [
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out theirs.key",
        // SEC 1, as commands of old write it.
        "ecparam -name prime256v1 -genkey -out theirs.key",
    ];
    for make in keys {
        bench.openssl(make);
        bench.openssl("pkey -in theirs.key -pubout -out theirs.pub");
        bench.openssl("dgst -sha256 -sign theirs.key -out near.der near.wasm");
        for base64 in ["base64 -A -in near.der -out near.wasm.sig", "base64 -in near.der -out near.wasm.sig"] {
            bench.openssl(base64);
            bench.berth("policy verify near.wasm --policy-key theirs.pub");
            bench.berth("policy inspect near.wasm --policy-key theirs.pub");
        }
        // Their key signs here as well.
        bench.berth("policy sign near.wasm --key theirs.key");
        bench.openssl("base64 -d -A -in near.wasm.sig -out near.der");
        bench.openssl("dgst -sha256 -verify theirs.pub -signature near.der near.wasm");
    }
}

#[test]
fn keys_of_other_kinds_are_refused_by_name() {
    let bench = Bench::new();
    if !bench.has_openssl() {
        return;
    }
    let refused = |arguments: &str, says: &str| {
        let output = bench.output(env!("CARGO_BIN_EXE_berth"), arguments).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(says) && stderr.contains("`berth policy keygen` makes a pair"), "{stderr}");
    };
    for kind in ["ED25519", "RSA", "EC -pkeyopt ec_paramgen_curve:P-384"] {
        bench.openssl(&format!("genpkey -algorithm {kind} -out other.key"));
        bench.openssl("pkey -in other.key -pubout -out other.pub");
        refused("policy verify near.wasm --policy-key other.pub", "its key 1 is not one of P-256");
        refused("policy sign near.wasm --key other.key", "its key 1 is not one of P-256");
    }
    bench.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:x -out locked.key");
    refused("policy sign near.wasm --key locked.key", "its private key is encrypted");
}

#[test]
fn keys_in_the_environment_count_and_no_key_is_never_taken_for_any_key() {
    let bench = Bench::new();
    bench.berth("policy keygen one");
    bench.berth("policy keygen two");
    bench.berth("policy sign near.wasm --key two.key");
    let verify = |keys: &str| {
        let mut command = bench.command(env!("CARGO_BIN_EXE_berth"), "policy inspect near.wasm");
        let output = command.env("BERTH_POLICY_KEY", keys).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(verify("one.pub,two.pub"), (0, String::new()));
    let (code, says) = verify("one.pub");
    assert!(code == 1 && says.contains("by a known key"), "{says}");
    for none in ["", ",", "two.pub,"] {
        let (code, says) = verify(none);
        assert!(code == 2 && says.contains("a value is required for '--policy-key <FILE>'"), "{none:?}: {says}");
    }
    let (code, says) = verify("two.pub,gone.pub");
    assert!(code == 1 && says.starts_with("error: the policy key gone.pub is not usable"), "{says}");
    fs::write(bench.0.path().join("empty.pub"), "").unwrap();
    let (code, says) = verify("two.pub,empty.pub");
    assert!(code == 1 && says.contains("it holds no key in PEM"), "{says}");
}
