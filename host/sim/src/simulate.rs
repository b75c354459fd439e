//! Whole simulations: a trace, or a fleet file with stock and load, through the controller from beginning to end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use berth_api::Object;
use berth_api::resources::{LoadSeries, SimulationSpec, StockColumn, StockSeries};
use berth_control::ports::{Events, ObjectKey};
use berth_control::store::MemoryStore;
use berth_control::{Controller, OpenError, Refused, Settings};
use berth_core::ids::Millis;
use berth_core::policy::Policies;

use crate::alibaba::{Trace, TraceError};
use crate::drive::{DriveError, Driver, Pass};
use crate::example;
use crate::gather::{DigestStore, Gather, GpuMeter, PlanDigest, complete};
use crate::report::{Report, Timing};
use crate::series::Availability;
use crate::simulation::{Options, Simulation, SimulationError};
use crate::table::{SeriesError, Source};

/// Parts of the time for which a report shows the use of GPUs.
const PARTS: usize = 24;
/// Begin of simulated time: any fixed moment will do, so that the same seed gives the same bytes. 2023-01-01T00:00:00Z.
const START: Millis = Millis(1_672_531_200_000);
/// History entries that a simulation keeps: nobody reads them afterwards.
const HISTORY_KEPT: usize = 1000;
/// How long a trace goes on after the last task could have ended, for those that waited, milliseconds.
const GRACE_MS: u64 = 3_600_000;

#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    #[error(transparent)]
    Series(#[from] SeriesError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error("{0}")]
    Input(String),
}

/// How far a simulation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub simulated_ms: u64,
    pub of_ms: u64,
}

/// How a trace is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceOptions {
    pub seed: u64,
    /// The first so many tasks only.
    pub limit: Option<usize>,
    /// How many times faster tasks arrive than they did. They run as long as they did.
    pub compress: u64,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self { seed: 0, limit: None, compress: 1 }
    }
}

/// How a fleet file is simulated.
#[derive(Clone, Debug, Default)]
pub struct FleetOptions {
    pub seed: u64,
    /// Stock series in place of those of the `Simulation` document: its columns are zones. The simulation goes on for as
    /// long as it says, and load series repeat until then.
    pub stock: Option<PathBuf>,
    /// Load series in place of the files of the `Simulation` document.
    pub load: Option<PathBuf>,
    /// Where it ends, milliseconds; otherwise as the document says, or with its series.
    pub length_ms: Option<u64>,
    pub options: Options,
}

/// What runs: a controller on a store in memory, and its world.
struct Run<'a> {
    controller: Controller,
    simulation: Simulation,
    policies: &'a mut dyn Policies,
    gather: Gather<'a>,
    digest: PlanDigest,
    meter: GpuMeter,
    all: Pass,
    began: Instant,
}

impl<'a> Run<'a> {
    fn new(
        simulation: Simulation,
        seed: u64,
        end: Millis,
        policies: &'a mut dyn Policies,
        events: Option<&'a mut dyn Events>,
    ) -> Result<Self, SimulateError> {
        let digest = PlanDigest::default();
        let store = DigestStore { inner: MemoryStore::keeping(HISTORY_KEPT), digest: digest.clone() };
        Ok(Self {
            controller: Controller::open(Box::new(store), Settings { seed, ..Settings::default() })?,
            meter: GpuMeter::new(simulation.now(), end, PARTS),
            simulation,
            policies,
            gather: Gather::new(events),
            digest,
            all: Pass::default(),
            began: Instant::now(),
        })
    }

    fn driver(&mut self) -> Driver<'_> {
        Driver {
            controller: &mut self.controller,
            simulation: &mut self.simulation,
            policies: self.policies,
            events: &mut self.gather,
        }
    }

    /// One instant: everything that is due, then tasks that ended leave.
    fn pass(&mut self) -> Result<Option<Millis>, SimulateError> {
        let now = self.simulation.now();
        let scaled = self.driver().scale()?;
        for (workload, replicas) in &scaled {
            self.gather.scaled(workload, *replicas, now);
        }
        let pass = self.driver().pass()?;
        self.all.add(&pass);
        self.meter.note(now, self.simulation.gpu_milli());
        let ended = std::mem::take(&mut self.gather.ended);
        for workload in &ended {
            self.controller.delete(&ObjectKey::from(workload), now)?;
            self.gather.forget(workload);
        }
        // What left frees its room at once.
        Ok(if ended.is_empty() { self.all.next } else { Some(now) })
    }

    fn finish(mut self, input: String, seed: u64) -> (Report, Timing) {
        let timing = Timing::new(self.began.elapsed(), self.all.policy_time, self.all.decisions);
        let refused = self.simulation.refused();
        let mut report = self.gather.into_report();
        complete(&mut report, &self.simulation, &self.all, self.meter, &self.digest);
        (report.input, report.seed) = (input, seed);
        report.warnings.extend(refused);
        (report, timing)
    }
}

