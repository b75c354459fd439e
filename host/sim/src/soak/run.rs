//! Plays a script: the controller with its store, its policies and the simulated world, step by step in one thread, with
//! somebody who looks after every step.

use std::collections::{BTreeMap, BTreeSet};

use berth_api::Object;
use berth_api::interpret::{Part, revise};
use berth_api::resources::SimulationSpec;
use berth_control::event::{Event, What};
use berth_control::ports::{Clock, Events, ObjectKey, Store, StoreError};
use berth_control::{Controller, Refused, Settings, World};
use berth_core::ids::{Millis, PolicyName, WorkloadKey};

use super::Failure;
use super::calm;
use super::deciders::{Components, Deciders};
use super::scenario::Scenario;
use super::script::{Act, Entry};
use super::story::Story;
use super::vault::Vault;
use crate::audit::{Auditor, Sight};
use crate::faults::Effect;
use crate::simulation::{Options, Simulation};
use crate::table::Source;

/// A round time, so that a time in a history is easily told from a duration.
pub(crate) const START: Millis = Millis(1_700_000_000_000);
/// Steps at one instant after which the loops count as never coming to rest.
const MOST_STEPS: u32 = 400;
/// Wakes in a row, each sooner than this many milliseconds after the last and for nothing, that make a busy loop.
const MOST_IDLE: (u32, u64) = (100, 200);

/// The controller's clock: the world's, set forward or back.
struct SetClock(Millis);

impl Clock for SetClock {
    fn now(&self) -> Millis {
        self.0
    }
}

#[derive(Default)]
struct Log(Vec<Event>);

impl Events for Log {
    fn emit(&mut self, event: Event) {
        self.0.push(event);
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) steps: u64,
    pub(crate) actions: u64,
    pub(crate) decisions: u64,
    pub(crate) crashes: u64,
    pub(crate) refused: u64,
    /// Canaries that went back.
    pub(crate) went_back: u64,
}

