//! The real program under SIGKILL: started on a folder, put under load by several clients, killed at a moment that the seed
//! chooses (while it starts, under load, while it starts again), and started again on the same folder. After each death
//! nothing that was acknowledged may be missing, and nothing may have happened twice or by half.
//!
//! SIGKILL ends a process between any two instructions, but what it wrote before stays with the operating system: this
//! proves the order of writes, not what a power loss leaves. What a disk may do to the files is what [`torn`] plays.

mod audit;
mod client;
mod dice;
mod fleet;
mod knowledge;
mod load;
mod program;
pub mod torn;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

pub use dice::Dice;
use knowledge::Knowledge;
use program::{Launch, Running, copy};

/// Clients that write at the same time.
const CLIENTS: usize = 4;

#[derive(Clone, Debug)]
pub struct Options {
    /// The built program.
    pub program: PathBuf,
    /// A folder with the built-in policies; those that are needed are copied.
    pub policies: PathBuf,
    /// Where everything is kept: a folder that is empty or not there.
    pub folder: PathBuf,
    pub rounds: u32,
    pub seed: u64,
    /// After so many rounds everything is left to come to rest, and is looked at then.
    pub settle_every: u32,
    /// Longest load before a kill, milliseconds.
    pub load_ms: u64,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub rounds: u32,
    pub kills: u64,
    /// Kills while it started: before it said its address.
    pub kills_at_start: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    pub policy_swaps: u64,
    /// Times that everything came to rest and was as it should be.
    pub rests: u64,
    /// Slowest start on a folder that was left by a kill.
    pub slowest_start_ms: u64,
}

/// A promise that was not kept.
#[derive(Debug)]
pub struct Broken {
    pub round: u32,
    pub seed: u64,
    pub what: Vec<String>,
    /// Where everything is as it was found.
    pub folder: PathBuf,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {} of seed {}:", self.round, self.seed)?;
        self.what.iter().try_for_each(|what| write!(f, "\n  - {what}"))?;
        write!(f, "\neverything is kept in {}", self.folder.display())
    }
}

impl std::error::Error for Broken {}

struct Run<'a> {
    options: &'a Options,
    launch: Launch,
    sound: PathBuf,
    known: Vec<Knowledge>,
    /// How long the last start took.
    start: Duration,
    report: Report,
}

/// Runs the rounds, telling each that is done.
///
/// # Errors
/// [`Broken`] for a promise that was not kept; anything else is a fault of the machine or of the test.
pub fn run(options: &Options, mut progress: impl FnMut(&Report)) -> Result<Report> {
    let mut run = Run::prepare(options)?;
    for round in 1..=options.rounds {
        run.round(round)?;
        run.report.rounds = round;
        if round == options.rounds.div_ceil(2) {
            copy(&run.launch.data, &older(&options.folder))?;
        }
        run.report.writes = run.known.iter().map(|one| one.acknowledged).sum();
        progress(&run.report);
    }
    Ok(run.report)
}

/// The folder in which the program's data are.
pub fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The same as they were half way through the rounds.
pub fn older(folder: &Path) -> PathBuf {
    folder.join("older")
}

/// How the program is started in these tests.
fn launch(options: &Options) -> Launch {
    let folder = &options.folder;
    Launch {
        program: options.program.clone(),
        fleet: folder.join("fleet.yaml"),
        policies: folder.join("policies"),
        data: data(folder),
        log: folder.join("run.log"),
        speed: 300.0,
    }
}

impl<'a> Run<'a> {
    fn prepare(options: &'a Options) -> Result<Self> {
        let folder = &options.folder;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let launch = launch(options);
        fs::write(&launch.fleet, fleet::fleet(&faults(&mut Dice::new(options.seed, 1))))?;
        let sound = folder.join("sound-policies");
        fs::create_dir_all(&sound)?;
        for name in load::FREE.map(|name| format!("{name}.wasm")) {
            let from = options.policies.join(&name);
            fs::copy(&from, sound.join(&name)).with_context(|| from.display().to_string())?;
        }
        fs::write(sound.join("policies.toml"), load::config(load::FREE[0]))?;
        copy(&sound, &launch.policies)?;
        let known = vec![Knowledge::default(); CLIENTS];
        Ok(Self { options, launch, sound, known, start: Duration::from_millis(300), report: Report::default() })
    }

