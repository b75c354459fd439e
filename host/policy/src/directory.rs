//! The policy directory: scanned as a whole, loaded as a whole, swapped as a whole.
//!
//! Holds: a policy whose new file, configuration or limits are refused stays as it was; a file that vanished, and a
//! `policies.toml` that was emptied, counts as removed only when the next scan agrees; what did not change keeps its session
//! and its counters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use berth_core::ids::PolicyName;
use berth_core::workload::Division;
use serde_json::Value;

use crate::bind::Rule;
use crate::bounds::message;
use crate::case::Inspection;
use crate::config::{CONFIG_FILE, Config, PolicyConfig};
use crate::engine::{Limits, Runtime};
use crate::load::{self, Compiled, LoadError, Loaded};
use crate::set::{Bindings, PolicySet, Refusal};
use crate::slots::{Besides, Canary, Guard};
use crate::trust::{KeyId, Trust};

/// The set in force, shared by those who load, those who decide and those who look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Current(Arc<Mutex<Arc<PolicySet>>>);

impl Current {
    pub(crate) fn get(&self) -> Arc<PolicySet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn swap(&self, set: Arc<PolicySet>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = set;
    }
}

/// What a scan did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Policies that are new or changed, and policies that are gone.
    pub changed: Vec<PolicyName>,
    pub removed: Vec<PolicyName>,
    /// Policies that are bound now where another was.
    pub rebound: Vec<PolicyName>,
    /// How many rules say who decides for whom, where others did before.
    pub rules: Option<usize>,
    /// Refusals that the scan before did not have.
    pub refused: Vec<Refusal>,
    /// Files are missing; another scan should see whether they stay away.
    pub again: bool,
}

impl Scan {
    /// Whether there is anything to tell.
    pub(crate) fn news(&self) -> bool {
        *self != Self { again: self.again, ..Self::default() }
    }
}

/// A policy directory with the set that was loaded from it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    runtime: Runtime,
    /// What may be loaded; anything where there is none.
    trust: Option<Trust>,
    current: Current,
    /// Compiled components by digest, or why there is none, so that a file is compiled once.
    compiled: BTreeMap<Arc<str>, Result<Arc<Compiled>, LoadError>>,
    /// What the scan under way has read, by file and the bytes allowed: a file that serves several policies is read once, so
    /// that they have one version of it.
    met: BTreeMap<(PathBuf, u64), Met>,
    missing: BTreeSet<PolicyName>,
    config: Presence,
}

/// What the last scans saw of `policies.toml`. Whoever replaces it may move it away or empty it first; it is gone only if the
/// next scan finds nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Absent,
    There,
    /// It was there, and the last scan found no file, or one that was emptied then.
    Missed(Option<SystemTime>),
}

/// A file's digest, empty where it cannot be read, and what came of compiling it.
type Met = (Arc<str>, Result<Vouched, LoadError>);

/// A component, and who signed it where somebody had to.
#[derive(Clone, Debug)]
struct Vouched {
    compiled: Arc<Compiled>,
    signed_by: Option<KeyId>,
}

/// One policy as the directory wants it.
struct Wanted {
    config: Value,
    limits: Limits,
    file: PathBuf,
}

impl Directory {
    pub fn new(path: impl Into<PathBuf>, runtime: Runtime) -> Self {
        Self {
            path: path.into(),
            runtime,
            trust: None,
            current: Current::default(),
            compiled: BTreeMap::new(),
            met: BTreeMap::new(),
            missing: BTreeSet::new(),
            config: Presence::Absent,
        }
    }

