//! Any object that Berth stores: one of its own kinds, or a manifest of another kind, kept as it is.

use std::collections::BTreeMap;

use berth_core::ids::WorkloadKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::interpret::Interpreted;
use crate::issue::{Issue, did_you_mean, quoted};
use crate::meta::{self, ObjectMeta};
use crate::resources::{
    Cluster, DistributionPolicy, NodePool, Offering, OverridePolicy, Placement, QuotaTree, Simulation,
};
use crate::{API_VERSION, foreign, interpret, schema, validate, yaml};

#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Cluster(Cluster),
    NodePool(NodePool),
    Offering(Offering),
    /// `ClusterDistributionPolicy` where it has no namespace.
    DistributionPolicy(DistributionPolicy),
    /// `ClusterOverridePolicy` where it has no namespace.
    OverridePolicy(OverridePolicy),
    QuotaTree(QuotaTree),
    Placement(Placement),
    Simulation(Simulation),
    Manifest(Manifest),
}

/// An object of a kind that is not Berth's, such as a Deployment: what is distributed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Manifest(Value);

/// What was accepted, and what about it has no effect.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub object: Object,
    pub warnings: Vec<Issue>,
    /// What a manifest asks for; `None` of Berth's own kinds.
    pub asked: Option<Interpreted>,
}

impl Object {
    /// Checks a value and takes it in: schema, names, meaning. Foreign policies are converted to Berth's own.
    ///
    /// # Errors
    /// Every fault that it has.
    pub fn parse(mut value: Value) -> Result<Parsed, Vec<Issue>> {
        let mut warnings = Vec::new();
        type_of(&value)?;
        foreign::convert(&mut value, &mut warnings)?;
        let (api_version, kind) = type_of(&value)?;
        let mut asked = None;
        let object = if api_version == API_VERSION {
            own(&kind, value)?
        } else if api_version.starts_with("berth.dev/") {
            let mend = format!("use {API_VERSION}");
            return Err(vec![Issue::new("apiVersion", format!("{api_version:?} is no known version"), mend)]);
        } else {
            let (manifest, interpreted) = Manifest::read(value)?;
            asked = Some(interpreted);
            Self::Manifest(manifest)
        };
        Ok(Parsed { object, warnings, asked })
    }

    pub fn api_version(&self) -> &str {
        match self {
            Self::Manifest(manifest) => manifest.api_version(),
            _ => API_VERSION,
        }
    }

    pub fn kind(&self) -> &str {
        let wide = self.namespace().is_empty();
        match self {
            Self::Cluster(_) => "Cluster",
            Self::NodePool(_) => "NodePool",
            Self::Offering(_) => "Offering",
            Self::DistributionPolicy(_) if wide => "ClusterDistributionPolicy",
            Self::DistributionPolicy(_) => "DistributionPolicy",
            Self::OverridePolicy(_) if wide => "ClusterOverridePolicy",
            Self::OverridePolicy(_) => "OverridePolicy",
            Self::QuotaTree(_) => "QuotaTree",
            Self::Placement(_) => "Placement",
            Self::Simulation(_) => "Simulation",
            Self::Manifest(manifest) => manifest.kind(),
        }
    }

