//! `policies.toml`: which policies there are beside the files themselves, with their configuration and limits, and which one
//! decides for whom where a distribution policy names none.
//!
//! ```toml
//! [placement]                 # by how the distribution policy divides replicas; these are the defaults
//! Duplicated = "weighted"
//! StaticWeight = "weighted"
//! AvailableReplicas = "available"
//! Aggregated = "aggregate"
//! Free = "cost"
//!
//! [gang]
//! default = "fifo"
//!
//! [migration]
//! default = "ready"
//!
//! [[bind]]                    # who decides for some; see `bind`. The first rule that fits goes before the defaults above
//! kind = "placement"
//! namespaces = ["team-*"]
//! policy = "cheap"
//!
//! [policy.cheap]              # a name of its own for a file with a configuration
//! file = "cost.wasm"          # beside this file; without it NAME.wasm
//! config = { interruptionPenalty = 2.0 }
//! limits = { fuel = 1_000_000_000, deadline-ms = 500, memory-mib = 256, max-file-mib = 32 }
//! ```
//!
//! A file that no `[policy.NAME]` mentions is loaded under the name that it gives itself, with an empty configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use berth_core::ids::PolicyName;
use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use crate::bind::{Fault, RawRule, Rule};
use crate::bounds::message;
use crate::engine::Limits;
use crate::nearest::hint_of;
use crate::set::Bindings;
use crate::slots::{Besides, Canary, RawCanary, RawVersion};

pub const CONFIG_FILE: &str = "policies.toml";
const MAX_BYTES: u64 = 1 << 20;
/// `[policy.NAME]`s of one file. Each is started and takes a first decision before the file is in force.
const MAX_POLICIES: usize = 256;
/// Each decision looks at them in turn.
const MAX_RULES: usize = 256;

/// The file is refused whole; the policies in force stay.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{CONFIG_FILE} cannot be read")]
    Read(#[source] std::io::Error),
    #[error("{CONFIG_FILE} has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// With line, column and what is expected there.
    #[error("{CONFIG_FILE}: {0}")]
    Syntax(String),
    #[error("{CONFIG_FILE}: [policy.{name}] {what}")]
    Policy { name: String, what: String },
    #[error(
        "{CONFIG_FILE}: it has {0} policies, and {MAX_POLICIES} are allowed; put the others into another directory"
    )]
    TooMany(usize),
    #[error("{CONFIG_FILE}: it has {0} rules, and {MAX_RULES} are allowed; name more namespaces in one of them")]
    TooManyRules(usize),
    #[error("{CONFIG_FILE}: a policy is called {name:?}; use 1 to 63 of a-z, 0-9 and -")]
    Name { name: String },
}

/// The file's contents, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub bindings: Bindings,
    /// In the order of the file, with the place where each names its policy.
    pub rules: Vec<(Rule, Place)>,
    /// Shadows and canaries are among them, as `SLOT/shadow` and `SLOT/canary`.
    pub policies: BTreeMap<PolicyName, PolicyConfig>,
    /// What stands beside the policies of these names.
    pub besides: BTreeMap<PolicyName, Besides>,
    /// Files that only a version before, or one that was ended, is made of.
    pub idle: BTreeSet<String>,
}

/// A place in the file; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Place {
    fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or_default();
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        Self { line: before.matches('\n').count() + 1, column }
    }
}

/// One `[policy.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyConfig {
    /// A file name in the policy directory.
    pub file: String,
    pub config: Value,
    pub limits: Limits,
    /// SHA-256 that the file must have, in hexadecimal.
    pub digest: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    placement: RawPlacement,
    gang: RawDefault,
    migration: RawDefault,
    bind: Vec<Spanned<RawRule>>,
    policy: BTreeMap<String, RawPolicy>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
