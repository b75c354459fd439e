//! One decision on a small made-up fleet, before a policy may take a real one.
//!
//! An answer of `no-room` and the like passes: the policy may well dislike this fleet. A trap, a limit or an answer that
//! breaks a rule does not.

use std::sync::Arc;

use berth_core::policy::{
    Candidates, Column, Component, Fit, Health, Job, JobComponent, Kind, MigrationState, MigrationWorkload, NO_ROW,
    Offers, Placed, Queue, Request, Tables,
};
use berth_core::workload::Division;

use crate::call::Question;
use crate::engine::Runtime;
use crate::load::Loaded;
use crate::session::Slot;

/// Lets a policy decide once, in a session of its own.
///
/// # Errors
/// What it did wrong.
pub(crate) fn probe(runtime: &Runtime, policy: &Loaded) -> Result<(), String> {
    let (tables, mut slot) = (Arc::new(tables()), Slot::default());
    for question in questions(policy.description.kind, &policy.description.needs) {
        let asked = slot.ask(runtime, policy, &tables, |session| question.put(session));
        let (answer, _fuel) = asked.map_err(|error| error.what)?;
        question.check(&tables, &answer).map_err(|rule| rule.to_string())?;
    }
    Ok(())
}

fn questions(kind: Kind, needs: &[Arc<str>]) -> Vec<Question> {
    match kind {
        Kind::Placement => {
            let of = |division| Question::Placement { request: request(division), candidates: candidates(needs) };
            Division::ALL.map(of).into()
        }
        Kind::Gang => vec![Question::Gang(queue())],
        Kind::Migration => vec![Question::Migration(state())],
    }
}

fn tables() -> Tables {
    Tables {
        names: ["probe-a", "probe-b", "probe-c"].map(Arc::from).to_vec(),
        providers: ["probe"; 3].map(Arc::from).to_vec(),
        regions: ["east", "east", "west"].map(Arc::from).to_vec(),
        labels: vec![(0, "tier".into(), "gold".into())],
        resources: ["cpu", "memory", "pods", "nvidia.com/gpu"].map(Arc::from).to_vec(),
    }
}

fn request(division: Division) -> Request {
    Request {
        namespace: "probe".into(),
        name: "probe".into(),
        division,
        components: vec![Component { name: "main".into(), replicas: 3, floor: 0 }],
        now_ms: 1_700_000_000_000,
        seed: 1,
        ..Request::default()
    }
}

fn candidates(needs: &[Arc<str>]) -> Candidates {
    let offers = Offers {
        candidate: vec![1, 2],
        replicas: vec![5, 5],
        price: vec![2.0, 1.0],
        lead_seconds: vec![60, 60],
        interruption: vec![0.0, 0.1],
    };
    let extra = needs.iter().filter(|need| &***need != "offers");
    Candidates {
        cluster: vec![0, 1, 2],
        ready: vec![4, 4, 0],
        elastic: vec![0, 5, 5],
        current: vec![1, 0, 0],
        price: vec![0.0, 2.0, 1.0],
        current_price: vec![1.5, 0.0, 0.0],
        lead_seconds: vec![0, 60, 60],
        interruption: vec![0.0, 0.0, 0.1],
        tier: vec![0, 0, 1],
        weight: vec![1, 2, 1],
        offers: if needs.iter().any(|need| &**need == "offers") { offers } else { Offers::default() },
        extra: extra.map(|name| Column { name: name.clone(), values: vec![1.0, f64::NAN, 3.0] }).collect(),
    }
}

fn queue() -> Queue {
    let job = |name: &str, together, replicas| Job {
        namespace: "probe".into(),
        name: name.into(),
        quota: NO_ROW,
        together,
        components: vec![JobComponent {
            name: "worker".into(),
            replicas,
            floor: replicas,
            request: vec![1000, 1, 1, 1],
        }],
        ..Job::default()
    };
    Queue {
        jobs: vec![job("large", true, 8), job("small", true, 2), job("service", false, 1)],
        fits: vec![
            Fit { job: 0, cluster: 0, now: 0, empty: 1 },
            Fit { job: 1, cluster: 0, now: 1, empty: 4 },
            Fit { job: 1, cluster: 1, now: 2, empty: 4 },
        ],
        now_ms: 1_700_000_000_000,
        seed: 1,
        ..Queue::default()
    }
}

fn state() -> MigrationState {
    MigrationState {
        workloads: vec![MigrationWorkload {
            namespace: "probe".into(),
            name: "probe".into(),
            toleration_ms: 300_000,
            ..MigrationWorkload::default()
        }],
        placed: Placed {
            workload: vec![0, 0],
            component: vec![0, 0],
            cluster: vec![0, 1],
            desired: vec![2, 2],
            ready: vec![0, 2],
            unschedulable: vec![2, 0],
            provisioning: vec![0, 0],
            unready_ms: vec![600_000, 0],
            price: vec![1.0, 1.0],
            tier: vec![0, 0],
        },
        health: Health { reachable: vec![true; 3], since_ms: vec![1_000_000; 3] },
        now_ms: 1_700_000_000_000,
        seed: 1,
    }
}
