//! The owner of the state: the controller, the simulated fleet and the policies, on one thread. It runs the loops, moves
//! the simulated clock at the pace that was asked for, and answers the API's questions in between.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use berth_control::event::{Event, What};
use berth_control::ports::{Events, StoreError};
use berth_control::store::EmbeddedStore;
use berth_control::{Controller, Settings, Settled};
use berth_core::ids::Millis;
use berth_policy::{Journal, JournalSettings, PolicyHost, Scan, WallClock, Watch};
use berth_sim::{Driver, Pass, Simulation};

use super::fleet::{CANARIES, EPOCH, FleetFile, Home, RECORDS};
use super::pace::Pace;
use super::story::Story;
use super::{Config, policies};
use crate::fail::hinted;
use crate::server::ask::Question;

/// Longest wait between two looks at the signals.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often the simulated fleet is saved beside the store; in between its journal grows.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// How long a settled fleet is watched while nodes may still be removed: the longest cool-down and as much again.
const SCALE_DOWN_MS: u64 = 7_200_000;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Settled,
    /// Settled, but something cannot be done.
    Stuck,
    /// By a signal, or because the time that was asked for is over.
    Stopped,
    /// By a signal, before what was asked for was reached.
    Interrupted,
}

pub(crate) struct Engine {
    pub(crate) controller: Controller,
    pub(super) simulation: Simulation,
    pub(super) policies: PolicyHost,
    pub(super) story: Story,
    pub(super) home: Home,
    /// Calls of policies, for `berth replay`.
    pub(super) journal: Option<Journal>,
    /// Where the policies are.
    pub(super) folder: PathBuf,
    pub(super) pace: Pace,
    pub(super) speed: f64,
    pub(super) start: Millis,
    pub(super) counts: Counts,
    until_settled: bool,
    length_ms: Option<u64>,
    saved: Instant,
    is_ready: bool,
    /// The store failed while a question was answered.
    pub(super) failed: Option<StoreError>,
    /// Since when nothing is left to do but what time alone brings.
    settled_since: Option<Millis>,
    told_settled: bool,
    /// Reloads policies while it lives.
    _watch: Watch,
}

/// What was done since the run began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) steps: u64,
    pub(crate) decisions: u64,
    pub(crate) policy_time: Duration,
}

impl Engine {
    pub(crate) fn run(&mut self, questions: &Receiver<Question<Self>>, stop: &AtomicBool) -> anyhow::Result<Finish> {
        let begun = Instant::now();
        let finish = self.turns(questions, stop)?;
        self.save()?;
        self.story.say(&self.summary(finish, begun.elapsed()));
        Ok(finish)
    }

    fn turns(&mut self, questions: &Receiver<Question<Self>>, stop: &AtomicBool) -> anyhow::Result<Finish> {
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(if self.until_settled { Finish::Interrupted } else { Finish::Stopped });
            }
            if let Some(error) = self.failed.take() {
                return Err(error.into());
            }
            let pass = self.turn()?;
            self.is_ready = true;
            if let Some(finish) = self.is_finished(pass) {
                return Ok(finish);
            }
            if self.saved.elapsed() > SAVE_EVERY {
                self.save()?;
            }
            self.answer(questions, pass.next);
        }
    }

    /// Everything that can be done now.
    fn turn(&mut self) -> anyhow::Result<Pass> {
        self.story.set_now(self.simulation.now());
        let mut driver = Driver {
            controller: &mut self.controller,
            simulation: &mut self.simulation,
            policies: &mut self.policies,
            events: &mut self.story,
        };
        let pass = driver.pass()?;
        for back in self.policies.went_back() {
            let at = self.simulation.now();
            self.story.emit(Event { at, what: What::CanaryWentBack { policy: back.policy, why: back.why } });
        }
        self.counts.steps += pass.steps;
        self.counts.decisions += pass.decisions;
        self.counts.policy_time += pass.policy_time;
        Ok(pass)
    }
}

impl Engine {
    /// Whether the first step was made.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// How the run ends now, if it does.
    fn is_finished(&mut self, pass: Pass) -> Option<Finish> {
        let now = self.simulation.now();
        if self.length_ms.is_some_and(|length| now.since(self.start) >= length) {
            return Some(Finish::Stopped);
        }
        let settled = if self.simulation.is_over() { self.controller.settled() } else { Settled::Working };
        let finish = match settled {
            // Nothing will happen by itself any more, and yet something is not done.
            Settled::Working if pass.next.is_none() && self.simulation.is_over() => Finish::Stuck,
            Settled::Working => {
                self.settled_since = None;
                return None;
            }
            Settled::Done => Finish::Settled,
            // What waits is tried again and again, so that there is always something due.
            Settled::Stuck(_) => Finish::Stuck,
        };
        // Nodes that nobody needs are still to go, each after the delay of its pool.
        let since = *self.settled_since.get_or_insert(now);
        if finish == Finish::Settled && pass.wake.is_some() && now.since(since) < SCALE_DOWN_MS {
            return None;
        }
        if self.until_settled {
            return Some(finish);
        }
        if !std::mem::replace(&mut self.told_settled, true) {
            self.story.say(&format!("{}\nNothing is left to do; the API stays open until Ctrl-C.", self.outcome()));
        }
        None
    }

