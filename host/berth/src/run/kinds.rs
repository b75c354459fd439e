//! Kinds as people write them: `deployment`, `Deployments`, `deploy`, `apps/v1/Deployment`.

use berth_api::issue::did_you_mean;
use berth_api::schema::schemas;

const SHORT: &[(&str, &str)] = &[
    ("cl", "Cluster"),
    ("np", "NodePool"),
    ("of", "Offering"),
    ("dp", "DistributionPolicy"),
    ("cdp", "ClusterDistributionPolicy"),
    ("op", "OverridePolicy"),
    ("cop", "ClusterOverridePolicy"),
    ("qt", "QuotaTree"),
    ("pl", "Placement"),
    ("deploy", "Deployment"),
    ("sts", "StatefulSet"),
    ("cm", "ConfigMap"),
    ("svc", "Service"),
    ("pytorch", "PyTorchJob"),
    ("spark", "SparkApplication"),
];

/// Kinds that are known without being stored.
const USUAL: &[&str] =
    &["Deployment", "StatefulSet", "Job", "PyTorchJob", "SparkApplication", "ConfigMap", "Service", "Secret"];

/// The proper spelling of `word`. `stored` are the kinds that the store holds, with or without group and version.
///
/// # Errors
/// A hint if nothing is called so.
pub(crate) fn resolve<'a>(word: &str, stored: impl Iterator<Item = &'a str> + Clone) -> Result<String, String> {
    let last = word.rsplit('/').next().unwrap_or_default();
    let lower = last.to_lowercase();
    if let Some((_, kind)) = SHORT.iter().find(|(short, _)| *short == lower) {
        return Ok((*kind).to_owned());
    }
    let own = schemas().iter().map(|schema| schema.kind);
    let stored = stored.map(|kind| kind.rsplit('/').next().unwrap_or_default());
    let known = || own.clone().chain(stored.clone()).chain(USUAL.iter().copied());
    let found = known().find(|kind| {
        let kind = kind.to_lowercase();
        lower == kind || plurals(&kind).contains(&lower)
    });
    if let Some(kind) = found {
        return Ok(kind.to_owned());
    }
    let plural = |kind: &str| plurals(&kind.to_lowercase())[0].clone();
    let meant = known().find(|kind| did_you_mean(last, [*kind, plural(kind).as_str()]).is_some());
    Err(match meant {
        Some(kind) => format!("did you mean {}?", plural(kind)),
        None => {
            let mut words: Vec<String> = own.chain(stored).map(plural).collect();
            words.sort();
            words.dedup();
            format!("use workloads, {}", words.join(", "))
        }
    })
}

fn plurals(kind: &str) -> [String; 2] {
    let stem = kind.strip_suffix('y');
    [stem.map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies")), format!("{kind}es")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_understood() {
        let stored = ["apps/v1/Deployment", "ray.io/v1/RayCluster"];
        let kind = |word: &str| resolve(word, stored.into_iter());
        for word in ["deployment", "Deployments", "deploy", "apps/v1/Deployment"] {
            assert_eq!(kind(word).as_deref(), Ok("Deployment"), "{word}");
        }
        assert_eq!(kind("rayclusters").as_deref(), Ok("RayCluster"));
        assert_eq!(kind("np").as_deref(), Ok("NodePool"));
        assert_eq!(kind("distributionpolicies").as_deref(), Ok("DistributionPolicy"));
        assert_eq!(kind("nodepol"), Err("did you mean nodepools?".to_owned()));
        assert!(kind("zebra").is_err_and(|hint| hint.contains("clusters, ") && hint.contains("rayclusters")));
    }
}
