//! Version 0.1 of the policy interface, bound to the host's own types.
//!
//! Columns are handed over as slices, which wasmtime lowers as one copy of memory each; what is small is converted.

use std::sync::Arc;

use berth_core::policy as host;
use berth_core::policy::Kind;
use wasmtime::component::{Component, Instance, InstancePre, Linker, ResourceAny};
use wasmtime::{Engine, Error, Store};

use crate::bounds::{self, at_most};
use crate::engine::Guest;
use crate::load::RawDescription;
use crate::session::{Called, Changes};
use crate::version::{self, Adapter, Started};

use self::bindings::berth::policy::fleet;
use self::bindings::exports::berth::policy::{about, gang, migration, placement};

/// Made from the WIT files. The macro writes `unsafe` for calls whose types it has checked.
#[allow(unsafe_code, missing_debug_implementations, unreachable_pub, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        inline: "
            package berth:host;
            world every-kind {
                export berth:policy/about@0.1.0;
                export berth:policy/placement@0.1.0;
                export berth:policy/gang@0.1.0;
                export berth:policy/migration@0.1.0;
            }
        ",
        world: "berth:host/every-kind",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(crate) const ADAPTER: Adapter = Adapter {
    version: "0.1.0",
    prepare: |engine, component, kind| Ok(Box::new(Prepared::new(engine, component, kind)?)),
};

struct Prepared {
    pre: InstancePre<Guest>,
    about: about::GuestIndices,
    kind: Indices,
}

enum Indices {
    Placement(placement::GuestIndices),
    Gang(gang::GuestIndices),
    Migration(migration::GuestIndices),
}

enum Calls {
    Placement(placement::Guest),
    Gang(gang::Guest),
    Migration(migration::Guest),
}

struct Session {
    store: Store<Guest>,
    calls: Calls,
    resource: ResourceAny,
}

impl Prepared {
    /// Binds a component that exports the interface of `kind`. The linker is empty: nothing can be imported.
    fn new(engine: &Engine, component: &Component, kind: Kind) -> Result<Self, Error> {
        let pre = Linker::<Guest>::new(engine).instantiate_pre(component)?;
        let indices = match kind {
            Kind::Placement => Indices::Placement(placement::GuestIndices::new(&pre)?),
            Kind::Gang => Indices::Gang(gang::GuestIndices::new(&pre)?),
            Kind::Migration => Indices::Migration(migration::GuestIndices::new(&pre)?),
        };
        Ok(Self { about: about::GuestIndices::new(&pre)?, pre, kind: indices })
    }

    fn calls(&self, store: &mut Store<Guest>, instance: &Instance) -> Result<Calls, Error> {
        Ok(match &self.kind {
            Indices::Placement(indices) => Calls::Placement(indices.load(store, instance)?),
            Indices::Gang(indices) => Calls::Gang(indices.load(store, instance)?),
            Indices::Migration(indices) => Calls::Migration(indices.load(store, instance)?),
        })
    }
}

impl version::Prepared for Prepared {
    fn describe(&self, store: &mut Store<Guest>) -> Result<Result<RawDescription, Error>, Error> {
        let instance = match self.pre.instantiate(&mut *store) {
            Ok(instance) => instance,
            Err(error) => return Ok(Err(error)),
        };
        self.calls(store, &instance)?;
        let about = self.about.load(&mut *store, &instance)?;
        Ok(about.call_describe(store).map(|described| RawDescription {
            kind: match described.kind {
                about::Kind::Placement => Kind::Placement,
                about::Kind::Gang => Kind::Gang,
                about::Kind::Migration => Kind::Migration,
            },
            name: described.name,
            version: described.version,
            config_schema: described.config_schema,
            doc: described.doc,
            needs: described.needs,
        }))
    }

