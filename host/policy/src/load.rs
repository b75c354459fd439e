//! From a file to a policy that may decide: read, compiled, checked, described, configured and probed.
//!
//! Holds: nothing is loaded that imports anything, that is no policy of exactly one kind, whose configuration does not
//! satisfy its own schema, or that fails a first decision. What is refused changes nothing.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_core::ids::PolicyName;
use berth_core::placement::PolicyRef;
use berth_core::policy::Kind;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::bounds;
use crate::case::Inspection;
use crate::config::is_name;
use crate::engine::{Limits, Runtime, failure};
use crate::probe;
use crate::stats::Stats;
use crate::trust::{KeyId, Untrusted};
use crate::version::{self, Adapter, Prepared};

/// Inputs that a policy may name.
const MAX_NEEDS: usize = 64;

/// Why a file is not loaded. The file itself is named by whoever shows this.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    #[error("it cannot be read")]
    Read(#[source] Arc<std::io::Error>),
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("it has more than {limit} bytes; raise `max-file-mib` in its limits if that is meant")]
    TooLarge { limit: u64 },
    #[error("its digest is sha256:{found}, and sha256:{wanted} is wanted")]
    Digest { found: Arc<str>, wanted: String },
    #[error("it is no WebAssembly component: {0}")]
    NotAComponent(String),
    #[error(
        "it imports {0}; a policy may import nothing: build it without WASI, time and randomness come as arguments"
    )]
    Imports(String),
    #[error("it exports {found}; a policy exports {about} and exactly one of {kinds}")]
    Exports { found: String, about: String, kinds: String },
    #[error(
        "it is written for berth:policy@{found}, and this host knows {known}; build it for one of these, or use a newer Berth"
    )]
    Version { found: String, known: String },
    #[error("its exports do not have the types of berth:policy@{version}: {what}")]
    Types { version: &'static str, what: String },
    #[error("`describe` failed: {0}")]
    Describe(String),
    #[error("its description is not valid: {0}")]
    Description(String),
    #[error("its configuration is refused at {pointer}: {what}")]
    Config { pointer: String, what: String },
    #[error("it failed its probe: {0}")]
    Probe(String),
}

/// What a policy says about itself, as it comes.
#[derive(Clone, Debug)]
pub(crate) struct RawDescription {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) kind: Kind,
    pub(crate) config_schema: String,
    pub(crate) doc: String,
    pub(crate) needs: Vec<String>,
}

/// What a policy says about itself, checked.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    pub name: PolicyName,
    pub version: Arc<str>,
    pub kind: Kind,
    /// JSON Schema of its configuration; `None` where it takes none.
    pub config_schema: Option<Value>,
    pub doc: String,
    pub needs: Vec<Arc<str>>,
}

/// A component that was compiled and described. Configuration comes later, so that one file can serve several policies.
pub(crate) struct Compiled {
    pub(crate) digest: Arc<str>,
    pub(crate) bytes: u64,
    pub(crate) description: Description,
    /// Version of the policy interface.
    pub(crate) interface: &'static str,
    pub(crate) exports: Vec<String>,
    pub(crate) imports: Vec<String>,
    pub(crate) prepared: Arc<dyn Prepared>,
}

impl Compiled {
    pub(crate) fn inspection(&self) -> Inspection {
        Inspection {
            description: self.description.clone(),
            interface: self.interface,
            exports: self.exports.clone(),
            imports: self.imports.clone(),
            digest: self.digest.clone(),
            bytes: self.bytes,
            signed_by: None,
        }
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// A policy that may decide.
pub struct Loaded {
    /// Its name in `policies.toml`, or the one it gives itself.
    pub name: PolicyName,
    pub file: PathBuf,
    pub description: Description,
    /// Who decides, for records.
    pub by: PolicyRef,
    /// Who signed it; `None` where nobody had to.
    pub signed_by: Option<KeyId>,
    pub config: Value,
    /// `config` as the guest gets it.
    pub(crate) config_text: Arc<str>,
    pub limits: Limits,
    pub(crate) prepared: Arc<dyn Prepared>,
    stats: Mutex<Stats>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("name", &self.name).field("digest", &self.by.digest).finish_non_exhaustive()
    }
}

impl Loaded {
    /// The same policy with counters of its own, for calls that are not to count as its decisions.
    pub(crate) fn apart(&self) -> Self {
        Self {
            name: self.name.clone(),
            file: self.file.clone(),
            description: self.description.clone(),
            by: self.by.clone(),
            signed_by: self.signed_by.clone(),
            config: self.config.clone(),
            config_text: self.config_text.clone(),
            limits: self.limits,
            prepared: self.prepared.clone(),
            stats: Mutex::default(),
        }
    }