    /// Empty for cluster-wide objects.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Manifest(manifest) => manifest.namespace(),
            _ => self.own_meta().map_or("", |meta| &meta.namespace),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Manifest(manifest) => manifest.name(),
            _ => self.own_meta().map_or("", |meta| &meta.name),
        }
    }

    pub fn labels(&self) -> BTreeMap<String, String> {
        match self {
            Self::Manifest(manifest) => manifest.strings("labels"),
            _ => self.own_meta().map(|meta| meta.labels.clone()).unwrap_or_default(),
        }
    }

    pub fn annotations(&self) -> BTreeMap<String, String> {
        match self {
            Self::Manifest(manifest) => manifest.strings("annotations"),
            _ => self.own_meta().map(|meta| meta.annotations.clone()).unwrap_or_default(),
        }
    }

    /// `metadata.generation`; 0 where the store has not set it yet.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Manifest(manifest) => {
                manifest.metadata().and_then(|metadata| metadata.get("generation")).and_then(Value::as_u64).unwrap_or(0)
            }
            _ => self.own_meta().map_or(0, |meta| meta.generation),
        }
    }

    pub fn set_generation(&mut self, generation: u64) {
        match self {
            Self::Manifest(manifest) => {
                if let Some(metadata) = manifest.0.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.insert("generation".to_owned(), generation.into());
                }
            }
            Self::Cluster(object) => object.metadata.generation = generation,
            Self::NodePool(object) => object.metadata.generation = generation,
            Self::Offering(object) => object.metadata.generation = generation,
            Self::DistributionPolicy(object) => object.metadata.generation = generation,
            Self::OverridePolicy(object) => object.metadata.generation = generation,
            Self::QuotaTree(object) => object.metadata.generation = generation,
            Self::Placement(object) => object.metadata.generation = generation,
            Self::Simulation(object) => object.metadata.generation = generation,
        }
    }

    fn own_meta(&self) -> Option<&ObjectMeta> {
        match self {
            Self::Cluster(object) => Some(&object.metadata),
            Self::NodePool(object) => Some(&object.metadata),
            Self::Offering(object) => Some(&object.metadata),
            Self::DistributionPolicy(object) => Some(&object.metadata),
            Self::OverridePolicy(object) => Some(&object.metadata),
            Self::QuotaTree(object) => Some(&object.metadata),
            Self::Placement(object) => Some(&object.metadata),
            Self::Simulation(object) => Some(&object.metadata),
            Self::Manifest(_) => None,
        }
    }

    /// Group, version and kind, namespace and name: unique among all objects.
    pub fn key(&self) -> WorkloadKey {
        let kind = format!("{}/{}", self.api_version(), self.kind());
        WorkloadKey::new(&kind, self.namespace(), self.name())
    }

    /// As Kubernetes writes it: `apiVersion`, `kind` and `metadata` first.
    pub fn to_value(&self) -> Value {
        let own = match self {
            Self::Manifest(manifest) => return manifest.0.clone(),
            Self::Cluster(object) => serde_json::to_value(object),
            Self::NodePool(object) => serde_json::to_value(object),
            Self::Offering(object) => serde_json::to_value(object),
            Self::DistributionPolicy(object) => serde_json::to_value(object),
            Self::OverridePolicy(object) => serde_json::to_value(object),
            Self::QuotaTree(object) => serde_json::to_value(object),
            Self::Placement(object) => serde_json::to_value(object),
            Self::Simulation(object) => serde_json::to_value(object),
        };
        let mut value = Map::new();
        value.insert("apiVersion".to_owned(), API_VERSION.into());
        value.insert("kind".to_owned(), self.kind().into());
        // Types of this crate have string keys and nothing that JSON cannot say.
        if let Ok(Value::Object(rest)) = own {
            value.extend(rest);
        }
        Value::Object(value)
    }

    pub fn to_yaml(&self) -> String {
        yaml::write(&self.to_value())
    }

    /// [`Object::to_value`] as text, without making the value first.
    pub fn to_json(&self) -> Vec<u8> {
        match self {
            Self::Manifest(manifest) => json(&manifest.0),
            Self::Cluster(object) => self.written(object),
            Self::NodePool(object) => self.written(object),
            Self::Offering(object) => self.written(object),
            Self::DistributionPolicy(object) => self.written(object),
            Self::OverridePolicy(object) => self.written(object),
            Self::QuotaTree(object) => self.written(object),
            Self::Placement(object) => self.written(object),
            Self::Simulation(object) => self.written(object),
        }
    }

    fn written<T: Serialize>(&self, object: &T) -> Vec<u8> {
        json(&Written { api_version: API_VERSION, kind: self.kind(), object })
    }

    /// Reads back what [`Object::to_json`] wrote.
    ///
    /// # Errors
    /// If it is no JSON, or no valid object.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        Self::read_json(bytes).map(|parsed| parsed.object)
    }

    /// [`Object::from_json`], with what was found out while it was checked.
    ///
    /// # Errors
    /// As [`Object::from_json`].
    pub fn read_json(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
        Self::parse(serde_json::from_slice(bytes)?).map_err(|issues| custom(&issues))
    }
}