    fn session(&self, mut store: Store<Guest>, tables: &host::Tables, config: &str) -> Started {
        let started = self.pre.instantiate(&mut store).and_then(|instance| {
            let calls = self.calls(&mut store, &instance)?;
            let columns = TableColumns::new(tables);
            let tables = columns.tables();
            let resource = match &calls {
                Calls::Placement(guest) => guest.session().call_constructor(&mut store, tables, config)?,
                Calls::Gang(guest) => guest.session().call_constructor(&mut store, tables, config)?,
                Calls::Migration(guest) => guest.session().call_constructor(&mut store, tables, config)?,
            };
            Ok((calls, resource))
        });
        match started {
            Ok((calls, resource)) => Ok(Box::new(Session { store, calls, resource })),
            Err(error) => Err((store, error)),
        }
    }
}

/// Borrowed columns of the tables.
struct TableColumns<'a> {
    names: Vec<&'a str>,
    providers: Vec<&'a str>,
    regions: Vec<&'a str>,
    labels: Vec<fleet::Label<'a>>,
    resources: Vec<&'a str>,
}

fn strings(column: &[Arc<str>]) -> Vec<&str> {
    column.iter().map(|value| &**value).collect()
}

fn pairs(labels: &[(Arc<str>, Arc<str>)]) -> Vec<(&str, &str)> {
    labels.iter().map(|(key, value)| (&**key, &**value)).collect()
}

impl<'a> TableColumns<'a> {
    fn new(tables: &'a host::Tables) -> Self {
        let label =
            |(cluster, key, value): &'a (u32, Arc<str>, Arc<str>)| fleet::Label { cluster: *cluster, key, value };
        Self {
            names: strings(&tables.names),
            providers: strings(&tables.providers),
            regions: strings(&tables.regions),
            labels: tables.labels.iter().map(label).collect(),
            resources: strings(&tables.resources),
        }
    }

    fn tables(&self) -> fleet::Tables<'_> {
        fleet::Tables {
            names: &self.names,
            providers: &self.providers,
            regions: &self.regions,
            labels: &self.labels,
            resources: &self.resources,
        }
    }
}

fn problem(problem: fleet::Problem) -> host::Problem {
    let code = match problem.code {
        fleet::ProblemCode::NoRoom => host::ProblemCode::NoRoom,
        fleet::ProblemCode::NoCandidate => host::ProblemCode::NoCandidate,
        fleet::ProblemCode::Unsupported => host::ProblemCode::Unsupported,
    };
    host::Problem { code, message: bounds::message(problem.message) }
}

fn wrong_kind() -> Error {
    Error::msg("a policy of another kind was asked")
}

impl version::Session for Session {
    fn store(&mut self) -> &mut Store<Guest> {
        &mut self.store
    }

    fn update(&mut self, changes: &Changes<'_>) -> Result<(), Error> {
        let clusters: Vec<fleet::ClusterRow<'_>> = changes
            .rows
            .iter()
            .map(|row| fleet::ClusterRow {
                row: row.row,
                name: row.name,
                provider: row.provider,
                region: row.region,
                labels: &row.labels,
            })
            .collect();
        let resources = strings(changes.resources);
        let changes = fleet::Changes { clusters: &clusters, resources: &resources };
        match &self.calls {
            Calls::Placement(guest) => guest.session().call_update(&mut self.store, self.resource, changes),
            Calls::Gang(guest) => guest.session().call_update(&mut self.store, self.resource, changes),
            Calls::Migration(guest) => guest.session().call_update(&mut self.store, self.resource, changes),
        }
    }