struct RawPlacement {
    duplicated: Option<String>,
    static_weight: Option<String>,
    available_replicas: Option<String>,
    aggregated: Option<String>,
    free: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawDefault {
    default: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    file: Option<String>,
    #[serde(default)]
    config: Map<String, Value>,
    #[serde(default)]
    limits: LimitsConfig,
    digest: Option<String>,
    shadow: Option<RawVersion>,
    canary: Option<Spanned<RawCanary>>,
    previous: Option<RawVersion>,
}

/// Limits as they are written; what is absent keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LimitsConfig {
    pub fuel: Option<u64>,
    pub deadline_ms: Option<u64>,
    pub memory_mib: Option<u32>,
    pub max_file_mib: Option<u32>,
}

impl LimitsConfig {
    /// # Errors
    /// A limit of nothing, with its name.
    pub fn limits(&self) -> Result<Limits, String> {
        let default = Limits::default();
        let limits = Limits {
            fuel: self.fuel.unwrap_or(default.fuel),
            deadline_ms: self.deadline_ms.unwrap_or(default.deadline_ms),
            memory_bytes: self.memory_mib.map_or(default.memory_bytes, |mib| (mib as usize) << 20),
            file_bytes: self.max_file_mib.map_or(default.file_bytes, |mib| u64::from(mib) << 20),
        };
        let values = [
            ("fuel", limits.fuel),
            ("deadline-ms", limits.deadline_ms),
            ("memory-mib", limits.memory_bytes as u64),
            ("max-file-mib", limits.file_bytes),
        ];
        match values.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(format!("limits.{name} is 0; it must be at least 1")),
            None => Ok(limits),
        }
    }
}

impl Config {
    /// Reads `policies.toml` in a policy directory; `None` where there is none, or nothing in it: then the defaults hold.
    ///
    /// # Errors
    /// With the place in the file and what is expected there.
    pub fn read(directory: &Path) -> Result<Option<Self>, ConfigError> {
        let path = directory.join(CONFIG_FILE);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > MAX_BYTES => return Err(ConfigError::TooLarge),
            _ => {}
        }
        let text = std::fs::read_to_string(&path).map_err(ConfigError::Read)?;
        let config = Self::parse(&text)?;
        Ok((!text.trim_ascii().is_empty()).then_some(config))
    }

    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let raw: RawConfig = toml::from_str(text).map_err(|error| ConfigError::Syntax(syntax(text, &error)))?;
        let mut bindings = Bindings::default();
        let bound = [
            (&mut bindings.duplicated, raw.placement.duplicated),
            (&mut bindings.static_weight, raw.placement.static_weight),
            (&mut bindings.available_replicas, raw.placement.available_replicas),
            (&mut bindings.aggregated, raw.placement.aggregated),
            (&mut bindings.free, raw.placement.free),
            (&mut bindings.gang, raw.gang.default),
            (&mut bindings.migration, raw.migration.default),
        ];
        for (binding, name) in bound {
            if let Some(name) = name {
                *binding = valid_name(&name)?;
            }
        }
        if raw.policy.len() > MAX_POLICIES {
            return Err(ConfigError::TooMany(raw.policy.len()));
        }
        let mut config = Self { bindings, rules: rules(text, raw.bind)?, ..Self::default() };
        for (name, raw) in raw.policy {
            config.slot(text, name, raw)?;
        }
        Ok(config)
    }

    /// One `[policy.NAME]` with what stands beside it.
    fn slot(&mut self, text: &str, name: String, raw: RawPolicy) -> Result<(), ConfigError> {
        let slot = valid_name(&name)?;
        let own = RawVersion {
            file: Some(raw.file.unwrap_or_else(|| format!("{name}.wasm"))),
            config: Some(raw.config),
            limits: Some(raw.limits),
            digest: raw.digest,
            off: false,
        };
        let mut besides = Besides::default();
        let canary = raw.canary.as_ref().map(|canary| canary.get_ref().version());
        let named = PolicyName::new(format!("{name}/canary"));
        let mut checked = raw.canary.map(|raw| check_canary(text, raw, named)).transpose()?;
        let versions = [("shadow", raw.shadow), ("canary", canary), ("previous", raw.previous)];
        for (what, version) in versions {
            let Some(version) = version else { continue };
            let place = format!("{name}.{what}");
            if version.file.is_none() && version.config.is_none() && version.limits.is_none() {
                let what = "is the same as the policy that it stands beside; give it a file or a config".to_owned();
                return Err(ConfigError::Policy { name: place, what });
            }
            // A digest belongs to its file.
            let digest = if version.file.is_none() { own.digest.clone() } else { version.digest };
            let version = RawVersion {
                file: version.file.or_else(|| own.file.clone()),
                config: version.config.or_else(|| own.config.clone()),
                limits: version.limits.or(own.limits),
                digest,
                off: version.off,
            };
            let off = version.off || what == "previous";
            let wanted = policy(place, version)?;
            if off {
                self.idle.insert(wanted.file);
                continue;
            }
            let beside = PolicyName::new(format!("{name}/{what}"));
            self.policies.insert(beside.clone(), wanted);
            match what {
                "shadow" => besides.shadow = Some(beside),
                _ => besides.canary = checked.take(),
            }
        }
        if besides != Besides::default() {
            self.besides.insert(slot.clone(), besides);
        }
        self.policies.insert(slot, policy(name, own)?);
        Ok(())
    }
}