    /// From now on nothing is loaded but what is trusted; with `None` any policy is.
    #[must_use]
    pub fn with_trust(self, trust: Option<Trust>) -> Self {
        Self { trust, ..self }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn current(&self) -> &Current {
        &self.current
    }

    /// The set in force.
    pub fn set(&self) -> Arc<PolicySet> {
        self.current.get()
    }

    /// What a component says of itself, whether it is trusted or not. It is not loaded; the next scan does not compile these
    /// bytes again.
    ///
    /// # Errors
    /// Why it would not be loaded.
    pub fn inspect(&mut self, component: &[u8]) -> Result<Inspection, LoadError> {
        let compiled = self.compile_bytes(&load::digest(component), component, &Limits::default());
        compiled.map(|compiled| compiled.inspection())
    }

    /// Reads the directory and swaps in what changed. Files are taken in the order of their names.
    pub fn scan(&mut self) -> Scan {
        let before = self.current.get();
        let mut refused = Vec::new();
        let (config, files) = match self.read_whole() {
            Ok((Some(config), files)) => {
                self.config = Presence::There;
                (config, files)
            }
            Ok((None, _)) if self.comes_back() => return Scan { again: true, ..Scan::default() },
            Ok((None, files)) => (Config::default(), files),
            Err(_) if !self.path.is_dir() && self.comes_back() => return Scan { again: true, ..Scan::default() },
            // A folder that is away may come back as another one, which no watch sees.
            Err(refusal) => return Scan { again: !self.path.is_dir(), ..self.keep(&before, refusal) },
        };
        let mut policies = BTreeMap::new();
        let mut used = BTreeSet::new();
        let mut beside = config.idle.clone();
        for (name, wanted) in &config.policies {
            let files = if name.as_str().contains('/') { &mut beside } else { &mut used };
            files.insert(wanted.file.clone());
            self.take(&before, name, wanted, &mut policies, &mut refused);
        }
        // What stands beside a policy is a version of it, unless it is one with a name of its own.
        used.extend(beside.into_iter().filter(|file| self.is_version(&before, &config, file)));
        let mut unnamed: Vec<&String> = files.iter().filter(|file| !used.contains(*file)).collect();
        unnamed.sort_by_key(|file| self.claim(&before, file));
        for file in unnamed {
            self.take_unnamed(&before, file, &mut policies, &mut refused);
        }
        let missing: BTreeSet<PolicyName> =
            before.policies.keys().filter(|name| !policies.contains_key(*name)).cloned().collect();
        let mut scan = Scan::default();
        for name in &missing {
            // What stood beside a policy goes at once, since its table is gone.
            let ended = name.as_str().contains('/') && !config.policies.contains_key(name);
            if ended || self.missing.contains(name) {
                scan.removed.push(name.clone());
            } else if let Some(policy) = before.policies.get(name) {
                policies.insert(name.clone(), policy.clone());
                scan.again = true;
            }
        }
        self.missing = missing.into_iter().filter(|name| !scan.removed.contains(name)).collect();
        for (name, policy) in &policies {
            if !before.policies.get(name).is_some_and(|old| Arc::ptr_eq(old, policy)) {
                scan.changed.push(name.clone());
            }
        }
        let besides = besides(&config, &mut policies, &mut refused);
        if let Some(refusal) = dangling(&config, &policies, &refused) {
            return self.keep(&before, refusal);
        }
        let bound = before.bindings.iter().zip(config.bindings.iter());
        scan.rebound = bound.filter(|(old, new)| old != new).map(|(_, (_, _, name))| name.clone()).collect();
        scan.rebound.dedup();
        let rules: Vec<Rule> = config.rules.iter().map(|(rule, _)| rule.clone()).collect();
        scan.rules = (rules != before.rules).then_some(rules.len());
        scan.refused = refused.iter().filter(|refusal| !before.refused.contains(refusal)).cloned().collect();
        let set = PolicySet {
            needs: needs(&policies, &besides),
            made_of: made_of(&policies, &besides),
            policies,
            besides,
            rules,
            bindings: config.bindings,
            refused,
        };
        let same =
            set.besides == before.besides && scan.changed.is_empty() && scan.removed.is_empty() && scan.rules.is_none();
        if !same || set.bindings != before.bindings || set.refused != before.refused {
            self.current.swap(Arc::new(set));
        }
        let live = self.current.get();
        let mut kept: BTreeSet<Arc<str>> =
            std::mem::take(&mut self.met).into_values().map(|(digest, _)| digest).collect();
        kept.extend(live.policies.values().map(|policy| policy.by.digest.clone()));
        self.compiled.retain(|digest, _| kept.contains(digest));
        scan
    }

    /// Whether `policies.toml`, in which there is nothing, may be in the middle of being replaced.
    fn comes_back(&mut self) -> bool {
        let emptied = std::fs::metadata(self.path.join(CONFIG_FILE)).and_then(|found| found.modified()).ok();
        let gone = match self.config {
            Presence::Absent => true,
            Presence::There => false,
            Presence::Missed(before) => before == emptied,
        };
        self.config = if gone { Presence::Absent } else { Presence::Missed(emptied) };
        !gone
    }

    /// Everything stays as it is, and shows why.
    fn keep(&self, before: &PolicySet, refusal: Refusal) -> Scan {
        if before.refused == [refusal.clone()] {
            return Scan::default();
        }
        self.current.swap(Arc::new(PolicySet { refused: vec![refusal.clone()], ..before.clone() }));
        Scan { refused: vec![refusal], ..Scan::default() }
    }

    /// The configuration with all files compiled that belong to it. Where the folder is swapped meanwhile, as a ConfigMap is,
    /// the files may be those of another configuration: then it is read again.
    fn read_whole(&mut self) -> Result<(Option<Config>, BTreeSet<String>), Refusal> {
        const TRIES: usize = 5;
        let mut tries = 0;
        loop {
            self.met.clear();
            let (config, files) = self.read()?;
            let named = || config.iter().flat_map(|config| config.policies.values());
            for wanted in named() {
                let _met = self.compile(&self.path.join(&wanted.file), &wanted.limits);
            }
            for file in &files {
                if !named().any(|wanted| wanted.file == *file) {
                    let _met = self.compile(&self.path.join(file), &Limits::default());
                }
            }
            tries += 1;
            if tries == TRIES || Config::read(&self.path).is_ok_and(|again| again == config) {
                return Ok((config, files));
            }
        }
    }

    fn read(&self) -> Result<(Option<Config>, BTreeSet<String>), Refusal> {
        let refusal = |file: PathBuf, name: &str, reason: String| Refusal {
            name: name.into(),
            file,
            digest: "".into(),
            reason: message(reason),
        };
        let listed = std::fs::read_dir(&self.path).and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>, std::io::Error>>()
        });
        let names = listed.map_err(|error| {
            let reason = format!("the policy directory cannot be read: {error}");
            refusal(self.path.clone(), "policies", reason)
        })?;
        let config = Config::read(&self.path)
            .map_err(|error| refusal(self.path.join(CONFIG_FILE), CONFIG_FILE, chain(&error)))?;
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        let files = names.filter(|name| name.ends_with(".wasm") && !name.starts_with('.'));
        let files = files.filter(|name| self.path.join(name).is_file()).collect();
        Ok((config, files))
    }

    /// Loads one `[policy.NAME]`, or keeps its predecessor.
    fn take(
        &mut self,
        before: &PolicySet,
        name: &PolicyName,
        wanted: &PolicyConfig,
        policies: &mut BTreeMap<PolicyName, Arc<Loaded>>,
        refused: &mut Vec<Refusal>,
    ) {
        let file = self.path.join(&wanted.file);
        let (was, only) = (before.policies.get(name), &wanted.digest);
        let wanted = Wanted { config: wanted.config.clone(), limits: wanted.limits, file: file.clone() };
        let (digest, result) = self.compile(&file, &wanted.limits);
        let result = match only {
            Some(only) if result.is_ok() && *only != *digest => {
                Err(LoadError::Digest { found: digest.clone(), wanted: only.clone() })
            }
            _ => result,
        };
        let loaded = result.and_then(|vouched| self.load(was, name.clone(), vouched, &wanted));
        match loaded {
            Ok(policy) => {
                policies.insert(name.clone(), policy);
            }
            Err(error) => {
                // A file that is away for a moment is no refusal yet; one that stays away takes its policy with it.
                let away = matches!(&error, LoadError::Read(io) if io.kind() == std::io::ErrorKind::NotFound);
                if away && was.is_some() && !self.missing.contains(name) {
                    return;
                }
                if let Some(was) = was.filter(|_| !away) {
                    policies.insert(name.clone(), was.clone());
                }
                refused.push(Refusal { name: name.to_string(), file, digest, reason: message(chain(&error)) });
            }
        }
    }

    /// Loads a file under the name that it gives itself, or keeps what came from that file before.
    fn take_unnamed(
        &mut self,
        before: &PolicySet,
        file: &str,
        policies: &mut BTreeMap<PolicyName, Arc<Loaded>>,
        refused: &mut Vec<Refusal>,
    ) {
        let path = self.path.join(file);
        let wanted =
            Wanted { config: Value::Object(serde_json::Map::new()), limits: Limits::default(), file: path.clone() };
        let (digest, result) = self.compile(&path, &wanted.limits);
        let stem = file.trim_end_matches(".wasm").to_owned();
        let mut refuse = |reason: String| {
            let reason = message(reason);
            refused.push(Refusal { name: stem.clone(), file: path.clone(), digest: digest.clone(), reason });
        };
        let loaded = result.and_then(|vouched| {
            let name = vouched.compiled.description.name.clone();
            self.load(before.policies.get(&name), name, vouched, &wanted)
        });
        match loaded {
            Ok(policy) => match policies.get(&policy.name) {
                Some(other) => refuse(format!(
                    "it calls itself {}, as {} does; give one of them a [policy.NAME] in {CONFIG_FILE}",
                    policy.name,
                    other.file.display()
                )),
                None => {
                    policies.insert(policy.name.clone(), policy);
                }
            },
            Err(error) => {
                refuse(chain(&error));
                if let Some(was) = named_by(before, &path).filter(|was| !policies.contains_key(&was.name)) {
                    policies.insert(was.name.clone(), was.clone());
                }
            }
        }
    }

    /// Whether a file that stands beside a policy is nothing but a version of that: it is named otherwise than it calls
    /// itself, or that name has a table. One that is no policy, and was none, is refused where it is named.
    fn is_version(&mut self, before: &PolicySet, config: &Config, file: &str) -> bool {
        let path = self.path.join(file);
        let (_, met) = self.compile(&path, &Limits::default());
        let Ok(vouched) = met else { return named_by(before, &path).is_none() };
        let name = &vouched.compiled.description.name;
        file.trim_end_matches(".wasm") != name.as_str() || config.policies.contains_key(name)
    }

    /// Who goes first where several files call themselves the same: the one that has the name, the one that had it before.
    fn claim(&mut self, before: &PolicySet, file: &str) -> (bool, bool) {
        let path = self.path.join(file);
        let (_, compiled) = self.compile(&path, &Limits::default());
        let Ok(Vouched { compiled, .. }) = compiled else { return (true, true) };
        let name = &compiled.description.name;
        let had = before.policies.get(name).is_some_and(|policy| policy.file == path);
        (file.trim_end_matches(".wasm") != name.as_str(), !had)
    }

    fn compile(&mut self, file: &Path, limits: &Limits) -> Met {
        let key = (file.to_owned(), limits.file_bytes);
        if let Some(met) = self.met.get(&key) {
            return met.clone();
        }
        let met = match load::read(file, limits.file_bytes) {
            Ok(bytes) => self.compile_trusted(file, &bytes, limits),
            Err(error) => ("".into(), Err(error)),
        };
        self.met.insert(key, met.clone());
        met
    }

    /// Compiles a file's bytes, if they are trusted. That is looked at each time, since signatures come and go.
    fn compile_trusted(&mut self, file: &Path, bytes: &[u8], limits: &Limits) -> Met {
        let hash = load::hash(bytes);
        let digest = load::hex(&hash);
        let signed_by = match self.trust.as_ref().map(|trust| trust.check_hash(file, &hash)).transpose() {
            Ok(signed_by) => signed_by.flatten(),
            Err(untrusted) => return (digest, Err(untrusted.into())),
        };
        let compiled = self.compile_bytes(&digest, bytes, limits);
        (digest, compiled.map(|compiled| Vouched { compiled, signed_by }))
    }

    fn compile_bytes(&mut self, digest: &Arc<str>, bytes: &[u8], limits: &Limits) -> Result<Arc<Compiled>, LoadError> {
        if let Some(compiled) = self.compiled.get(digest) {
            return compiled.clone();
        }
        let compiled = load::compile(&self.runtime, bytes, limits).map(Arc::new);
        // What `describe` does is limited by time too, and may go better another time; all else would only fail again.
        if !matches!(compiled, Err(LoadError::Describe(_))) {
            self.compiled.insert(digest.clone(), compiled.clone());
        }
        compiled
    }

    fn load(
        &self,
        was: Option<&Arc<Loaded>>,
        name: PolicyName,
        Vouched { compiled, signed_by }: Vouched,
        wanted: &Wanted,
    ) -> Result<Arc<Loaded>, LoadError> {
        let unchanged = |was: &&Arc<Loaded>| {
            was.by.digest == compiled.digest
                && was.signed_by == signed_by
                && was.config == wanted.config
                && was.limits == wanted.limits
                && was.file == wanted.file
        };
        if let Some(was) = was.filter(unchanged) {
            return Ok(was.clone());
        }
        let mut loaded =
            load::load(&self.runtime, &compiled, name, wanted.file.clone(), &wanted.config, wanted.limits)?;
        loaded.signed_by = signed_by;
        Ok(Arc::new(loaded))
    }
}