/// How long one controller decides, until it dies.
pub(crate) struct Run<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) vault: Vault,
    pub(crate) controller: Controller,
    pub(crate) simulation: Simulation,
    pub(crate) deciders: Deciders<'a>,
    pub(crate) story: &'a mut Story,
    pub(crate) counts: Counts,
    /// Milliseconds by which the controller's clock is ahead of the world's.
    skew: i64,
    /// Objects as users gave them and were told that they are kept.
    pub(crate) said: BTreeMap<ObjectKey, Object>,
    /// After so many actions the process dies.
    crash: Option<usize>,
    /// When the controller has something to do by itself, by its own clock.
    wake: Option<Millis>,
    /// How often in a row it woke soon by itself, and did nothing.
    idle: u32,
    /// Canaries that went back, and are what they were then.
    back: BTreeSet<PolicyName>,
    log: Log,
    auditor: Auditor,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        scenario: &'a Scenario,
        components: Option<&'a mut Components>,
        story: &'a mut Story,
    ) -> Result<Self, Failure> {
        let failed = |what: String| Failure::new(0, "harness", what);
        let vault = if scenario.disk { Vault::disk() } else { Ok(Vault::memory()) };
        let vault = vault.map_err(|error| failed(error.to_string()))?;
        let settings = Settings { seed: scenario.seed, ..Settings::default() };
        let auditor = Auditor::new(&settings);
        let controller = Controller::open(Box::new(vault.for_controller()), settings);
        let controller = controller.map_err(|error| failed(error.to_string()))?;
        let source = Source::Texts(BTreeMap::new());
        let spec = SimulationSpec {
            pod_start: scenario.pod_start,
            node_start: scenario.node_start,
            ..SimulationSpec::default()
        };
        let simulation = Simulation::new(&[], Some(&spec), scenario.seed, START, &source, Options::default());
        let simulation = simulation.map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            scenario,
            vault,
            controller,
            simulation,
            deciders: Deciders::new(scenario.seed, components),
            story,
            counts: Counts::default(),
            skew: 0,
            said: BTreeMap::new(),
            crash: None,
            wake: None,
            idle: 0,
            back: BTreeSet::new(),
            log: Log::default(),
            auditor,
        })
    }

    /// Plays the whole script, and then lets everything calm down.
    pub(crate) fn play(&mut self) -> Result<(), Failure> {
        for entry in &self.scenario.script {
            self.pass_time(START.plus(entry.at))?;
            self.act(entry)?;
        }
        self.pass_time(START.plus(self.scenario.length))?;
        calm::settle(self)
    }

    pub(crate) fn elapsed(&self) -> u64 {
        self.simulation.now().since(START)
    }

    /// Something that should not be.
    pub(crate) fn fault(&self, invariant: &str, what: impl Into<String>) -> Failure {
        Failure::new(self.elapsed(), invariant, what.into())
    }

    /// The time by the controller's clock.
    fn now(&self) -> Millis {
        Millis(self.simulation.now().0.saturating_add_signed(self.skew))
    }

    /// Lets everything happen up to a time.
    pub(crate) fn pass_time(&mut self, to: Millis) -> Result<(), Failure> {
        loop {
            let before = self.counts.actions;
            self.settle_now()?;
            let now = self.simulation.now();
            if now >= to {
                return Ok(());
            }
            let wake = self.wake.map(|at| Millis(at.0.saturating_add_signed(-self.skew)));
            let event = self.simulation.next_event();
            let next = [wake, event].into_iter().flatten().min();
            let next = next.map_or(to, |at| at.max(now.plus(1)).min(to));
            let busy = event.is_none_or(|at| at > next) && next.since(now) < MOST_IDLE.1;
            self.idle = if busy && self.counts.actions == before { self.idle + 1 } else { 0 };
            if self.idle > MOST_IDLE.0 {
                return Err(
                    self.fault("busy", "the loops wake again and again at short notice, and have nothing to do")
                );
            }
            self.simulation.advance(next);
        }
    }

    /// The loops and the world in turn, until neither has more to do now.
    fn settle_now(&mut self) -> Result<(), Failure> {
        for _ in 0..MOST_STEPS {
            let actions = self.step()?;
            let now = self.simulation.now();
            let more = self.simulation.next_event().is_some_and(|at| at <= now);
            self.simulation.advance(now);
            if actions == 0 && !more {
                return Ok(());
            }
        }
        Err(self.fault("rest", format!("the loops do not come to rest after {MOST_STEPS} steps at one instant")))
    }

    /// One step, and a look at what came of it. Says how many actions it took; more than none after a crash.
    fn step(&mut self) -> Result<usize, Failure> {
        let clock = SetClock(self.now());
        let crash = self.crash.take();
        let ports = self.simulation.ports();
        let mut world = World {
            members: ports.members,
            provider: ports.provider,
            clock: &clock,
            events: &mut self.log,
            policies: &mut self.deciders,
        };
        let result = self.controller.step_at_most(&mut world, crash.unwrap_or(usize::MAX));
        self.counts.steps += 1;
        let report = match result {
            Ok(report) => report,
            Err(StoreError::Write { .. }) => {
                self.look()?;
                self.story.say(self.elapsed(), "process", "stops, since the store cannot be written");
                self.restart()?;
                return Ok(1);
            }
            Err(error) => return Err(self.fault("store", error.to_string())),
        };
        self.counts.actions += report.actions as u64;
        self.counts.decisions += report.decisions as u64;
        self.wake = report.next_wake;
        self.look()?;
        if crash.is_some() {
            self.story.say(self.elapsed(), "process", &format!("died after {} actions", report.actions));
            self.restart()?;
            return Ok(1);
        }
        Ok(report.actions)
    }

    /// What somebody who shares nothing with the controller sees after a step.
    fn look(&mut self) -> Result<(), Failure> {
        let events = std::mem::take(&mut self.log.0);
        for event in &events {
            self.vault.note(&event.to_string());
            self.story.say(self.elapsed(), "berth", &event.to_string());
        }
        self.look_at_canaries(&events)?;
        if let Some(refused) = self.simulation.refused().first() {
            return Err(self.fault("manifests", format!("a member cannot read what it got: {refused}")));
        }
        let now = self.now();
        let sight = Sight { store: &self.vault, simulation: &self.simulation, events: &events, now };
        let breaches = self.auditor.look(&sight);
        let Some(first) = breaches.first() else { return Ok(()) };
        let all: Vec<String> = breaches.iter().map(ToString::to_string).collect();
        Err(self.fault(first.invariant.as_str(), all.join("; ")))
    }

    /// One that went back decides nothing more, also in a new process, until it is changed.
    fn look_at_canaries(&mut self, events: &[Event]) -> Result<(), Failure> {
        for event in events {
            if let What::Placed { by, .. } | What::Moved { by, .. } = &event.what
                && self.back.contains(&by.name)
            {
                return Err(self.fault("canary-back", format!("{} went back, and yet: {event}", by.name)));
            }
        }
        for back in self.deciders.went_back() {
            let what = format!("{} goes back: {}", back.policy, back.why);
            self.vault.note(&what);
            self.story.say(self.elapsed(), "policies", &what);
            self.counts.went_back += 1;
            self.back.insert(back.policy);
        }
        Ok(())
    }

    /// A new process on the same store.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        self.counts.crashes += 1;
        let settings = self.controller.settings().clone();
        // What the dead process still holds is let go first: a store on disk is opened by one at a time.
        let empty = Controller::open(Box::new(berth_control::store::MemoryStore::default()), settings.clone());
        self.controller = empty.map_err(|error| self.fault("open", error.to_string()))?;
        self.vault.reopen().map_err(|error| self.fault("open", error.to_string()))?;
        let opened = Controller::open(Box::new(self.vault.for_controller()), settings);
        self.controller = opened.map_err(|error| self.fault("open", error.to_string()))?;
        self.deciders.restart();
        self.simulation.members.show_all();
        self.auditor.restarted();
        self.wake = None;
        self.story.say(self.elapsed(), "process", "started again");
        Ok(())
    }

    // --- acts ---

    fn act(&mut self, entry: &Entry) -> Result<(), Failure> {
        self.story.say(self.elapsed(), entry.act.who(), &entry.act.to_string());
        match &entry.act {
            Act::Apply(objects) => self.apply(objects),
            Act::Garbage { why, objects } => self.garbage(why, objects),
            Act::Scale(workload, replicas) => self.scale(workload, *replicas),
            Act::Delete(key) => self.delete(key),
            Act::World(effect) => {
                self.simulation.effects.plan(self.simulation.now(), effect.clone());
                self.happen()
            }
            Act::Chances(chances) => {
                self.simulation.effects.plan(self.simulation.now(), Effect::Chances(*chances));
                self.happen()
            }
            Act::Clock(by) => {
                self.skew += by;
                // A sleeping process finds out when it is due by its clock as it is now.
                Ok(())
            }
            Act::Crash(actions) => {
                self.crash = Some(*actions);
                Ok(())
            }
            Act::Rival { times, same } => {
                self.vault.rival(*times, *same);
                Ok(())
            }
            Act::Unwritable(after) => {
                self.vault.fail_after(Some(*after));
                Ok(())
            }
            Act::Policy(mischief, per_cent) => {
                self.deciders.misbehave(*mischief, *per_cent);
                Ok(())
            }
            Act::Reload(calls) => {
                self.deciders.reload_every(*calls);
                Ok(())
            }
            Act::Beside { slot, role, version } => {
                self.back.remove(&PolicyName::new(format!("{slot}/{role}")));
                self.deciders.stand(slot, role, version.as_deref());
                Ok(())
            }
        }
    }

    /// What is planned for now happens now, before the controller looks.
    pub(crate) fn happen(&mut self) -> Result<(), Failure> {
        self.simulation.advance(self.simulation.now());
        Ok(())
    }

    /// Asks the controller for a change as a user does; once more where the process stopped over it.
    fn ask<T>(
        &mut self,
        mut ask: impl FnMut(&mut Controller, Millis) -> Result<T, Refused>,
    ) -> Result<Result<T, String>, Failure> {
        for _ in 0..2 {
            let now = self.now();
            match ask(&mut self.controller, now) {
                Ok(done) => return Ok(Ok(done)),
                Err(Refused::Invalid(why)) => {
                    self.counts.refused += 1;
                    let why = why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                    self.story.say(self.elapsed(), "berth", &format!("refused    {why}"));
                    return Ok(Err(why));
                }
                Err(Refused::Store(StoreError::Write { .. })) => {
                    self.story.say(self.elapsed(), "process", "stops, since the store cannot be written");
                    self.restart()?;
                }
                // Somebody else was always first; the user is told so.
                Err(Refused::Store(StoreError::Conflict { .. })) => return Ok(Err("conflict".into())),
                Err(Refused::Store(error)) => return Err(self.fault("store", error.to_string())),
            }
        }
        Ok(Err("the store cannot be written".into()))
    }

    fn apply(&mut self, objects: &[Object]) -> Result<(), Failure> {
        if self.ask(|controller, now| controller.apply(objects.to_vec(), now))?.is_ok() {
            objects.iter().for_each(|object| self.auditor.accepted(object));
            self.look()?;
            self.keep(objects.iter().cloned())?;
        }
        Ok(())
    }

    fn keep(&mut self, objects: impl Iterator<Item = Object>) -> Result<(), Failure> {
        let mut fleet = false;
        for object in objects {
            let key = ObjectKey::from(&object.key());
            fleet |= key.kind.starts_with("berth.dev/");
            self.said.insert(key, object);
        }
        if fleet { self.change_fleet() } else { Ok(()) }
    }

    /// The world has what is declared. Clusters that are not declared any more stay where they are.
    fn change_fleet(&mut self) -> Result<(), Failure> {
        let objects: Vec<Object> = self.said.values().cloned().collect();
        if self.simulation.set_fleet(&objects).is_err() {
            // A pool whose minimum cannot be had is there without nodes, in the world as it is declared.
            let least = |object: Object| match object {
                Object::NodePool(mut pool) => {
                    pool.spec.min = 0;
                    Object::NodePool(pool)
                }
                other => other,
            };
            let objects: Vec<Object> = objects.into_iter().map(least).collect();
            drop(self.simulation.set_fleet(&objects));
        }
        self.happen()
    }

    fn garbage(&mut self, why: &str, objects: &[Object]) -> Result<(), Failure> {
        let before = self.revision()?;
        let said = self.ask(|controller, now| controller.apply(objects.to_vec(), now))?;
        match said {
            Ok(_) => Err(self.fault("refusal", format!("accepted although there is {why}"))),
            Err(_) if self.revision()? != before => {
                Err(self.fault("refusal", format!("refused for {why}, and yet something was written")))
            }
            Err(_) => Ok(()),
        }
    }

    fn revision(&self) -> Result<usize, Failure> {
        let changes = self.vault.changes(berth_control::ports::Revision(0));
        let changes = changes.map_err(|error| self.fault("store", error.to_string()))?;
        Ok(changes.last().map_or(0, |stored| stored.revision.0 as usize))
    }

    fn scale(&mut self, workload: &WorkloadKey, replicas: u32) -> Result<(), Failure> {
        if self.ask(|controller, now| controller.scale(workload, replicas, now))?.is_ok()
            && let Some(Object::Manifest(mut manifest)) = self.said.get(&ObjectKey::from(workload)).cloned()
        {
            revise(&mut manifest, &Part::whole(vec![replicas]));
            self.auditor.scaled(workload, replicas);
            self.look()?;
            self.keep([Object::Manifest(manifest)].into_iter())?;
        }
        Ok(())
    }

    fn delete(&mut self, key: &ObjectKey) -> Result<(), Failure> {
        if let Ok(true) = self.ask(|controller, now| controller.delete(key, now))? {
            self.said.remove(key);
            self.auditor.deleted(key);
            self.look()?;
            if key.kind.starts_with("berth.dev/") {
                self.change_fleet()?;
            }
        }
        Ok(())
    }
}
