//! What stands beside a policy in `policies.toml`: a shadow, a canary, and the version before.
//!
//! ```toml
//! [policy.cost.shadow]        # decides beside it and is compared; never in force
//! file = "cost-2.wasm"        # file, config, limits and digest; what is absent is that of the slot
//!
//! [policy.cost.canary]        # decides for some
//! file = "cost-2.wasm"
//! share = 0.1                 # of the workloads, by a stable hash of namespace and name
//! labels = { tier = "batch" } # or for those with all of these
//! guard = { after = 50, waiting = 0.05, cost = 0.1, leaving = 0.05, refusals = 0.01 }
//! off = true                  # ended; kept to be looked at
//! ```
//!
//! The hash is SHA-256 of `NAMESPACE/NAME`; its first eight bytes, big-endian, over 2^64 are compared with the share. So it is
//! the same everywhere and in every version, and whoever is in a share of 10 % is in one of 20 % too.

use berth_core::ids::PolicyName;
use berth_core::policy::Subject;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use toml::Spanned;

use crate::bind::{Fault, Labels, RawLabels, check_labels, fault};
use crate::config::LimitsConfig;

/// What stands beside a policy, by the name under which it is loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Besides {
    pub shadow: Option<PolicyName>,
    pub canary: Option<Canary>,
}

/// Who decides for some.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    pub name: PolicyName,
    /// Of the workloads, from 0 to 1.
    pub share: f64,
    /// Workloads with all of these; nobody where there are none.
    pub labels: Labels,
    pub guard: Guard,
}

/// How much worse than the slot's own policy a canary may be on the same questions before it goes back.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Questions before it is judged.
    pub after: u64,
    /// Share of replicas without a place, more than with the slot's own.
    pub waiting: f64,
    /// Cost of a placed replica, more than with the slot's own, as a share of that.
    pub cost: f64,
    /// Share of what runs that has to leave, more than with the slot's own: moves of a migration policy, and workloads that a
    /// gang policy preempts.
    pub leaving: f64,
    /// Share of its calls that fail or break a rule.
    pub refusals: f64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { after: 50, waiting: 0.05, cost: 0.1, leaving: 0.05, refusals: 0.01 }
    }
}

impl Canary {
    /// Whether it decides for a workload.
    pub fn takes(&self, subject: &Subject<'_>) -> bool {
        (!self.labels.is_empty() && self.labels.on(subject)) || place(subject.namespace, subject.name) < self.share
    }
}

/// Where a workload stands among all, from 0 to 1.
fn place(namespace: &str, name: &str) -> f64 {
    let mut hash = Sha256::new();
    hash.update(namespace);
    hash.update("/");
    hash.update(name);
    let bytes = hash.finalize();
    let head = bytes.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    head as f64 / 2_f64.powi(64)
}

/// A version of a policy; what is absent is that of its slot.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawVersion {
    pub(crate) file: Option<String>,
    pub(crate) config: Option<Map<String, Value>>,
    pub(crate) limits: Option<LimitsConfig>,
    pub(crate) digest: Option<String>,
    #[serde(default)]
    pub(crate) off: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCanary {
    file: Option<String>,
    config: Option<Map<String, Value>>,
    limits: Option<LimitsConfig>,
    digest: Option<String>,
    #[serde(default)]
    off: bool,
    share: Option<Spanned<f64>>,
    labels: Option<Spanned<RawLabels>>,
    guard: Option<Spanned<Guard>>,
}

impl RawCanary {
    pub(crate) fn version(&self) -> RawVersion {
        let (file, config, digest) = (self.file.clone(), self.config.clone(), self.digest.clone());
        RawVersion { file, config, limits: self.limits, digest, off: self.off }
    }

    /// # Errors
    /// A canary for nobody, or a number that is no share.
    pub(crate) fn check(canary: Spanned<Self>, name: PolicyName) -> Result<Canary, Fault> {
        let at = canary.span().start;
        let RawCanary { share, labels, guard, .. } = canary.into_inner();
        if share.is_none() && labels.is_none() {
            return fault(at, "the canary decides for nobody; give it a share, such as 0.1, or labels");
        }
        if let Some(share) = share.as_ref().filter(|share| !(*share.get_ref() > 0.0 && *share.get_ref() <= 1.0)) {
            let what = format!("share is {}; it must be above 0 and at most 1, such as 0.1", share.get_ref());
            return fault(share.span().start, what);
        }
        let at = guard.as_ref().map_or(at, |guard| guard.span().start);
        let guard = guard.map(Spanned::into_inner).unwrap_or_default();
        let Guard { after: _, waiting, cost, leaving, refusals } = guard;
        let bounds = [("waiting", waiting), ("cost", cost), ("leaving", leaving), ("refusals", refusals)];
        if let Some((bound, value)) = bounds.into_iter().find(|(_, value)| !(*value >= 0.0 && value.is_finite())) {
            return fault(at, format!("guard.{bound} is {value}; it must be 0 or more, such as 0.05"));
        }
        if guard.after == 0 {
            return fault(at, "guard.after is 0; it must be at least 1");
        }
        let labels = labels.map(check_labels).transpose()?.unwrap_or_default();
        Ok(Canary { name, share: share.map_or(0.0, Spanned::into_inner), labels, guard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_same_for_ever() {
        // `printf default/web | sha256sum` and the like.
        let known = [("default", "web"), ("research", "train-7"), ("", "x")].map(|(one, two)| place(one, two));
        assert_eq!(known, [0.510554189284494, 0.49659705270837634, 0.7024209018622458]);
        let taken = (0..10_000).filter(|number| place("default", &format!("web-{number}")) < 0.1).count();
        assert!((900..1100).contains(&taken), "{taken} of 10,000 are in a share of 10 %");
    }
}