/// The policy with the name that this file gave itself, beside whatever else was made from it.
fn named_by<'a>(before: &'a PolicySet, file: &Path) -> Option<&'a Arc<Loaded>> {
    before.policies.values().find(|was| was.file == file && was.name == was.description.name)
}

/// What stands beside policies that are loaded; what is of another kind than its slot is refused.
fn besides(
    config: &Config,
    policies: &mut BTreeMap<PolicyName, Arc<Loaded>>,
    refused: &mut Vec<Refusal>,
) -> BTreeMap<PolicyName, Besides> {
    let mut found = BTreeMap::new();
    for (slot, wanted) in &config.besides {
        let own = policies.get(slot).map(|policy| policy.description.kind);
        let mut fits = |name: &PolicyName| {
            let Some(policy) = policies.get(name) else { return false };
            let kind = policy.description.kind;
            let reason = match own {
                Some(own) if own == kind => return true,
                Some(own) => format!("it is a {} policy, and {slot} is a {} policy", kind.as_str(), own.as_str()),
                None => format!("no policy {slot} is loaded that it could stand beside"),
            };
            let (file, digest) = (policy.file.clone(), policy.by.digest.clone());
            refused.push(Refusal { name: name.to_string(), file, digest, reason });
            policies.remove(name);
            false
        };
        let shadow = wanted.shadow.clone().filter(|name| fits(name));
        let canary = wanted.canary.clone().filter(|canary| fits(&canary.name));
        if shadow.is_some() || canary.is_some() {
            found.insert(slot.clone(), Besides { shadow, canary });
        }
    }
    found
}