    /// Waits until the clock may stand at `next`, answering questions meanwhile, and lets it.
    fn answer(&mut self, questions: &Receiver<Question<Self>>, next: Option<Millis>) {
        // Without an end of its own the clock stops at the length that was asked for.
        let limit = self.length_ms.map(|length| self.start.plus(length));
        let due = match (next, limit) {
            (Some(next), Some(limit)) => Some(next.min(limit)),
            (next, limit) => next.or(limit),
        };
        let wait = due.map_or(PATIENCE, |due| self.pace.wait(due, Instant::now()));
        let asked = match questions.recv_timeout(wait.min(PATIENCE)) {
            Ok(question) => {
                question(self);
                true
            }
            // With no API left the signals are looked at all the same.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(wait.min(PATIENCE));
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
        };
        let now = if self.speed == 0.0 { due.filter(|_| !asked) } else { Some(self.pace.now(Instant::now())) };
        let now = now.map(|now| due.map_or(now, |due| now.min(due)));
        if let Some(now) = now.filter(|now| *now > self.simulation.now()) {
            self.simulation.advance(now);
        }
    }

    pub(super) fn save(&mut self) -> anyhow::Result<()> {
        self.home.save(&mut self.simulation)?;
        self.saved = Instant::now();
        Ok(())
    }
}

impl Engine {
    /// Opens what the data directory holds and starts the run.
    pub(crate) fn open(config: Config, fleet: FleetFile, address: SocketAddr) -> anyhow::Result<Self> {
        let home = Home::open(&config)?;
        let folder = policies::folder(config.policies.as_deref(), &home.dir)?;
        // A run that does not follow the clock must not depend on how fast the machine is: fuel alone limits policies then.
        let wall_clock = if config.speed == 0.0 { WallClock::Off } else { WallClock::On };
        let (directory, first) = policies::open(folder.clone(), config.trust.clone(), wall_clock)?;
        let store = EmbeddedStore::open(&home.dir)?;
        home.close_to_others()?;
        let settings = Settings { seed: config.seed, ..Settings::default() };
        let mut controller = Controller::open(Box::new(store), settings)?;
        let changed = home.changed(&fleet)?;
        if !changed.is_empty() {
            controller.apply(changed, EPOCH).map_err(|refused| anyhow!(refused))?;
        }
        home.applied(&fleet)?;
        let mut simulation = home.world(&controller.fleet_objects(), &fleet.source, config.seed)?;
        home.save(&mut simulation)?;
        let start = simulation.now();
        let story = Story::new(start, Box::new(std::io::stdout()));
        let mut policies = PolicyHost::new(&directory);
        let journal = open_journal(&config, &home)?;
        if let Some(journal) = &journal {
            policies.listen(journal.listener());
        }
        policies.remember(home.dir.join(CANARIES));
        let watch = Watch::start(directory, {
            let story = story.clone();
            move |scan: &Scan| story.scanned(scan)
        })
        .context("the policy folder cannot be watched")?;
        let engine = Self {
            controller,
            simulation,
            policies,
            story,
            home,
            journal,
            folder,
            pace: Pace::new(config.speed, Instant::now(), start),
            speed: config.speed,
            start,
            counts: Counts::default(),
            until_settled: config.until_settled,
            length_ms: config.length_ms,
            saved: Instant::now(),
            is_ready: false,
            failed: None,
            settled_since: None,
            told_settled: false,
            _watch: watch,
        };
        engine.story.say(&engine.greeting(&config, &fleet, address));
        engine.story.scanned(&Scan { refused: first.refused, ..Scan::default() });
        Ok(engine)
    }
}

/// Keeps what policies are asked and answer, unless nothing is to be kept.
fn open_journal(config: &Config, home: &Home) -> anyhow::Result<Option<Journal>> {
    if config.records_size == 0 {
        return Ok(None);
    }
    let settings = JournalSettings {
        dir: home.dir.join(RECORDS),
        bytes: config.records_size,
        age_ms: config.records_age.as_millis() as u64,
        // A run that does not follow the clock must be the same however fast a thread writes.
        waits: config.speed == 0.0,
    };
    let failed = || hinted(format!("{} cannot be used", settings.dir.display()), "--records-size 0 records nothing");
    Ok(Some(Journal::open(settings.clone()).with_context(failed)?))
}
