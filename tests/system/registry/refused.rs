//! What is not as it must be is refused, and nothing is written.

use std::fs;

use serde_json::{Value, json};

use super::COST;
use super::program::{Desk, Registry, digest};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const ABSENT: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Pulls it into the folder, which stays as it is.
fn stays(desk: &Desk, reference: &str, words: &[&str]) {
    let before = desk.files("policies");
    for more in [&["--force"][..], &["--out", "new.wasm"]] {
        let said = desk.berth(&[&["policy", "pull", reference], more].concat());
        said.refused(words);
    }
    assert_eq!(desk.files("policies"), before, "{reference}");
    assert!(!desk.path("new.wasm").exists(), "{reference}");
}

#[test]
fn a_component_that_was_altered_in_the_registry_is_not_written() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let reference = format!("{}/cost:1.0", registry.host);
    desk.write("new/cost.wasm", desk.another(COST, "1.0"));
    let own = desk.push("new/cost.wasm", &reference)["digest"].as_str().unwrap().to_owned();
    let component = fs::read(registry.blob(&own)).unwrap();
    let mut altered = component.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    for bytes in [&altered[..], &component[..last], &[&component[..], b"\0"].concat(), b""] {
        fs::write(registry.blob(&own), bytes).unwrap();
        stays(&desk, &reference, &["the component of", "is not the one of its digest", &own, "nothing is written"]);
    }
    // The registry has another component, which is a policy too, under the digest.
    fs::write(registry.blob(&own), desk.read("policies/weighted.wasm")).unwrap();
    stays(&desk, &reference, &["is not the one of its digest"]);
    fs::remove_file(registry.blob(&own)).unwrap();
    stays(&desk, &reference, &["answers 404 Not Found when it is asked for the component", "BLOB_UNKNOWN"]);
    fs::write(registry.blob(&own), &component).unwrap();
    desk.pull(&reference).json();
    assert_eq!(desk.read(COST), component);
}

#[test]
fn a_manifest_that_was_altered_is_not_followed() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let reference = format!("{}/cost", registry.host);
    let pushed = desk.push(COST, &format!("{reference}:1.0"));
    let manifest = pushed["reference"].as_str().unwrap().split_once('@').unwrap().1.to_owned();
    // It names another component that is there.
    let other = desk.push("policies/weighted.wasm", &format!("{reference}:2.0"))["digest"].as_str().unwrap().to_owned();
    let text = fs::read_to_string(registry.blob(&manifest)).unwrap();
    let altered = text.replace(pushed["digest"].as_str().unwrap(), &other);
    assert_ne!(altered, text);
    fs::write(registry.blob(&manifest), altered).unwrap();
    for by in [format!("{reference}:1.0"), format!("{reference}@{manifest}")] {
        stays(&desk, &by, &["the manifest of", "is not the one of its digest", &manifest]);
    }
}

#[test]
fn a_reference_to_something_else_is_refused() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let reference = format!("{}/cost", registry.host);
    let pushed = desk.push(COST, &format!("{reference}:1.0"));
    let manifest = pushed["reference"].as_str().unwrap().split_once('@').unwrap().1.to_owned();
    stays(&desk, &format!("{reference}:2.0"), &["there is no", ":2.0", "hint: check repository and tag"]);
    stays(&desk, &format!("{}/none:1.0", registry.host), &["there is no"]);
    stays(&desk, &format!("{reference}@{ABSENT}"), &["there is no"]);
    // The tag is there, and is not what the digest says; the digest is there, and the tag says nothing then.
    stays(&desk, &format!("{reference}:1.0@{ABSENT}"), &["there is no"]);
    desk.pull(&format!("{reference}:3.0@{manifest}")).json();
    // A component's digest is no manifest's.
    stays(&desk, &format!("{reference}@{}", pushed["digest"].as_str().unwrap()), &["there is no"]);
    stays(&desk, "127.0.0.1:1/cost:1.0", &["no registry answers at 127.0.0.1:1"]);
    stays(&desk, "cost:1.0", &["name the registry too"]);
    stays(&desk, &format!("{reference}:1.0@sha512:00"), &["a digest is sha256:"]);
    let pinned = format!("{reference}:1.0@{manifest}");
    desk.berth(&["policy", "push", COST, &pinned]).refused(&["leave the digest away"]);
}

#[test]
fn what_is_no_policy_is_refused() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let component = desk.read(COST);
    let layer = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let of = |layers: Value| {
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": layer("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": layers})
    };
    let wasm = "application/wasm";
    let mut large = layer(wasm, &component);
    large["size"] = json!(33 << 20);
    let cases: [(&str, Value, &[u8], &[&str]); 6] = [
        (
            "image",
            of(json!([layer("application/vnd.oci.image.layer.v1.tar", b"tar")])),
            b"tar",
            &["its layer is", "tar"],
        ),
        ("empty", of(json!([])), b"", &["it has 0 layers"]),
        ("two", of(json!([layer(wasm, &component), layer(wasm, &component)])), &component, &["it has 2 layers"]),
        ("text", of(json!([layer(wasm, b"not wasm")])), b"not wasm", &["is refused", "no WebAssembly component"]),
        ("large", of(json!([large])), &component, &["has 34603008 bytes", "at most 33554432"]),
        ("terminal", of(json!([layer("\u{1b}[2J", b"tar")])), b"tar", &["its layer is  [2J"]),
    ];
    for (tag, manifest, blob, words) in cases {
        registry.put("odd", tag, MANIFEST, &manifest, &[b"{}", blob]);
        stays(&desk, &format!("{}/odd:{tag}", registry.host), words);
    }
    let one = serde_json::to_vec(&of(json!([]))).unwrap();
    let index_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": index_type, "manifests": [layer(MANIFEST, &one)]});
    registry.put("odd", "index", index_type, &index, &[]);
    stays(&desk, &format!("{}/odd:index", registry.host), &["index of several artifacts"]);
    // An artifact of another tool, with another configuration, is a policy by what its layer is.
    registry.put("odd", "good", MANIFEST, &of(json!([layer(wasm, &component)])), &[b"{}", &component]);
    desk.pull(&format!("{}/odd:good", registry.host)).json();
}

#[test]
fn what_a_controller_would_refuse_is_not_pushed() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let reference = format!("{}/cost:1.0", registry.host);
    desk.write("text.wasm", "not wasm");
    desk.berth(&["policy", "push", "text.wasm", &reference]).refused(&["text.wasm is refused"]);
    desk.berth(&["policy", "push", "absent.wasm", &reference]).refused(&["absent.wasm is refused", "cannot be read"]);
    stays(&desk, &reference, &["there is no"]);
}
