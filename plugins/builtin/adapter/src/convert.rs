//! From the interface's types to the host's and back, field by field.

use std::sync::Arc;

use berth_core::policy as core;
use berth_core::workload::Division;
use berth_sdk::{Column, Fleet, Problem, ProblemCode, division, gang, migration, placement, problem};

pub(crate) fn tables(fleet: &Fleet) -> core::Tables {
    let rows = || 0..fleet.len() as u32;
    core::Tables {
        names: rows().map(|row| fleet.name(row).into()).collect(),
        providers: rows().map(|row| fleet.provider(row).into()).collect(),
        regions: rows().map(|row| fleet.region(row).into()).collect(),
        labels: rows()
            .flat_map(|row| fleet.labels(row).map(move |(key, value)| (row, key.into(), value.into())))
            .collect(),
        resources: fleet.resources().iter().map(|name| name.as_str().into()).collect(),
    }
}

pub(crate) fn request(request: placement::Request) -> Result<core::Request, Problem> {
    let division = match request.division {
        division::DUPLICATED => Division::Duplicated,
        division::STATIC_WEIGHT => Division::StaticWeight,
        division::AVAILABLE_REPLICAS => Division::AvailableReplicas,
        division::AGGREGATED => Division::Aggregated,
        division::FREE => Division::Free,
        other => return Err(problem::unsupported(format!("division {other} is not known"))),
    };
    let component = |component: placement::Component| core::Component {
        name: component.name.into(),
        replicas: component.replicas,
        floor: component.floor,
    };
    Ok(core::Request {
        namespace: request.namespace.into(),
        name: request.name.into(),
        labels: request.labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        priority: request.priority,
        division,
        together: request.together,
        components: request.components.into_iter().map(component).collect(),
        now_ms: request.now_ms,
        seed: request.seed,
    })
}

pub(crate) fn candidates(candidates: placement::Candidates) -> core::Candidates {
    let offers = candidates.offers;
    let column = |column: Column| core::Column { name: column.name.into(), values: column.values };
    core::Candidates {
        cluster: candidates.cluster,
        ready: candidates.ready,
        elastic: candidates.elastic,
        current: candidates.current,
        price: candidates.price,
        current_price: candidates.current_price,
        lead_seconds: candidates.lead_seconds,
        interruption: candidates.interruption,
        tier: candidates.tier,
        weight: candidates.weight,
        offers: core::Offers {
            candidate: offers.candidate,
            replicas: offers.replicas,
            price: offers.price,
            lead_seconds: offers.lead_seconds,
            interruption: offers.interruption,
        },
        extra: candidates.extra.into_iter().map(column).collect(),
    }
}

pub(crate) fn decision(decision: core::Decision) -> placement::Decision {
    let assignment = |it: core::Assignment| placement::Assignment {
        component: it.component,
        candidate: it.candidate,
        replicas: it.replicas,
    };
    let mut names: Vec<Arc<str>> = Vec::new();
    let mut term = |it: core::Term| {
        let row = names.iter().position(|name| Arc::ptr_eq(name, &it.name)).unwrap_or_else(|| {
            names.push(it.name);
            names.len() - 1
        });
        placement::Term { candidate: it.candidate, name: row as u32, value: it.value }
    };
    let terms = decision.terms.into_iter().map(&mut term).collect();
    placement::Decision {
        assignments: decision.assignments.into_iter().map(assignment).collect(),
        term_names: names.iter().map(|name| (**name).into()).collect(),
        terms,
    }
}

pub(crate) fn problem(problem: core::Problem) -> Problem {
    let code = match problem.code {
        core::ProblemCode::NoRoom => ProblemCode::NoRoom,
        core::ProblemCode::NoCandidate => ProblemCode::NoCandidate,
        core::ProblemCode::Unsupported => ProblemCode::Unsupported,
    };
    Problem { code, message: problem.message }
}