/// An object of Berth's own with its type before it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a, T> {
    api_version: &'a str,
    kind: &'a str,
    #[serde(flatten)]
    object: &'a T,
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Types of this crate have string keys and nothing that JSON cannot say.
    serde_json::to_vec(value).unwrap_or_default()
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::parse(value).map(|parsed| parsed.object).map_err(|issues| custom(&issues))
    }
}

fn custom<E: serde::de::Error>(issues: &[Issue]) -> E {
    let issues: Vec<String> = issues.iter().map(ToString::to_string).collect();
    E::custom(issues.join("; "))
}

fn type_of(value: &Value) -> Result<(String, String), Vec<Issue>> {
    let Some(map) = value.as_object() else {
        return Err(vec![Issue::new("", "is no object", "a manifest is a mapping with apiVersion, kind and metadata")]);
    };
    let mut issues = Vec::new();
    let mut text = |field: &str, example: &str| match map.get(field) {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        None | Some(Value::Null) => {
            issues.push(Issue::new(field, "is missing", format!("for example {example}")));
            String::new()
        }
        Some(other) => {
            issues.push(Issue::new(
                field,
                format!("must be a name, not {}", quoted(other)),
                format!("for example {example}"),
            ));
            String::new()
        }
    };
    let (api_version, kind) = (text("apiVersion", "apps/v1"), text("kind", "Deployment"));
    if !api_version.is_empty() && !meta::is_api_version(&api_version) {
        let mend = "write group/version, such as apps/v1, or v1";
        issues.push(Issue::new("apiVersion", format!("{api_version:?} is no version of an API"), mend));
    }
    if !kind.is_empty() && !meta::is_kind(&kind) {
        let mend = "use at most 63 letters and digits, such as Deployment";
        issues.push(Issue::new("kind", format!("{kind:?} is no name of a kind"), mend));
    }
    if issues.is_empty() { Ok((api_version, kind)) } else { Err(issues) }
}

/// Kinds with a status that is stored. That of others is made when they are shown; what a user sends of it is left out, as
/// the Kubernetes API does, so that what was shown can be applied again.
const HAVE_STATUS: [&str; 2] = ["Offering", "Placement"];

/// An object of Berth's own group.
fn own(kind: &str, mut value: Value) -> Result<Object, Vec<Issue>> {
    let Some(known) = schema::schema_of(kind) else {
        let kinds: Vec<&str> = schema::schemas().iter().map(|schema| schema.kind).collect();
        let mend = did_you_mean(kind, kinds.iter().copied()).map_or_else(
            || format!("kinds of {API_VERSION} are {}", kinds.join(", ")),
            |meant| format!("did you mean {meant:?}?"),
        );
        return Err(vec![Issue::new("kind", format!("{kind:?} is no known kind"), mend)]);
    };
    drop_nulls(&mut value);
    let Value::Object(map) = &mut value else { return Err(vec![Issue::new("", "is no object", "")]) };
    map.shift_remove("apiVersion");
    map.shift_remove("kind");
    if !HAVE_STATUS.contains(&kind) {
        map.shift_remove("status");
    }
    let mut issues = Vec::new();
    if let Some(metadata) = map.get_mut("metadata") {
        meta::check(metadata, true, known.namespaced, &mut issues);
        if let Some(metadata) = metadata.as_object_mut()
            && known.namespaced
            && metadata.get("namespace").is_none_or(|namespace| namespace == "")
        {
            metadata.insert("namespace".to_owned(), "default".into());
        }
    }
    // Faults in metadata were named above, in better words.
    issues
        .extend(schema::check(&known.schema, &value).into_iter().filter(|issue| !issue.field.starts_with("metadata.")));
    if !issues.is_empty() {
        return Err(issues);
    }
    fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Vec<Issue>> {
        serde_json::from_value(value)
            .map_err(|error| vec![Issue::new("", error.to_string(), "check the type of what it names")])
    }
    let object = match kind {
        "Cluster" => Object::Cluster(typed(value)?),
        "NodePool" => Object::NodePool(typed(value)?),
        "Offering" => Object::Offering(typed(value)?),
        "DistributionPolicy" | "ClusterDistributionPolicy" => Object::DistributionPolicy(typed(value)?),
        "OverridePolicy" | "ClusterOverridePolicy" => Object::OverridePolicy(typed(value)?),
        "QuotaTree" => Object::QuotaTree(typed(value)?),
        "Placement" => Object::Placement(typed(value)?),
        _ => Object::Simulation(typed(value)?),
    };
    let issues = validate::object(&object);
    if issues.is_empty() { Ok(object) } else { Err(issues) }
}