    fn round(&mut self, round: u32) -> Result<()> {
        let mut dice = Dice::new(self.options.seed, 1000 + u64::from(round));
        if dice.chance(30) {
            self.newborn(&mut dice).map_err(|error| self.broken(round, vec![format!("{error:#}")]))?;
        }
        // Death while it starts, up to two times in a row.
        while dice.chance(40) {
            let program = self.launch.start()?;
            std::thread::sleep(within(self.start, &mut dice));
            self.kill(program, round)?;
        }
        let mut program = self.launch.start()?;
        let client = program.ready().map_err(|error| self.broken(round, vec![format!("{error:#}")]))?;
        self.start = program.since_start();
        self.report.slowest_start_ms = self.report.slowest_start_ms.max(self.start.as_millis() as u64);
        let mut faults = Vec::new();
        audit::running(&client, &mut self.known, &mut faults);
        if faults.is_empty() && round.is_multiple_of(self.options.settle_every.max(1)) {
            match audit::settled(&client) {
                Ok(()) => self.report.rests += 1,
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(self.broken(round, faults));
        }
        self.load(program, &client, round, &mut dice)
    }

    /// Puts the program under load, and kills it in the middle of that.
    fn load(&mut self, program: Running, client: &client::Client, round: u32, dice: &mut Dice) -> Result<()> {
        // Sometimes death comes with the first requests.
        let longest = if dice.chance(25) { 30 } else { self.options.load_ms };
        let lasts = Duration::from_millis(dice.below(longest));
        let stop = AtomicBool::new(false);
        let known = std::mem::take(&mut self.known);
        let (sound, folder) = (&self.sound, &self.launch.policies);
        let purpose = |number: usize| u64::from(round) * 100 + number as u64 + 1_000_000;
        let seed = self.options.seed;
        let (killed, ended, swaps) = std::thread::scope(|scope| {
            let stop = &stop;
            let writers = known.into_iter().enumerate().map(|(number, knowledge)| {
                let (client, dice) = (client.clone(), Dice::new(seed, purpose(number)));
                scope.spawn(move || load::write(&client, number, dice, knowledge, stop))
            });
            let writers: Vec<_> = writers.collect();
            let swapper = scope.spawn(move || load::swap(sound, folder, Dice::new(seed, purpose(99)), stop));
            std::thread::sleep(lasts);
            let killed = program.kill();
            stop.store(true, Ordering::Relaxed);
            let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            (killed, ended, swapper.join())
        });
        let mut faults = Vec::new();
        for ended in ended {
            let (knowledge, seen) = ended.map_err(|_| anyhow!("a client panicked"))?;
            self.known.push(knowledge);
            faults.extend(seen);
        }
        self.report.policy_swaps += swaps.map_err(|_| anyhow!("the swapper panicked"))??;
        self.died(killed?, round, faults)
    }

    fn kill(&mut self, program: Running, round: u32) -> Result<()> {
        let began = program.address().is_some();
        self.report.kills_at_start += u64::from(!began);
        self.died(program.kill()?, round, Vec::new())
    }

    /// After a death: what was printed and what the files hold.
    fn died(&mut self, (ended, printed): program::Death, round: u32, mut faults: Vec<String>) -> Result<()> {
        self.report.kills += 1;
        if let Some(status) = ended {
            faults.push(format!("it ended by itself ({status}): {printed}"));
        }
        if printed.contains("panicked at") || printed.contains("refused    a plan") {
            faults.push(printed);
        }
        if self.launch.data.join("berth.redb").exists() {
            let copied = self.options.folder.join("copy");
            copy(&self.launch.data, &copied)?;
            if let Err(error) = audit::files(&copied, &mut self.known, &mut faults) {
                faults.push(format!("{error:#}"));
            }
            fs::remove_dir_all(&copied)?;
        }
        if faults.is_empty() { Ok(()) } else { Err(self.broken(round, faults)) }
    }

    /// A folder whose first start was cut short can be started on.
    fn newborn(&mut self, dice: &mut Dice) -> Result<()> {
        let data = self.options.folder.join("newborn");
        let launch = Launch { data: data.clone(), log: self.options.folder.join("newborn.log"), ..self.launch.clone() };
        let program = launch.start()?;
        std::thread::sleep(within(self.start, dice));
        program.kill()?;
        let mut program = launch.start()?;
        program.ready()?;
        program.kill()?;
        self.report.kills += 2;
        fs::remove_dir_all(data)?;
        Ok(())
    }

    fn broken(&self, round: u32, what: Vec<String>) -> anyhow::Error {
        Broken { round, seed: self.options.seed, what, folder: self.options.folder.clone() }.into()
    }
}

/// A moment within a start, and a little beyond.
fn within(start: Duration, dice: &mut Dice) -> Duration {
    Duration::from_micros(dice.below(start.as_micros() as u64 * 5 / 4))
}

/// A day of faults: clusters and nodes are lost, stock ends, orders fail.
fn faults(dice: &mut Dice) -> String {
    let mut lines = String::new();
    for _ in 0..60 {
        let cluster = fleet::CLUSTERS[dice.below(3) as usize];
        let (at, lasts) = (dice.below(24 * 60), 1 + dice.below(5));
        let what = match dice.below(5) {
            0 => format!("what: ClusterLost, cluster: {cluster}, lasts: {lasts}m"),
            1 => format!("what: NodesLost, cluster: {cluster}, nodes: 2"),
            2 => format!("what: OutOfStock, offering: g5-{cluster}, lasts: {lasts}m"),
            3 => format!("what: OrdersFail, offering: g5-{cluster}, lasts: {lasts}m"),
            _ => format!("what: SlowStarts, cluster: {cluster}, lasts: {lasts}m"),
        };
        lines.push_str(&format!("  - {{at: {at}m, {what}}}\n"));
    }
    lines
}