pub(crate) fn queue(queue: gang::Queue) -> core::Queue {
    let gang::Fits { job: jobs, cluster: clusters, now, empty } = queue.fits;
    let rooms = now.into_iter().zip(empty);
    let fits = jobs.into_iter().zip(clusters).zip(rooms);
    let quota = |it: gang::Quota| core::QuotaUse {
        name: it.name.into(),
        parent: it.parent,
        min: it.min,
        max: it.max,
        used: it.used,
    };
    let running = |it: gang::Running| core::Running {
        namespace: it.namespace.into(),
        name: it.name.into(),
        quota: it.quota,
        priority: it.priority,
        cluster: it.cluster,
        age_ms: it.age_ms,
        usage: it.usage,
    };
    core::Queue {
        jobs: queue.jobs.into_iter().map(job).collect(),
        fits: fits.map(|((job, cluster), (now, empty))| core::Fit { job, cluster, now, empty }).collect(),
        quotas: queue.quotas.into_iter().map(quota).collect(),
        running: queue.running.into_iter().map(running).collect(),
        now_ms: queue.now_ms,
        seed: queue.seed,
    }
}

fn job(job: gang::Job) -> core::Job {
    let component = |it: gang::Component| core::JobComponent {
        name: it.name.into(),
        replicas: it.replicas,
        floor: it.floor,
        request: it.request,
    };
    core::Job {
        namespace: job.namespace.into(),
        name: job.name.into(),
        quota: job.quota,
        priority: job.priority,
        age_ms: job.age_ms,
        limit_ms: job.limit_ms,
        together: job.together,
        components: job.components.into_iter().map(component).collect(),
    }
}

pub(crate) fn verdict(verdict: core::Verdict) -> gang::Verdict {
    let admit = |it: core::Admit| gang::Admit { job: it.job, sizes: it.sizes, except: it.except };
    let hold = |it: core::Hold| gang::Hold { job: it.job, code: hold_code(it.code), reason: it.reason };
    let preempt =
        |it: core::Preempt| gang::Preempt { victim: it.victim, beneficiary: it.beneficiary, reason: it.reason };
    gang::Verdict {
        admit: verdict.admit.into_iter().map(admit).collect(),
        hold: verdict.hold.into_iter().map(hold).collect(),
        preempt: verdict.preempt.into_iter().map(preempt).collect(),
    }
}

fn hold_code(code: core::HoldCode) -> gang::HoldCode {
    match code {
        core::HoldCode::NoRoom => gang::HoldCode::NoRoom,
        core::HoldCode::Quota => gang::HoldCode::Quota,
        core::HoldCode::Behind => gang::HoldCode::Behind,
        core::HoldCode::TooLarge => gang::HoldCode::TooLarge,
    }
}

pub(crate) fn state(state: migration::State) -> core::MigrationState {
    let workload = |it: migration::Workload| core::MigrationWorkload {
        namespace: it.namespace.into(),
        name: it.name.into(),
        priority: it.priority,
        together: it.together,
        toleration_ms: it.toleration_ms,
    };
    let placed = state.placed;
    core::MigrationState {
        workloads: state.workloads.into_iter().map(workload).collect(),
        placed: core::Placed {
            workload: placed.workload,
            component: placed.component,
            cluster: placed.cluster,
            desired: placed.desired,
            ready: placed.ready,
            unschedulable: placed.unschedulable,
            provisioning: placed.provisioning,
            unready_ms: placed.unready_ms,
            price: placed.price,
            tier: placed.tier,
        },
        health: core::Health { reachable: state.health.reachable, since_ms: state.health.since_ms },
        now_ms: state.now_ms,
        seed: state.seed,
    }
}

pub(crate) fn a_move(it: core::Move) -> migration::Move {
    let how = match it.how {
        core::How::Gracefully => migration::How::Gracefully,
        core::How::AtOnce => migration::How::AtOnce,
    };
    migration::Move { row: it.row, replicas: it.replicas, how, reason: it.reason }
}
