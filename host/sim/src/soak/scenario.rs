//! Draws a whole run from its seed: the fleet, what runs in it, what people do over some hours, and what goes wrong.

use berth_api::duration::{Duration, DurationRange};
use berth_api::{Object, to_core};
use berth_control::ports::ObjectKey;
use berth_core::fleet::OfferingKey;
use berth_core::ids::{ClusterName, WorkloadKey};
use serde_json::json;

use super::beside;
use super::dice::Dice;
use super::fleet::{self, Drawn, object};
use super::run::START;
use super::script::{Act, Entry, Mischief};
use super::work::App;
use crate::faults::{Chances, Effect};

const MINUTE: u64 = 60_000;
/// Of so many seeds one runs real components, and another one keeps its state on disk.
const SHARE: u64 = 16;

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    /// Policies are real components, not native algorithms.
    pub(crate) wasm: bool,
    /// The store is the embedded one, on disk.
    pub(crate) disk: bool,
    /// From the beginning of the run to the end of all faults.
    pub(crate) length: u64,
    pub(crate) pod_start: DurationRange,
    pub(crate) node_start: DurationRange,
    pub(crate) script: Vec<Entry>,
}

impl Scenario {
    pub(crate) fn draw(seed: u64) -> Self {
        let fleet = fleet::draw(seed);
        let mut dice = Dice::new(seed, "script");
        let length = dice.between(20, 120) * MINUTE;
        let wasm = has_components(seed);
        let mut draft = Draft { fleet, length, script: Vec::new() };
        draft.begin(seed);
        draft.people(seed);
        draft.troubles(seed, wasm);
        if wasm {
            draft.besides(seed);
        }
        let mut script = draft.script;
        script.sort_by_key(|entry| entry.at);
        let mut dice = Dice::new(seed, "starts");
        let pod_start = range(&mut dice, 0, 120);
        // Some nodes take longer than a reservation holds; but not all of an offering, or nothing would ever come to rest.
        let node_start = match dice.chance(15) {
            true => DurationRange { min: Duration::from_seconds(200), max: Duration::from_seconds(650) },
            false => range(&mut dice, 10, 120),
        };
        Self { seed, wasm, disk: seed % SHARE == 9, length, pod_start, node_start, script }
    }
}

pub(crate) fn has_components(seed: u64) -> bool {
    seed % SHARE == 5
}

fn range(dice: &mut Dice, min: u64, max: u64) -> DurationRange {
    let (one, other) = (dice.between(min, max), dice.between(min, max));
    DurationRange { min: Duration::from_seconds(one.min(other)), max: Duration::from_seconds(one.max(other)) }
}

struct Draft {
    fleet: Drawn,
    length: u64,
    script: Vec<Entry>,
}

impl Draft {
    fn at(&mut self, at: u64, act: Act) {
        self.script.push(Entry { at: at.min(self.length), act });
    }

    /// The fleet is there from the beginning, one object after the other, so that each can be left out.
    fn begin(&mut self, seed: u64) {
        let mut dice = Dice::new(seed, "begin");
        let objects = self.fleet.objects.clone();
        objects.into_iter().for_each(|object| self.at(0, Act::Apply(vec![object])));
        if dice.chance(50) {
            let quotas = object(fleet::quotas(&mut dice));
            quotas.into_iter().for_each(|object| self.at(0, Act::Apply(vec![object])));
        }
    }

    fn people(&mut self, seed: u64) {
        let mut dice = Dice::new(seed, "people");
        let apps: Vec<App> = (0..dice.between(1, 9)).map(|number| App::draw(&mut dice, number as usize)).collect();
        for app in &apps {
            // Most are there at the beginning.
            let at = if dice.chance(60) { dice.between(0, MINUTE) } else { dice.between(0, self.length * 2 / 3) };
            let objects: Vec<Object> =
                [app.policy(&mut dice, &self.fleet), app.manifest(&mut dice)].into_iter().flatten().collect();
            self.at(at, Act::Apply(objects));
        }
        for _ in 0..dice.between(0, 24) {
            let at = dice.between(MINUTE, self.length);
            let app = dice.pick(&apps).clone();
            let act = self.change(&mut dice, &app);
            act.into_iter().for_each(|act| self.at(at, act));
        }
    }