    fn place(&mut self, request: &host::Request, candidates: &host::Candidates) -> Called<host::Decision> {
        let Calls::Placement(guest) = &self.calls else { return Err(wrong_kind()) };
        let labels = pairs(&request.labels);
        let components: Vec<placement::Component<'_>> = request
            .components
            .iter()
            .map(|from| placement::Component { name: &from.name, replicas: from.replicas, floor: from.floor })
            .collect();
        let extra: Vec<fleet::Column<'_>> =
            candidates.extra.iter().map(|from| fleet::Column { name: &from.name, values: &from.values }).collect();
        let request = placement::Request {
            namespace: &request.namespace,
            name: &request.name,
            labels: &labels,
            priority: request.priority,
            division: request.division as u32,
            together: request.together,
            components: &components,
            now_ms: request.now_ms,
            seed: request.seed,
        };
        let offers = &candidates.offers;
        let candidates = placement::Candidates {
            cluster: &candidates.cluster,
            ready: &candidates.ready,
            elastic: &candidates.elastic,
            current: &candidates.current,
            price: &candidates.price,
            current_price: &candidates.current_price,
            lead_seconds: &candidates.lead_seconds,
            interruption: &candidates.interruption,
            tier: &candidates.tier,
            weight: &candidates.weight,
            offers: placement::Offers {
                candidate: &offers.candidate,
                replicas: &offers.replicas,
                price: &offers.price,
                lead_seconds: &offers.lead_seconds,
                interruption: &offers.interruption,
            },
            extra: &extra,
        };
        let (n, pairs) = (candidates.cluster.len(), candidates.cluster.len() * components.len());
        let answer = guest.session().call_place(&mut self.store, self.resource, request, candidates)?;
        match answer {
            Ok(from) => {
                at_most("assignments", from.assignments.len(), pairs)?;
                Ok(Ok(decision(from, n * bounds::TERMS)?))
            }
            Err(from) => Ok(Err(problem(from))),
        }
    }

    fn admit(&mut self, queue: &host::Queue) -> Called<host::Verdict> {
        let Calls::Gang(guest) = &self.calls else { return Err(wrong_kind()) };
        let components: Vec<Vec<gang::Component<'_>>> =
            queue.jobs.iter().map(|job| job.components.iter().map(job_component).collect()).collect();
        let jobs: Vec<gang::Job<'_>> = queue
            .jobs
            .iter()
            .zip(&components)
            .map(|(job, components)| gang::Job {
                namespace: &job.namespace,
                name: &job.name,
                quota: job.quota,
                priority: job.priority,
                age_ms: job.age_ms,
                limit_ms: job.limit_ms,
                together: job.together,
                components,
            })
            .collect();
        let column = |of: fn(&host::Fit) -> u32| queue.fits.iter().map(of).collect::<Vec<u32>>();
        let fits = [column(|fit| fit.job), column(|fit| fit.cluster), column(|fit| fit.now), column(|fit| fit.empty)];
        let quotas: Vec<gang::Quota<'_>> = queue
            .quotas
            .iter()
            .map(|quota| gang::Quota {
                name: &quota.name,
                parent: quota.parent,
                min: &quota.min,
                max: &quota.max,
                used: &quota.used,
            })
            .collect();
        let running: Vec<gang::Running<'_>> = queue.running.iter().map(running).collect();
        let queue = gang::Queue {
            jobs: &jobs,
            fits: gang::Fits { job: &fits[0], cluster: &fits[1], now: &fits[2], empty: &fits[3] },
            quotas: &quotas,
            running: &running,
            now_ms: queue.now_ms,
            seed: queue.seed,
        };
        let answer = guest.session().call_decide(&mut self.store, self.resource, queue)?;
        if let Ok(verdict) = &answer {
            at_most("admitted and held jobs", verdict.admit.len() + verdict.hold.len(), jobs.len())?;
            at_most("preempted workloads", verdict.preempt.len(), running.len())?;
        }
        Ok(answer.map(verdict).map_err(problem))
    }

