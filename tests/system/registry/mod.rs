//! Policies from and to a registry: the program as a user runs it, with the registry of CNCF distribution.
//!
//! Where this machine has no such registry, the tests say so and are left out; with `BERTH_CONFORMANCE` that is a failure.

mod folder;
mod login;
mod program;
mod refused;
mod token;
mod transport;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use program::{Desk, Registry, digest};

const COST: &str = "policies/cost.wasm";

#[test]
fn what_is_pushed_is_pulled_by_tag_and_by_digest_bit_for_bit() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let reference = format!("{}/acme/policies/cost", registry.host);
    let component = desk.read(COST);
    let pushed = desk.push(COST, &format!("{reference}:1.0"));
    let own = digest(&component);
    assert_eq!(
        (&pushed["policy"], &pushed["kind"], &pushed["digest"]),
        (&json!("cost"), &json!("placement"), &json!(own))
    );
    let whole = pushed["reference"].as_str().unwrap();
    let (tagged, manifest) = whole.split_once('@').unwrap();
    assert_eq!(tagged, format!("{reference}:1.0"));

    fs::remove_dir_all(desk.path("policies")).unwrap();
    fs::create_dir(desk.path("policies")).unwrap();
    for (name, from) in [("tag", tagged), ("digest", &format!("{reference}@{manifest}")), ("both", whole)] {
        let pulled = desk.pull(from).json();
        assert_eq!(desk.read(COST), component, "{from}");
        assert!(pulled["reference"].as_str().unwrap().ends_with(manifest), "{pulled}");
        assert_eq!((&pulled["file"], &pulled["digest"]), (&json!(COST), &json!(own)));
        let to = format!("{name}.wasm");
        assert!(desk.berth(&["policy", "pull", from, "--out", &to]).done, "{from}");
        assert_eq!(desk.read(&to), component, "{from}");
    }
    // The same again is the same, whoever pushes it and when; without a tag it is `latest`.
    let again = desk.push("tag.wasm", &reference);
    assert_eq!(again["reference"], json!(format!("{reference}:latest@{manifest}")));
    assert!(desk.pull(&reference).json()["reference"].as_str().unwrap().ends_with(manifest));
}

#[test]
fn the_artifact_is_laid_out_as_other_tools_for_wasm_read_it() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let pushed = desk.push(COST, &format!("{}/cost:1.0", registry.host));
    let component = desk.read(COST);
    let read = |digest: &str| {
        let bytes = fs::read(registry.blob(digest)).unwrap();
        assert_eq!(program::digest(&bytes), digest);
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let manifest = read(pushed["reference"].as_str().unwrap().split_once('@').unwrap().1);
    assert_eq!(manifest["schemaVersion"], 2);
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0]["mediaType"], "application/wasm");
    assert_eq!((&layers[0]["digest"], &layers[0]["size"]), (&json!(digest(&component)), &json!(component.len())));
    assert_eq!(layers[0]["annotations"]["org.opencontainers.image.title"], "cost.wasm");
    let config = read(manifest["config"]["digest"].as_str().unwrap());
    let interfaces: Value = config["component"].clone();
    assert_eq!((&config["architecture"], &config["os"]), (&json!("wasm"), &json!("wasip2")));
    assert_eq!(config["layerDigests"], json!([digest(&component)]));
    assert!(config["created"].as_str().unwrap().ends_with('Z'));
    assert!(interfaces["exports"].as_array().unwrap().contains(&json!("berth:policy/placement@0.1.0")), "{interfaces}");
    assert!(interfaces["imports"].is_array(), "{interfaces}");
}

#[test]
fn a_signature_goes_with_its_component() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let (reference, signature) = (format!("{}/cost:1.0", registry.host), "policies/cost.wasm.sig");
    desk.key("ours");
    desk.sign(COST, "ours");
    let text = String::from_utf8(desk.read(signature)).unwrap();
    // As `openssl base64` breaks it into lines.
    desk.write(signature, format!("{}\n{}", &text[..64], &text[64..]));
    assert_eq!(desk.push(COST, &reference)["signature"], signature);
    fs::remove_file(desk.path(signature)).unwrap();
    assert_eq!(desk.pull(&reference).json()["signature"], signature);
    assert_eq!(desk.read(signature), text.as_bytes());
    // One that belongs to other bytes does not stay beside these.
    let unsigned = format!("{}/cost:1.1", registry.host);
    desk.write("other/cost.wasm", desk.another(COST, "1.1"));
    assert_eq!(desk.push("other/cost.wasm", &unsigned)["signature"], Value::Null);
    assert_eq!(desk.pull(&unsigned).json()["signature"], Value::Null);
    assert!(!desk.path(signature).exists());
    // What is no signature is not pushed.
    for no_signature in ["{\"a\": 1}", "MEUCIQDc6vC4mXq0Yx8="] {
        desk.write("other/cost.wasm.sig", no_signature);
        let says = ["cost.wasm.sig is no signature", "berth policy sign"];
        desk.berth(&["policy", "push", "other/cost.wasm", &unsigned]).refused(&says);
    }
}

#[test]
fn what_no_known_key_signed_is_not_pulled() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let id = desk.key("ours");
    desk.key("others");
    // Other bytes than those that are built in, and so known.
    desk.write("other/cost.wasm", desk.another(COST, "1.1"));
    let push = |tag: &str| {
        let reference = format!("{}/cost:{tag}", registry.host);
        desk.push("other/cost.wasm", &reference);
        reference
    };
    let unsigned = push("unsigned");
    desk.sign("other/cost.wasm", "others");
    let foreign = push("foreign");
    desk.sign("other/cost.wasm", "ours");
    let good = push("good");

    let before = desk.files("policies");
    for (reference, says) in [(&unsigned, "it is not signed"), (&foreign, "is no signature of it by a known key")] {
        desk.berth(&["policy", "pull", reference, "--policy-key", "ours.pub"]).refused(&[says, "is refused"]);
        let out = ["policy", "pull", reference, "--policy-key", "ours.pub", "--out", "out.wasm"];
        desk.berth(&out).refused(&[says, "is refused"]);
    }
    assert!(desk.files("policies") == before && !desk.path("out.wasm").exists(), "nothing is changed");

    let pulled = desk.berth(&["policy", "pull", &good, "--policy-key", "ours.pub", "-o", "json"]).json();
    assert_eq!((&pulled["signedBy"], &pulled["file"]), (&json!(id), &json!(COST)));
    assert!(desk.berth(&["policy", "verify", COST, "--policy-key", "ours.pub"]).done);
    // Nobody has to sign what is built in, and who knows no key takes all.
    let built_in = format!("{}/cost:built-in", registry.host);
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/cost.wasm"), desk.path("other/cost.wasm"))
        .unwrap();
    fs::remove_file(desk.path("other/cost.wasm.sig")).unwrap();
    desk.push("other/cost.wasm", &built_in);
    let pulled = desk.berth(&["policy", "pull", &built_in, "--policy-key", "ours.pub", "-o", "json"]).json();
    assert_eq!((&pulled["signedBy"], &pulled["signature"]), (&Value::Null, &Value::Null));
    assert!(desk.pull(&unsigned).json()["signedBy"].is_null());
}