/// The inputs that any policy of a slot needs, for all of them: so that each can be asked what another was.
fn needs(
    policies: &BTreeMap<PolicyName, Arc<Loaded>>,
    besides: &BTreeMap<PolicyName, Besides>,
) -> BTreeMap<PolicyName, Vec<Arc<str>>> {
    let mut all = BTreeMap::new();
    for (slot, besides) in besides {
        let canary = besides.canary.as_ref().map(|canary| &canary.name);
        let names: Vec<&PolicyName> = std::iter::once(slot).chain(&besides.shadow).chain(canary).collect();
        let mut needs: Vec<Arc<str>> = Vec::new();
        for need in names.iter().filter_map(|name| policies.get(*name)).flat_map(|policy| &policy.description.needs) {
            if !needs.contains(need) {
                needs.push(need.clone());
            }
        }
        all.extend(names.into_iter().map(|name| (name.clone(), needs.clone())));
    }
    all
}

/// What the shadows and canaries are made of. A canary went back as this, and as another it is tried anew.
fn made_of(
    policies: &BTreeMap<PolicyName, Arc<Loaded>>,
    besides: &BTreeMap<PolicyName, Besides>,
) -> BTreeMap<PolicyName, Arc<str>> {
    let mut all = BTreeMap::new();
    for Besides { shadow, canary } in besides.values() {
        if let Some(policy) = shadow.as_ref().and_then(|name| policies.get(name)) {
            all.insert(policy.name.clone(), format!("{} {}", policy.by.digest, policy.config_text).into());
        }
        if let Some(canary) = canary
            && let Some(policy) = policies.get(&canary.name)
        {
            let Canary { share, labels, guard, .. } = canary;
            let Limits { fuel, deadline_ms, memory_bytes, .. } = policy.limits;
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let (digest, config, labels) = (&policy.by.digest, &policy.config_text, labels.join(","));
            let limits = format!("{fuel} {deadline_ms} {memory_bytes}");
            let Guard { after, waiting, cost, leaving, refusals } = guard;
            let guard = format!("{after} {waiting} {cost} {leaving} {refusals}");
            let text = format!("{digest} {config} | {limits} | {share} {labels} | {guard}");
            all.insert(policy.name.clone(), text.into());
        }
    }
    all
}