    fn change(&mut self, dice: &mut Dice, app: &App) -> Option<Act> {
        let (api_version, kind) = app.kind.type_meta();
        let key = WorkloadKey::new(&format!("{api_version}/{kind}"), app.namespace, &app.name);
        Some(match dice.between(0, 19) {
            0..=6 if app.scales() => Act::Scale(key, dice.between(0, 8) as u32),
            0..=8 => Act::Apply(vec![app.manifest(dice)?]),
            9..=11 => Act::Delete(ObjectKey::from(&key)),
            12..=13 => Act::Apply(vec![app.policy(dice, &self.fleet)?]),
            14 => Act::Delete(ObjectKey {
                kind: "berth.dev/v1alpha1/DistributionPolicy".into(),
                namespace: app.namespace.into(),
                name: app.name.as_str().into(),
            }),
            15 => Act::Apply(vec![object(fleet::quotas(dice))?]),
            16 => {
                let (name, cluster) = dice.pick(&self.fleet.pools).clone();
                Act::Apply(vec![object(fleet::pool(dice, &name, &cluster))?])
            }
            17 => self.change_cluster(dice)?,
            18 => self.delete_of_fleet(dice)?,
            _ => garbage(dice, app),
        })
    }

    /// A cluster gets a taint or loses it, or is labelled anew.
    fn change_cluster(&self, dice: &mut Dice) -> Option<Act> {
        let (name, region) = (dice.pick(&self.fleet.clusters), dice.pick(&self.fleet.regions));
        let known = self.fleet.objects.iter().find_map(|object| match object {
            Object::Cluster(cluster) if cluster.metadata.name == *name => Some(cluster.spec.region.clone()),
            _ => None,
        });
        let region = known.unwrap_or_else(|| region.clone());
        let tier = dice.pick(&["cloud", "edge"]);
        let closed = dice.chance(50);
        Some(Act::Apply(vec![object(fleet::cluster(name, &region, tier, closed))?]))
    }

    fn delete_of_fleet(&self, dice: &mut Dice) -> Option<Act> {
        let (kind, name) = match dice.between(0, 9) {
            0..=4 => ("NodePool", dice.pick(&self.fleet.pools).0.clone()),
            5..=7 => ("Offering", dice.one(&self.fleet.offerings)?.clone()),
            8 => ("QuotaTree", "quotas".to_owned()),
            _ => ("Cluster", dice.pick(&self.fleet.clusters).clone()),
        };
        let kind = format!("berth.dev/v1alpha1/{kind}").into();
        Some(Act::Delete(ObjectKey { kind, namespace: "".into(), name: name.into() }))
    }

    fn troubles(&mut self, seed: u64, wasm: bool) {
        let mut dice = Dice::new(seed, "troubles");
        let count = if dice.chance(20) { 0 } else { dice.between(1, 14) };
        for _ in 0..count {
            // Most is decided at the beginning, so that much goes wrong there.
            let at = if dice.chance(35) { dice.between(0, 3 * MINUTE) } else { dice.between(0, self.length) };
            let ends = at + dice.between(MINUTE / 2, 25 * MINUTE);
            self.trouble(&mut dice, at, ends);
        }
        if dice.chance(30) {
            // All is a little unreliable from the beginning to the end.
            self.at(0, Act::Chances(chances(&mut dice, 40)));
        }
        if wasm {
            for _ in 0..dice.between(1, 4) {
                let at = dice.between(0, self.length);
                self.at(at, Act::Reload(dice.between(1, 9)));
                self.at(at + dice.between(MINUTE, 20 * MINUTE), Act::Reload(0));
            }
        }
    }

    /// Shadows and canaries come, change and go.
    fn besides(&mut self, seed: u64) {
        let mut dice = Dice::new(seed, "beside");
        for _ in 0..dice.between(1, 9) {
            let at = if dice.chance(35) { dice.between(0, 3 * MINUTE) } else { dice.between(0, self.length) };
            let (slot, role, version) = beside::draw(&mut dice, START.0 + at);
            self.at(at, Act::Beside { slot, role, version: Some(version) });
            if dice.chance(40) {
                let ends = at + dice.between(MINUTE / 2, 40 * MINUTE);
                self.at(ends, Act::Beside { slot, role, version: None });
            }
        }
    }