fn rules(text: &str, raw: Vec<Spanned<RawRule>>) -> Result<Vec<(Rule, Place)>, ConfigError> {
    if raw.len() > MAX_RULES {
        return Err(ConfigError::TooManyRules(raw.len()));
    }
    let rule = |raw| match RawRule::check(raw) {
        Ok((rule, at)) => Ok((rule, Place::of(text, at))),
        Err(fault) => Err(faulty(text, fault)),
    };
    raw.into_iter().map(rule).collect()
}

fn faulty(text: &str, Fault { at, what }: Fault) -> ConfigError {
    ConfigError::Syntax(format!("{}: {}", Place::of(text, at), message(what)))
}

fn check_canary(text: &str, raw: Spanned<RawCanary>, name: PolicyName) -> Result<Canary, ConfigError> {
    RawCanary::check(raw, name).map_err(|fault| faulty(text, fault))
}

fn valid_name(name: &str) -> Result<PolicyName, ConfigError> {
    if is_name(name) { Ok(PolicyName::new(name)) } else { Err(ConfigError::Name { name: message(name.to_owned()) }) }
}

/// Whether a policy can be called so: as short and plain as one calls itself.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

fn policy(name: String, raw: RawVersion) -> Result<PolicyConfig, ConfigError> {
    let file = raw.file.unwrap_or_default();
    if file.is_empty() || file.contains(['/', '\\']) || file.contains(char::is_control) || file.starts_with('.') {
        let what = message(format!("file {file:?} must be the name of a file in the policy directory"));
        return Err(ConfigError::Policy { name, what });
    }
    let digest = raw.digest.map(|digest| digest.strip_prefix("sha256:").map(str::to_owned).unwrap_or(digest));
    if digest.as_ref().is_some_and(|digest| digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        let what = "digest must be sha256: and 64 hexadecimal digits, as `berth policy inspect` shows it".to_owned();
        return Err(ConfigError::Policy { name, what });
    }
    let digest = digest.map(|digest| digest.to_ascii_lowercase());
    match raw.limits.unwrap_or_default().limits() {
        Ok(limits) => Ok(PolicyConfig { file, config: Value::Object(raw.config.unwrap_or_default()), limits, digest }),
        Err(what) => Err(ConfigError::Policy { name, what }),
    }
}