/// The first binding or rule that names no policy of its kind. One to the built-in algorithm of its place needs no
/// component, and one to a file that is refused is not this file's fault.
fn dangling(config: &Config, policies: &BTreeMap<PolicyName, Arc<Loaded>>, refused: &[Refusal]) -> Option<Refusal> {
    let defaults = Bindings::default();
    let bindings = config.bindings.iter().zip(defaults.iter());
    let bindings =
        bindings.map(|((binding, kind, name), (_, _, default))| (binding.to_owned(), kind, name, name == default));
    let rules = config.rules.iter().map(|(rule, place)| {
        let divisions = rule.divisions.as_deref().unwrap_or(&Division::ALL);
        let built_in = divisions.iter().all(|division| *defaults.of(rule.kind, *division) == rule.policy);
        (format!("{place}: a rule for {}", rule.kind.as_str()), rule.kind, &rule.policy, built_in)
    });
    for (who, kind, name, built_in) in bindings.chain(rules) {
        let what = match policies.get(name) {
            Some(policy) if policy.description.kind == kind => continue,
            Some(policy) => format!("which is a {} policy", policy.description.kind.as_str()),
            None if built_in => continue,
            None if refused.iter().any(|refusal| refusal.name == name.as_str()) => continue,
            None => {
                let loaded: Vec<&str> = policies
                    .values()
                    .filter(|policy| policy.description.kind == kind)
                    .map(|policy| policy.name.as_str())
                    .collect();
                format!("which is not loaded; loaded are: {}", loaded.join(", "))
            }
        };
        let reason = message(format!("{who} names {name}, {what}"));
        return Some(Refusal { name: CONFIG_FILE.into(), file: CONFIG_FILE.into(), digest: "".into(), reason });
    }
    None
}

/// An error with its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