    fn trouble(&mut self, dice: &mut Dice, at: u64, ends: u64) {
        let cluster = ClusterName::new(dice.pick(&self.fleet.clusters).as_str());
        let lasting = |draft: &mut Self, begin: Effect, end: Effect| {
            draft.at(at, Act::World(begin));
            draft.at(ends, Act::World(end));
        };
        match dice.between(0, 27) {
            0..=1 => {
                let Some(key) = self.offering(dice) else { return };
                lasting(self, Effect::Empty(key.clone(), true), Effect::Empty(key, false));
            }
            2 => {
                let Some(key) = self.offering(dice) else { return };
                lasting(self, Effect::Failing(key.clone(), true), Effect::Failing(key, false));
            }
            3 => {
                let Some(key) = self.offering(dice) else { return };
                self.at(at, Act::World(Effect::Capacity(key, dice.between(0, 5) as u32)));
            }
            4..=5 => {
                let nodes = dice.between(1, 3) as u32;
                self.at(at, Act::World(Effect::LoseNodes { cluster, pool: None, nodes }));
            }
            6..=8 => lasting(self, Effect::Reachable(cluster.clone(), false), Effect::Reachable(cluster, true)),
            9 => {
                // It comes back with what it had when it was copied, before it was lost.
                self.at(at.saturating_sub(dice.between(1, 15) * MINUTE), Act::World(Effect::Remember(cluster.clone())));
                self.at(at, Act::World(Effect::Reachable(cluster.clone(), false)));
                self.at(ends, Act::World(Effect::Restore(cluster.clone())));
                self.at(ends, Act::World(Effect::Reachable(cluster, true)));
            }
            10 => {
                self.at(at.saturating_sub(dice.between(1, 15) * MINUTE), Act::World(Effect::Remember(cluster.clone())));
                lasting(self, Effect::Stale(cluster.clone(), true), Effect::Stale(cluster, false));
            }
            11 => lasting(self, Effect::Slow(cluster.clone(), true), Effect::Slow(cluster, false)),
            12 => self.at(at, Act::World(Effect::Tamper(cluster, dice.number() % 8))),
            13..=14 => {
                let by = dice.between(100, 10 * MINUTE) as i64;
                self.at(at, Act::Clock(if dice.chance(50) { by } else { -by }));
            }
            15..=18 => self.at(at, Act::Crash(dice.between(0, 12) as usize)),
            19..=20 => self.at(at, Act::Rival { times: dice.between(1, 4) as u32, same: dice.chance(70) }),
            21 => self.at(at, Act::Unwritable(dice.between(0, 5) as u32)),
            22..=24 => {
                let mischief = *dice.pick(&Mischief::ALL);
                self.at(at, Act::Policy(Some(mischief), dice.between(20, 100)));
                self.at(ends, Act::Policy(None, 0));
            }
            _ => {
                self.at(at, Act::Chances(chances(dice, 100)));
                self.at(ends, Act::Chances(Chances::default()));
            }
        }
    }

    fn offering(&self, dice: &mut Dice) -> Option<OfferingKey> {
        let name = dice.one(&self.fleet.offerings)?;
        self.fleet.objects.iter().find_map(|object| match object {
            Object::Offering(offering) if offering.metadata.name == *name => Some(to_core::offering_key(offering)),
            _ => None,
        })
    }
}

/// Some chances, up to so many per cent.
fn chances(dice: &mut Dice, most: u64) -> Chances {
    let mut chance = |per_cent: u64| if dice.chance(per_cent) { dice.between(10, most) as f64 / 100.0 } else { 0.0 };
    Chances {
        order_lost: chance(30),
        order_silent: chance(25),
        order_late: chance(25),
        order_twice: chance(30),
        order_partial: chance(30),
        order_refused: chance(20),
        // Requests are made again until they have an effect: few enough get lost that one soon comes through.
        request_lost: chance(30).min(0.3),
        ..Chances::default()
    }
}

/// Something wrong beside something right: neither may get in.
fn garbage(dice: &mut Dice, app: &App) -> Act {
    let mut objects: Vec<Object> = app.manifest(dice).into_iter().collect();
    let why = match dice.between(0, 2) {
        0 => {
            objects.extend(object(fleet::pool(dice, "stray", "no-such-cluster")));
            "a pool of a cluster that there is not"
        }
        1 => {
            objects.extend(objects.clone());
            "an object twice"
        }
        _ => {
            let spec = json!({
                "workload": {"kind": "apps/v1/Deployment", "namespace": "red", "name": "w0"},
                "workloadGeneration": 1, "plan": 1, "decidedAt": 0, "policy": {"name": "x", "version": "", "digest": ""},
                "shares": [], "clusters": [],
            });
            let stray = json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Placement", "metadata": {"name": "stray", "namespace": "red"}, "spec": spec});
            match object(stray) {
                Some(placement) => objects.push(placement),
                None => objects.extend(object(fleet::pool(dice, "stray", "no-such-cluster"))),
            }
            "a placement, or a pool of a cluster that there is not"
        }
    };
    Act::Garbage { why, objects }
}