/// Kubernetes treats a field that is null as one that is absent.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

impl Manifest {
    /// # Errors
    /// Every fault: in names, and in what Berth reads of kinds that it interprets.
    pub fn parse(value: Value) -> Result<Self, Vec<Issue>> {
        Self::read(value).map(|(manifest, _)| manifest)
    }

    /// [`Manifest::parse`], with what it asks for, so that whoever needs both interprets it once.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn read(mut value: Value) -> Result<(Self, Interpreted), Vec<Issue>> {
        let (api_version, kind) = type_of(&value)?;
        let mut issues = Vec::new();
        match value.get_mut("metadata") {
            Some(metadata) => {
                meta::check(metadata, false, true, &mut issues);
                if let Some(metadata) = metadata.as_object_mut()
                    && !is_cluster_wide(&api_version, &kind)
                    && metadata.get("namespace").is_none_or(|namespace| namespace.is_null() || namespace == "")
                {
                    metadata.insert("namespace".to_owned(), "default".into());
                }
            }
            None => issues.push(Issue::new("metadata", "is missing", "give the object at least metadata.name")),
        }
        let manifest = Self(value);
        match interpret::components(&manifest) {
            Ok(asked) if issues.is_empty() => return Ok((manifest, asked)),
            Ok(_) => {}
            Err(faults) => issues.extend(faults),
        }
        Err(issues)
    }

    /// A manifest that was checked before it was written as JSON, and is not checked again.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn from_checked(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(Self)
    }

    pub fn to_json(&self) -> Vec<u8> {
        json(&self.0)
    }

    pub fn value(&self) -> &Value {
        &self.0
    }

    pub fn value_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    pub fn into_value(self) -> Value {
        self.0
    }

    fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn api_version(&self) -> &str {
        self.text("apiVersion")
    }

    /// Empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version().rsplit_once('/').map_or("", |(group, _)| group)
    }

    pub fn kind(&self) -> &str {
        self.text("kind")
    }

    fn metadata(&self) -> Option<&Map<String, Value>> {
        self.0.get("metadata")?.as_object()
    }

    fn metadata_text(&self, field: &str) -> &str {
        self.metadata().and_then(|metadata| metadata.get(field)).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.metadata_text("namespace")
    }

    pub fn name(&self) -> &str {
        self.metadata_text("name")
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata()?.get("labels")?.get(key)?.as_str()
    }

    /// `labels` or `annotations`.
    pub(crate) fn strings(&self, field: &str) -> BTreeMap<String, String> {
        let entries = self.metadata().and_then(|metadata| metadata.get(field)).and_then(Value::as_object);
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        entries.into_iter().flatten().filter_map(text).collect()
    }

    pub fn key(&self) -> WorkloadKey {
        WorkloadKey::new(&format!("{}/{}", self.api_version(), self.kind()), self.namespace(), self.name())
    }
}

/// Kinds of Kubernetes itself that have no namespace. A custom resource without a namespace is taken to be namespaced.
fn is_cluster_wide(api_version: &str, kind: &str) -> bool {
    const KINDS: [&str; 21] = [
        "APIService",
        "CSIDriver",
        "CSINode",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "DeviceClass",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "ResourceSlice",
        "RuntimeClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    ];
    KINDS.contains(&kind) && (!api_version.contains('.') || api_version.contains(".k8s.io/"))
}
