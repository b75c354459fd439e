//! A policy as an artifact: the manifest, the configuration that it points to, and the one layer that is the component.
//!
//! The layout is that of CNCF TAG Runtime (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>): the
//! configuration has a media type of its own, says what the component imports and exports, and names its layer once more.
//!
//! Holds: the same component with the same signature gives the same manifest, byte for byte, whoever pushes it and when.

use std::collections::BTreeMap;

use berth_api::issue::plain;
use berth_policy::Inspection;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::digest::Digest;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const COMPONENT: &str = "application/wasm";
/// Which file a layer is; `oras pull` writes it under this name.
const TITLE: &str = "org.opencontainers.image.title";
/// On the layer: the signature of its bytes by `berth policy sign`, in base64. The keys of cosign in registries are not meant
/// here: what they hold is the signature of a statement about a manifest.
const SIGNATURE: &str = "dev.berth.policy.signature";
/// When it was created is said to be this, since the specification wants a time, and the time of a push would give each push
/// of the same component another digest.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What a manifest says of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    /// In bytes.
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    fn of(media_type: &str, bytes: &[u8]) -> Self {
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        Self { media_type: media_type.to_owned(), digest, size, annotations: BTreeMap::new() }
    }

    pub(crate) fn signature(&self) -> Option<&str> {
        self.annotations.get(SIGNATURE).map(String::as_str)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// # Errors
    /// Why it is no manifest of one artifact.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|_| "its manifest is no JSON".to_owned())?;
        if value.get("manifests").is_some() {
            return Err("it is an index of several artifacts; name one of them by its digest".to_owned());
        }
        let other = |error: serde_json::Error| format!("its manifest is none of OCI: {}", plain(&error.to_string()));
        Self::deserialize(value).map_err(other)
    }

    /// The one layer that a policy has.
    ///
    /// # Errors
    /// What it has instead.
    pub(crate) fn component(&self) -> Result<&Descriptor, String> {
        match self.layers.as_slice() {
            [layer] if layer.media_type == COMPONENT => Ok(layer),
            [layer] => Err(format!("its layer is {}, and that of a policy is {COMPONENT}", plain(&layer.media_type))),
            layers => Err(format!("it has {} layers, and a policy has one", layers.len())),
        }
    }
}

/// A policy with all that is pushed of it.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) manifest: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) config: Vec<u8>,
    pub(crate) component: Vec<u8>,
}

impl Artifact {
    pub(crate) fn new(inspection: &Inspection, component: Vec<u8>, signature: Option<&str>) -> anyhow::Result<Self> {
        let description = &inspection.description;
        let mut layer = Descriptor::of(COMPONENT, &component);
        layer.annotations.insert(TITLE.to_owned(), format!("{}.wasm", description.name));
        if let Some(signature) = signature {
            layer.annotations.insert(SIGNATURE.to_owned(), signature.to_owned());
        }
        let config = json!({
            "created": CREATED,
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer.digest],
            "component": { "exports": inspection.exports, "imports": inspection.imports },
        });
        let config = serde_json::to_vec(&config)?;
        let about = [
            ("description", description.doc.as_str()),
            ("title", description.name.as_str()),
            ("version", &description.version),
        ];
        let annotations = about.map(|(key, text)| (format!("org.opencontainers.image.{key}"), text.to_owned()));
        let manifest = serde_json::to_vec(&Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: Descriptor::of(CONFIG, &config),
            layers: vec![layer],
            annotations: annotations.into_iter().filter(|(_, text)| !text.is_empty()).collect(),
        })?;
        Ok(Self { digest: Digest::of(&manifest), manifest, config, component })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    fn manifest(layers: serde_json::Value) -> Result<Manifest, String> {
        let digest = Digest::of(b"");
        let config =
            json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": 2, "data": "e30="});
        Manifest::parse(&serde_json::to_vec(&json!({"schemaVersion": 2, "config": config, "layers": layers})).unwrap())
    }

    #[test]
    fn a_policy_is_one_layer_of_wasm_whatever_else_the_manifest_says() {
        let layer = |kind: &str| json!({"mediaType": kind, "digest": Digest::of(b"x"), "size": 1, "urls": []});
        let one = manifest(json!([layer(COMPONENT)])).unwrap();
        assert_eq!(one.component().unwrap().digest, Digest::of(b"x"));
        let of = |layers| manifest(layers).unwrap().component().unwrap_err();
        assert_eq!(of(json!([])), "it has 0 layers, and a policy has one");
        assert_eq!(of(json!([layer(COMPONENT), layer(COMPONENT)])), "it has 2 layers, and a policy has one");
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        assert_eq!(of(json!([layer(tar)])), format!("its layer is {tar}, and that of a policy is application/wasm"));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let index = br#"{"schemaVersion": 2, "manifests": []}"#;
        assert!(Manifest::parse(index).unwrap_err().contains("index of several artifacts"));
        assert!(Manifest::parse(b"<html>").unwrap_err().contains("no JSON"));
        assert!(Manifest::parse(b"{}").unwrap_err().contains("none of OCI"));
        let short = json!([{"mediaType": COMPONENT, "digest": "sha256:00", "size": 1}]);
        assert!(manifest(short).unwrap_err().contains("a digest is sha256: and 64"));
        let less = json!([{"mediaType": COMPONENT, "digest": Digest::of(b""), "size": -1}]);
        assert!(manifest(less).unwrap_err().contains("none of OCI"));
    }
}