/// Replays the Alibaba GPU trace in `dir`: one cluster for each GPU model, tasks as Jobs.
///
/// # Errors
/// The trace cannot be read, or the store refuses.
pub fn simulate_trace(
    dir: &Path,
    options: &TraceOptions,
    policies: &mut dyn Policies,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Report, Timing), SimulateError> {
    let source = Source::Dir(dir.to_owned());
    let trace = Trace::read(&source, options.limit)?;
    // Whatever a task waits for besides its node is part of its recorded duration.
    let spec = SimulationSpec { pod_start: Default::default(), ..SimulationSpec::default() };
    let simulation = Simulation::new(&trace.objects, Some(&spec), options.seed, START, &source, Options::default())?;
    let arrives = |seconds: u64| START.plus(seconds * 1000 / options.compress.max(1));
    let over = trace.tasks.iter().map(|task| arrives(task.arrives).plus(task.runs * 1000)).max();
    let end = over.unwrap_or(START).plus(GRACE_MS);
    let mut run = Run::new(simulation, options.seed, end, policies, None)?;
    run.controller.apply(trace.objects.clone(), START)?;
    let mut tasks = trace.tasks.iter().peekable();
    loop {
        let now = run.simulation.now();
        let mut arrived = Vec::new();
        while let Some(task) = tasks.next_if(|task| arrives(task.arrives) <= now) {
            run.gather.submitted(&task.key(), now);
            arrived.push(task.object()?);
        }
        if !arrived.is_empty() {
            run.controller.apply(arrived, now)?;
        }
        let next = run.pass()?;
        progress(Progress { simulated_ms: now.since(START), of_ms: end.since(START) });
        let arrival = tasks.peek().map(|task| arrives(task.arrives));
        if arrival.is_none() && run.gather.open() == 0 {
            break;
        }
        match [next, arrival].into_iter().flatten().min().filter(|next| *next <= end) {
            Some(next) => run.simulation.advance(next),
            None => break,
        }
    }
    let name = dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned());
    Ok(run.finish(format!("trace {name}, {} tasks", trace.tasks.len()), options.seed))
}

/// Simulates a fleet with its workloads, stock and load. `objects` are those of a fleet file in the folder of `source`.
/// Events go to `events`, if there is one.
///
/// # Errors
/// A series cannot be read or does not fit the fleet, or the controller refuses an object.
pub fn simulate_fleet<'a>(
    name: &str,
    objects: &[Object],
    source: &Source,
    options: &FleetOptions,
    policies: &'a mut dyn Policies,
    events: Option<&'a mut dyn Events>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Report, Timing), SimulateError> {
    let mut spec = example::simulation(objects).cloned().unwrap_or_default();
    let mut warnings = Vec::new();
    let source = override_series(&mut spec, objects, source, options, &mut warnings)?;
    let simulation = Simulation::new(objects, Some(&spec), options.seed, START, &source, options.options)?;
    let length = options.length_ms.map(|length| START.plus(length));
    let Some(end) = length.or(simulation.end()) else {
        let mend = "give a stock or load series, or spec.length in its Simulation";
        return Err(SimulateError::Input(format!("{name}: nothing says how long to simulate; {mend}")));
    };
    let mut run = Run::new(simulation, options.seed, end, policies, events)?;
    for object in objects {
        if let Object::Manifest(manifest) = object
            && berth_api::interpret::components(manifest).is_ok_and(|asked| !asked.components.is_empty())
        {
            run.gather.submitted(&manifest.key(), START);
        }
    }
    run.controller.apply(objects.to_vec(), START)?;
    loop {
        let now = run.simulation.now();
        let next = run.pass()?;
        progress(Progress { simulated_ms: now.since(START), of_ms: end.since(START) });
        match next.filter(|next| *next <= end) {
            Some(next) => run.simulation.advance(next),
            None => break,
        }
    }
    run.simulation.advance(end);
    let (mut report, timing) = run.finish(name.to_owned(), options.seed);
    report.warnings.splice(0..0, warnings);
    Ok((report, timing))
}