    fn migrate(&mut self, state: &host::MigrationState) -> Called<Vec<host::Move>> {
        let Calls::Migration(guest) = &self.calls else { return Err(wrong_kind()) };
        let workloads: Vec<migration::Workload<'_>> = state
            .workloads
            .iter()
            .map(|workload| migration::Workload {
                namespace: &workload.namespace,
                name: &workload.name,
                priority: workload.priority,
                together: workload.together,
                toleration_ms: workload.toleration_ms,
            })
            .collect();
        let placed = &state.placed;
        let state = migration::State {
            workloads: &workloads,
            placed: migration::Placed {
                workload: &placed.workload,
                component: &placed.component,
                cluster: &placed.cluster,
                desired: &placed.desired,
                ready: &placed.ready,
                unschedulable: &placed.unschedulable,
                provisioning: &placed.provisioning,
                unready_ms: &placed.unready_ms,
                price: &placed.price,
                tier: &placed.tier,
            },
            health: migration::Health { reachable: &state.health.reachable, since_ms: &state.health.since_ms },
            now_ms: state.now_ms,
            seed: state.seed,
        };
        let answer = guest.session().call_decide(&mut self.store, self.resource, state)?;
        if let Ok(moves) = &answer {
            // A row may go in part at once and in part gracefully.
            at_most("moves", moves.len(), placed.workload.len() * 2)?;
        }
        Ok(answer.map(|moves| moves.into_iter().map(one_move).collect()).map_err(problem))
    }
}

fn decision(from: placement::Decision, terms: usize) -> Result<host::Decision, Error> {
    let assignment = |from: placement::Assignment| host::Assignment {
        component: from.component,
        candidate: from.candidate,
        replicas: from.replicas,
    };
    // Names that no term can use are not looked at.
    let names: Vec<Arc<str>> = from.term_names.into_iter().take(terms).map(|name| bounds::name(name).into()).collect();
    let term = |from: placement::Term| {
        let name = names.get(from.name as usize).ok_or_else(|| {
            Error::msg(format!("a term has name {}, and term-names has {} entries", from.name, names.len()))
        })?;
        Ok(host::Term { candidate: from.candidate, name: name.clone(), value: from.value })
    };
    Ok(host::Decision {
        assignments: from.assignments.into_iter().map(assignment).collect(),
        terms: from.terms.into_iter().take(terms).map(term).collect::<Result<_, Error>>()?,
    })
}

fn job_component(from: &host::JobComponent) -> gang::Component<'_> {
    gang::Component { name: &from.name, replicas: from.replicas, floor: from.floor, request: &from.request }
}

fn running(from: &host::Running) -> gang::Running<'_> {
    gang::Running {
        namespace: &from.namespace,
        name: &from.name,
        quota: from.quota,
        priority: from.priority,
        cluster: from.cluster,
        age_ms: from.age_ms,
        usage: &from.usage,
    }
}

fn verdict(from: gang::Verdict) -> host::Verdict {
    let admit = |from: gang::Admit| host::Admit { job: from.job, sizes: from.sizes, except: from.except };
    let hold = |from: gang::Hold| host::Hold {
        job: from.job,
        code: match from.code {
            gang::HoldCode::NoRoom => host::HoldCode::NoRoom,
            gang::HoldCode::Quota => host::HoldCode::Quota,
            gang::HoldCode::Behind => host::HoldCode::Behind,
            gang::HoldCode::TooLarge => host::HoldCode::TooLarge,
        },
        reason: bounds::message(from.reason),
    };
    let preempt = |from: gang::Preempt| host::Preempt {
        victim: from.victim,
        beneficiary: from.beneficiary,
        reason: bounds::message(from.reason),
    };
    host::Verdict {
        admit: from.admit.into_iter().map(admit).collect(),
        hold: from.hold.into_iter().map(hold).collect(),
        preempt: from.preempt.into_iter().map(preempt).collect(),
    }
}

fn one_move(from: migration::Move) -> host::Move {
    let how = match from.how {
        migration::How::Gracefully => host::How::Gracefully,
        migration::How::AtOnce => host::How::AtOnce,
    };
    host::Move { row: from.row, replicas: from.replicas, how, reason: bounds::message(from.reason) }
}
