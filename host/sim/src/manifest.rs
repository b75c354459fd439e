//! What a member cluster makes of an applied manifest: pods by component, and how they run.

use std::sync::Arc;

use berth_api::interpret::{self, Kind};
use berth_core::workload::Shape;

/// Annotation that says how long a Job, PyTorchJob or SparkApplication runs in a simulation, such as `30m`. Without it, it
/// runs until it is deleted.
pub const DURATION_ANNOTATION: &str = "sim.berth.dev/duration";

/// How the pods of a workload run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// Each for itself, for ever: a Deployment.
    Serve,
    /// Each for itself, one after the other, for ever: a StatefulSet.
    InOrder,
    /// Each for itself, to an end: a Job.
    Task,
    /// All or none, to an end: a PyTorchJob, a SparkApplication.
    Together,
}

impl Run {
    pub(crate) fn ends(self) -> bool {
        matches!(self, Run::Task | Run::Together)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) run: Run,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) components: Vec<Wanted>,
}

#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) replicas: u32,
    pub(crate) shape: Arc<Shape>,
}

impl Manifest {
    /// Reads Kubernetes JSON as it was applied. The error is for a person.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let value = serde_json::from_slice(bytes).map_err(|error| format!("is no JSON: {error}"))?;
        let manifest = berth_api::Manifest::parse(value).map_err(|issues| join(&issues))?;
        let asked = interpret::components(&manifest).map_err(|issues| join(&issues))?;
        let kind = manifest.interpreted_as();
        let run = match kind {
            kind if kind.is_gang() => Run::Together,
            Kind::Job => Run::Task,
            _ if in_order(&manifest) => Run::InOrder,
            _ => Run::Serve,
        };
        let annotation = manifest.value().pointer("/metadata/annotations").and_then(|all| all.get(DURATION_ANNOTATION));
        let duration_ms = match annotation.and_then(|value| value.as_str()) {
            None => None,
            Some(text) => {
                let parsed = berth_api::duration::Duration::parse(text);
                Some(parsed.map_err(|error| format!("annotation {DURATION_ANNOTATION}: {error}"))?.millis())
            }
        };
        let components = asked.components.into_iter();
        let components = components.map(|one| Wanted { replicas: one.replicas, shape: one.shape }).collect();
        Ok(Self { run, duration_ms, components })
    }
}

fn in_order(manifest: &berth_api::Manifest) -> bool {
    let parallel = manifest.value().pointer("/spec/podManagementPolicy").and_then(|policy| policy.as_str());
    manifest.kind() == "StatefulSet" && parallel != Some("Parallel")
}

fn join(issues: &[berth_api::Issue]) -> String {
    issues.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