    pub(crate) fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a whole component of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let bytes = read_at_most(path, limit).map_err(|error| LoadError::Read(Arc::new(error)))?;
    bytes.ok_or(LoadError::TooLarge { limit })
}

/// Reads a whole file; `None` where it has more than `limit` bytes.
pub(crate) fn read_at_most(path: &Path, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// SHA-256.
pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// In hexadecimal.
pub(crate) fn hex(hash: &[u8; 32]) -> Arc<str> {
    hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// SHA-256 in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> Arc<str> {
    hex(&hash(bytes))
}

/// Compiles a component, checks its imports and exports, and asks it what it is.
///
/// # Errors
/// The first thing about it that is not as it must be.
pub(crate) fn compile(runtime: &Runtime, bytes: &[u8], limits: &Limits) -> Result<Compiled, LoadError> {
    let component = Component::from_binary(&runtime.engine, bytes).map_err(|error| {
        let core =
            wasm_module(bytes).then_some("it is a core module; make a component of it with `wasm-tools component new`");
        LoadError::NotAComponent(core.map_or_else(|| first_line(&error), str::to_owned))
    })?;
    let (adapter, kind) = check_interfaces(runtime, &component)?;
    let types = |error: wasmtime::Error| LoadError::Types { version: adapter.version, what: first_line(&error) };
    let prepared = (adapter.prepare)(&runtime.engine, &component, kind).map_err(types)?;
    let mut store = runtime.store(limits);
    runtime.arm(&mut store, &limits.of_start()).map_err(types)?;
    let described = prepared.describe(&mut store).map_err(types)?;
    let raw = described.map_err(|error| LoadError::Describe(failure(&store, &error).1))?;
    let description = description(raw, kind)?;
    let ty = component.component_type();
    let exports = ty.exports(&runtime.engine).map(|(name, _)| name.to_owned()).collect();
    let imports = ty.imports(&runtime.engine).map(|(name, _)| name.to_owned()).collect();
    Ok(Compiled {
        digest: digest(bytes),
        bytes: bytes.len() as u64,
        description,
        interface: adapter.version,
        exports,
        imports,
        prepared: prepared.into(),
    })
}

fn wasm_module(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm\x01\0\0\0")
}

fn first_line(error: &wasmtime::Error) -> String {
    let whole = format!("{error:#}");
    whole.lines().next().unwrap_or_default().to_owned()
}

/// No imports but names for types, and the exports of exactly one kind in a version that is known.
fn check_interfaces(runtime: &Runtime, component: &Component) -> Result<(&'static Adapter, Kind), LoadError> {
    let ty = component.component_type();
    for (name, item) in ty.imports(&runtime.engine) {
        let only_types = match &item.ty {
            ComponentItem::ComponentInstance(instance) => {
                instance.exports(&runtime.engine).all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
            }
            ComponentItem::Type(_) => true,
            _ => false,
        };
        if !only_types {
            return Err(LoadError::Imports(name.to_owned()));
        }
    }
    let exports: Vec<&str> = ty.exports(&runtime.engine).map(|(name, _)| name).collect();
    version::find(&exports)
}

fn description(raw: RawDescription, kind: Kind) -> Result<Description, LoadError> {
    let invalid = |what: String| Err(LoadError::Description(what));
    if !is_name(&raw.name) {
        return invalid(format!("name {:?} must have 1 to 63 of a-z, 0-9 and -", raw.name));
    }
    if raw.kind != kind {
        return invalid(format!("it says that it is a {} policy, but exports {}", raw.kind.as_str(), kind.as_str()));
    }
    if raw.version.is_empty() || raw.version.len() > 63 || !raw.version.chars().all(|c| c.is_ascii_graphic()) {
        return invalid("version must have 1 to 63 printable characters, such as 1.0.0".into());
    }
    if raw.needs.len() > MAX_NEEDS {
        return invalid(format!("needs names {} inputs, and {MAX_NEEDS} are allowed", raw.needs.len()));
    }
    let config_schema = match raw.config_schema.as_str() {
        "" => None,
        text => {
            let schema: Value = serde_json::from_str(text)
                .map_err(|error| LoadError::Description(format!("config-schema is no JSON: {error}")))?;
            if let Err(error) = jsonschema::validator_for(&schema) {
                return invalid(format!("config-schema is no JSON Schema: {error}"));
            }
            Some(schema)
        }
    };
    Ok(Description {
        name: raw.name.as_str().into(),
        version: raw.version.into(),
        kind,
        config_schema,
        doc: bounds::message(raw.doc),
        needs: raw.needs.into_iter().map(Arc::from).collect(),
    })
}

/// Holds a configuration against the policy's own schema.
///
/// # Errors
/// The first place that does not fit, as a JSON pointer.
pub(crate) fn check_config(description: &Description, config: &Value) -> Result<(), LoadError> {
    let refused = |pointer: String, what: String| {
        Err(LoadError::Config { pointer: if pointer.is_empty() { "/".into() } else { pointer }, what })
    };
    let Some(schema) = &description.config_schema else {
        let empty = config.as_object().is_some_and(serde_json::Map::is_empty);
        return if empty { Ok(()) } else { refused(String::new(), "this policy takes no configuration".into()) };
    };
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => return refused(String::new(), error.to_string()),
    };
    match validator.iter_errors(config).next() {
        Some(error) => refused(error.instance_path().to_string(), error.to_string()),
        None => Ok(()),
    }
}

/// Configures a compiled component and lets it take one decision.
///
/// # Errors
/// If its schema refuses the configuration, or the decision fails.
pub(crate) fn load(
    runtime: &Runtime,
    compiled: &Compiled,
    name: PolicyName,
    file: PathBuf,
    config: &Value,
    limits: Limits,
) -> Result<Loaded, LoadError> {
    check_config(&compiled.description, config)?;
    let by = PolicyRef {
        name: name.clone(),
        version: compiled.description.version.clone(),
        digest: compiled.digest.clone(),
    };
    let loaded = Loaded {
        name,
        file,
        description: compiled.description.clone(),
        by,
        signed_by: None,
        config_text: config.to_string().into(),
        config: config.clone(),
        limits,
        prepared: compiled.prepared.clone(),
        stats: Mutex::default(),
    };
    probe::probe(runtime, &loaded).map_err(LoadError::Probe)?;
    *loaded.stats() = Stats::default();
    Ok(loaded)
}