/// Line and column, what is wrong, and the nearest name where an unknown one was written.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let place = error.span().map(|span| format!("{}: ", Place::of(text, span.start)));
    let hint = hint_of(message);
    format!("{}{}{hint}", place.unwrap_or_default(), crate::bounds::message(message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_has_its_default() {
        let config = Config::parse("").expect("an empty file is valid");
        assert_eq!(config.bindings, Bindings::default());
        assert!(config.policies.is_empty());
    }

    #[test]
    fn a_policy_with_configuration_and_limits() {
        let text = "[placement]\nFree = \"cheap\"\n[policy.cheap]\nfile = \"cost.wasm\"\nconfig = { a = 1 }\nlimits = { fuel = 5 }\n";
        let config = Config::parse(text).expect("valid");
        assert_eq!(config.bindings.free.as_str(), "cheap");
        let cheap = &config.policies["cheap"];
        assert_eq!((cheap.file.as_str(), cheap.config["a"].as_i64(), cheap.limits.fuel), ("cost.wasm", Some(1), 5));
    }

    #[test]
    fn faults_of_a_rule_name_the_place_and_the_mend() {
        for (rule, place, what) in [
            (
                "kind = \"placment\"\nnamespaces = [\"a\"]\npolicy = \"x\"",
                "line 2, column 8",
                "did you mean `placement`?",
            ),
            ("kind = \"gang\"\nnamespace = \"a\"\npolicy = \"x\"", "line 3, column 1", "did you mean `namespaces`?"),
            ("kind = \"gang\"\nnamespaces = [\"a\"]", "line 1, column 1", "missing field `policy`"),
            ("kind = \"gang\"\npolicy = \"x\"", "line 1, column 1", "give it namespaces, labels or division"),
            ("kind = \"gang\"\nnamespaces = []\npolicy = \"x\"", "line 3, column 14", "leave it away for all"),
            (
                "kind = \"gang\"\nnamespaces = [\"a\", \"B\"]\npolicy = \"x\"",
                "line 3, column 20",
                "\"B\" is no namespace; use",
            ),
            (
                "kind = \"gang\"\nlabels = { \"a b\" = \"c\" }\npolicy = \"x\"",
                "line 3, column 12",
                "is no label key; use",
            ),
            (
                "kind = \"gang\"\nlabels = { a = \"b c\" }\npolicy = \"x\"",
                "line 3, column 16",
                "is no label value; use",
            ),
            ("kind = \"gang\"\nlabels = {}\npolicy = \"x\"", "line 3, column 10", "labels is empty"),
            ("kind = \"gang\"\nlabels = { a = 1 }\npolicy = \"x\"", "line 3, column 16", "expected a string"),
            (
                "kind = \"gang\"\ndivision = [\"Free\"]\npolicy = \"x\"",
                "line 3, column 12",
                "division is for placement policies",
            ),
            (
                "kind = \"placement\"\ndivision = [\"free\"]\npolicy = \"x\"",
                "line 3, column 13",
                "did you mean `Free`?",
            ),
            ("kind = \"placement\"\ndivision = [\"Free\"]\npolicy = \"X\"", "line 4, column 10", "use 1 to 63 of a-z"),
        ] {
            let error = Config::parse(&format!("[[bind]]\n{rule}\n")).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("policies.toml: {place}: ")) && error.contains(what), "{rule}\n{error}");
        }
        let many = "[[bind]]\nkind = \"gang\"\nnamespaces = [\"a\"]\npolicy = \"x\"\n".repeat(257);
        let error = Config::parse(&many).expect_err("refused").to_string();
        assert!(error.contains("it has 257 rules, and 256 are allowed"), "{error}");
    }

    #[test]
    fn errors_name_the_place_and_the_mend() {
        let of = |text: &str| Config::parse(text).expect_err("refused").to_string();
        let unknown = of("[placement]\nAgregated = \"x\"\n");
        assert!(unknown.contains("line 2, column 1") && unknown.contains("did you mean `Aggregated`?"), "{unknown}");
        let escape = of("[policy.x]\nfile = \"../x.wasm\"\n");
        assert!(escape.contains("[policy.x]") && escape.contains("must be the name of a file"), "{escape}");
        let name = of(&format!("[gang]\ndefault = \"{}\\n\"\n", "x".repeat(10_000)));
        assert!(name.contains("use 1 to 63 of a-z") && name.len() < 1000 && !name.contains('\n'), "{name}");
        let many: String = (0..300).map(|number| format!("[policy.p{number}]\n")).collect();
        assert!(of(&many).contains("it has 300 policies, and 256 are allowed"), "{}", of(&many));
        assert!(of("[policy.x]\nfile = \"\"\n").contains("must be the name of a file"));
        let zero = of("[policy.x]\nlimits = { fuel = 0 }\n");
        assert!(zero.contains("limits.fuel is 0"), "{zero}");
    }
}