/// Puts the series of the command line in place of those of the document. Paths of the command line are taken as they are.
fn override_series(
    spec: &mut SimulationSpec,
    objects: &[Object],
    source: &Source,
    options: &FleetOptions,
    warnings: &mut Vec<String>,
) -> Result<Source, SimulateError> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    if let Some(path) = &options.stock {
        let (file, text) = read(path)?;
        let series = Availability::read(&file, &text)?;
        spec.stock_series = vec![stock_of_zones(&file, &series, objects, spec, warnings)?];
        // The document's length is that of its own series. Now it goes on as long as there is stock to follow.
        spec.length = None;
        files.insert(file, text);
    }
    if let Some(path) = &options.load {
        let (file, text) = read(path)?;
        if spec.load_series.is_empty() {
            spec.load_series = vec![load_of_only_workload(&file, objects, warnings)?];
        }
        spec.load_series.iter_mut().for_each(|load| load.file = file.clone());
        files.insert(file, text);
    }
    if options.stock.is_some() {
        spec.load_series.iter_mut().for_each(|load| load.repeat = true);
    }
    for file in
        spec.stock_series.iter().map(|series| &series.file).chain(spec.load_series.iter().map(|load| &load.file))
    {
        if !files.contains_key(file) {
            files.insert(file.clone(), source.read(file)?);
        }
    }
    Ok(Source::Texts(files))
}

fn read(path: &Path) -> Result<(String, String), SeriesError> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((file, text)),
        Err(source) => Err(SeriesError::Read { file, source }),
    }
}

/// Each column is a zone: it gives the stock of the spot offerings there, or of all offerings where there is none on spot.
fn stock_of_zones(
    file: &str,
    series: &Availability,
    objects: &[Object],
    spec: &SimulationSpec,
    warnings: &mut Vec<String>,
) -> Result<StockSeries, SimulateError> {
    let offerings = || {
        objects.iter().filter_map(|object| match object {
            Object::Offering(offering) => Some(offering),
            _ => None,
        })
    };
    let mut columns = Vec::new();
    for zone in &series.columns {
        let here = || offerings().filter(|offering| offering.spec.zone == *zone);
        let is_spot = |offering: &&berth_api::resources::Offering| {
            offering.spec.capacity_type == berth_api::resources::CapacityType::Spot
        };
        let mut names: Vec<String> = here().filter(is_spot).map(|offering| offering.metadata.name.clone()).collect();
        if names.is_empty() {
            names = here().map(|offering| offering.metadata.name.clone()).collect();
        }
        if names.is_empty() {
            warnings.push(format!("{file}: the fleet has no Offering in zone {zone}; the column is not used"));
        } else {
            columns.push(StockColumn { column: zone.clone(), offerings: names, nodes: None });
        }
    }
    if columns.is_empty() {
        let zones = series.columns.join(", ");
        let mend = "name a zone of the series in an Offering's spec.zone";
        return Err(SimulateError::Input(format!("{file}: the fleet has no Offering in any of {zones}; {mend}")));
    }
    let nodes = spec.stock_series.first().map_or(8, |series| series.nodes);
    Ok(StockSeries { file: file.to_owned(), columns, nodes, offset: Default::default() })
}

/// A fleet without load series has one workload that can be scaled: it gets the load, one request a second and replica.
fn load_of_only_workload(
    file: &str,
    objects: &[Object],
    warnings: &mut Vec<String>,
) -> Result<LoadSeries, SimulateError> {
    let scalable = objects.iter().filter_map(|object| match object {
        Object::Manifest(manifest) => {
            let asked = berth_api::interpret::components(manifest).ok()?;
            let serves = !manifest.interpreted_as().ends() && asked.components.len() == 1;
            serves.then_some(manifest)
        }
        _ => None,
    });
    let found: Vec<_> = scalable.collect();
    let [manifest] = found[..] else {
        let mend = "say in the Simulation's spec.loadSeries which workload the load is for";
        return Err(SimulateError::Input(format!("{file}: {} workloads could take the load; {mend}", found.len())));
    };
    let workload = berth_api::resources::WorkloadName {
        api_version: manifest.api_version().to_owned(),
        kind: manifest.kind().to_owned(),
        namespace: manifest.namespace().to_owned(),
        name: manifest.name().to_owned(),
    };
    warnings.push(format!("{file}: {} gets the load, one replica for each request a second, 1 to 32", manifest.name()));
    Ok(LoadSeries {
        file: file.to_owned(),
        workload,
        requests_per_second: 1.0,
        min: 1,
        max: 32,
        window: berth_api::duration::Duration::from_seconds(60),
        speed: 1.0,
        repeat: false,
    })
}

#[cfg(test)]
mod tests;
