//! A crash between any two actions loses no accepted object, starts nothing twice and orders nothing twice.

use super::world::Scene;
use super::{deployment, key, placed, scene};
use crate::controller::Settled;
use crate::ports::ObjectKey;

fn start() -> Scene {
    let mut scene = scene(&[("a", 1.0), ("b", 2.0)], &format!("{}{}", deployment("web", 4), deployment("api", 2)));
    let keys: Vec<_> = scene.provider.stock.keys().cloned().collect();
    scene.provider.stock.insert(keys[0].clone(), 3);
    scene
}

/// Crashes after every `every` actions, until nothing is left to do.
fn run(every: usize, scene: &mut Scene, millis: u64) {
    let end = scene.clock.0.plus(millis);
    while scene.clock.0 < end {
        for _ in 0..200 {
            scene.settle();
            let report = scene.step_at_most(every);
            if report.actions == 0 {
                break;
            }
            if report.actions >= every {
                scene.reopen();
            }
        }
        scene.pass(5_000);
    }
}

#[test]
fn between_any_two_actions() {
    for every in 1..12 {
        let mut scene = start();
        run(every, &mut scene, 400_000);
        assert_eq!(
            scene.settled(),
            Settled::Done,
            "crash after {every}: {:#?} {:#?}",
            scene.said(),
            scene.controller.workloads()
        );
        let web: u32 = placed(scene.controller.state(), "web").iter().map(|(_, count)| count).sum();
        let api: u32 = placed(scene.controller.state(), "api").iter().map(|(_, count)| count).sum();
        assert_eq!((web, api), (4, 2), "crash after {every}");
        // Every order has an id of its own, and nobody ordered more than what was needed and did not come.
        let mut ids: Vec<_> = scene.provider.accepted.iter().map(|order| order.id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), scene.provider.accepted.len());
        assert_eq!(scene.nodes("a") + scene.nodes("b"), 6, "crash after {every}: {:?}", scene.said());
        for name in ["web", "api"] {
            assert!(scene.controller.state().record(&key(name)).unwrap().reservations.is_empty());
        }

        scene.controller.delete(&ObjectKey::from(&key("web")), scene.clock.0).unwrap();
        scene.reopen();
        run(every, &mut scene, 60_000);
        assert!(scene.controller.state().workload(&key("web")).is_none(), "crash after {every}");
        assert!(scene.members.applied.keys().all(|(_, workload)| *workload == key("api")), "crash after {every}");
        assert_eq!(scene.settled(), Settled::Done, "crash after {every}");
    }
}
