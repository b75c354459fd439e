//! Isolation: what policies that loop for ever or trap always cost the decisions of others, on the one thread that decides.
//!
//! Of ten decisions one is asked of each of them, and the others of a sound policy. Beside it the same runs with no policy
//! loaded under the two names, so that the built-in algorithm decides in either case. The two take turns, each with a clock of
//! its own that runs with the time it was given, because that is the clock by which a policy is taken out and tried again.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_core::policy::{Candidates, Policies, Request, Tables};
use berth_policy::{Directory, PolicyHost, Runtime, WallClock};
use serde_json::json;

use super::calls::{question, tables};
use super::{Figures, Settings, rounded};

const CANDIDATES: u32 = 100;
const TURN: Duration = Duration::from_millis(500);
/// Who is asked, in turn, and how it misbehaves.
const OTHERS: usize = 8;
const BAD: [&str; 2] = ["loop", "trap"];

/// A host with what it is asked.
struct Side {
    host: PolicyHost,
    tables: Arc<Tables>,
    request: Request,
    candidates: Candidates,
    /// Time that it was given.
    clock: Duration,
    /// Decisions of the sound policy, and failures of the others by their way.
    others: u64,
    failures: [u64; BAD.len()],
}

impl Side {
    fn new(folder: &Path, runtime: &Runtime) -> Result<Self> {
        let mut directory = Directory::new(folder, runtime.clone());
        let scan = directory.scan();
        ensure!(scan.refused.is_empty(), "policies are refused: {:?}", scan.refused);
        let (request, candidates) = question(CANDIDATES, false);
        Ok(Self {
            host: PolicyHost::new(&directory),
            tables: tables(CANDIDATES),
            request,
            candidates,
            clock: Duration::ZERO,
            others: 0,
            failures: Default::default(),
        })
    }

    fn turn(&mut self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < TURN {
            self.request.now_ms = 1_700_000_000_000 + (self.clock + started.elapsed()).as_millis() as u64;
            self.host.begin();
            for _ in 0..OTHERS {
                let answer = self.host.place(Some(&"sound".into()), &self.tables, &self.request, &self.candidates);
                ensure!(answer.failed.is_none(), "the sound policy failed: {:?}", answer.failed);
                self.others += 1;
            }
            for (way, failures) in BAD.into_iter().zip(&mut self.failures) {
                self.request.labels = vec![("misbehave".into(), way.into())];
                let answer = self.host.place(Some(&way.into()), &self.tables, &self.request, &self.candidates);
                ensure!(answer.result.is_ok() && answer.failed.is_some(), "{way} decided: {answer:?}");
                *failures += u64::from(answer.failed.is_some_and(|(_, why)| !why.contains("taken out")));
            }
            self.request.labels.clear();
        }
        self.clock += started.elapsed();
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.others as f64 / self.clock.as_secs_f64()
    }
}

/// The rate of decisions by the others, without and with the two beside them.
///
/// # Errors
/// If a policy is refused, the sound one fails, or one of the others decides.
pub(super) fn measure(settings: &Settings) -> Result<Figures> {
    let folder = |bad: &[&str]| -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir_in(super::scratch()?)?;
        let copy = |from: &str, to: &str| fs::copy(settings.root.join(from), folder.path().join(to));
        copy("policies/weighted.wasm", "sound.wasm").context("cannot copy the policy")?;
        copy("host/policy/tests/guests/misbehave.wasm", "bad.wasm").context("cannot copy the policy")?;
        let mut config = "[policy.sound]\n".to_owned();
        bad.iter().for_each(|name| config.push_str(&format!("[policy.{name}]\nfile = \"bad.wasm\"\n")));
        fs::write(folder.path().join("policies.toml"), config).context("cannot write the configuration")?;
        Ok(folder)
    };
    let (quiet, loud) = (folder(&[])?, folder(&BAD)?);
    let runtime = Runtime::new(WallClock::On)?;
    let (mut alone, mut beside) = (Side::new(quiet.path(), &runtime)?, Side::new(loud.path(), &runtime)?);
    let turns = if settings.quick { 20 } else { 120 };
    for turn in 0..turns {
        alone.turn()?;
        beside.turn()?;
        if turn % 20 == 19 {
            eprintln!("  {:.0} s: {:.0} and {:.0} a second", beside.clock.as_secs_f64(), alone.rate(), beside.rate());
        }
    }
    let mut figures = Figures::new();
    figures.insert(
        "isolation".into(),
        json!({
            "seconds": beside.clock.as_secs_f64().round(),
            "others_per_second_alone": alone.rate().round(),
            "others_per_second_beside": beside.rate().round(),
            "beside_over_alone": rounded(beside.rate() / alone.rate()),
            "ran_into_a_limit": beside.failures[0],
            "trapped": beside.failures[1],
        }),
    );
    Ok(figures)
}
