//! A gang policy that does what none should, to test the host: from a time on, so that it passes its probe and is in force
//! by then. Before that it starts every job that fits, in the order of the queue.

use std::hint::black_box;

use berth_sdk::gang::{Admit, Hold, HoldCode, Preempt, Queue, Verdict};
use berth_sdk::{Fleet, Gang, Policy, Problem};

berth_sdk::config! {
    /// What to do wrong, and when.
    pub struct Config {
        /// A way to misbehave; `any` for one after the other.
        mode: String = String::new(),
        /// From then on, in milliseconds since the Unix epoch.
        from_ms: u64 = 0,
    }
}

const MODES: [&str; 10] =
    ["trap", "", "loop", "unknown-job", "hold", "twice", "over-size", "admit", "no-precedence", "preempt"];

/// One session.
#[derive(Debug)]
pub struct Misbehave {
    config: Config,
}

impl Policy for Misbehave {
    const NAME: &'static str = "misbehave-gang";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DOC: &'static str = "Does what no gang policy should, to test the host";
    const NEEDS: &'static [&'static str] = &["running"];
    type Config = Config;

    fn new(config: Config, _: &Fleet) -> Result<Self, Problem> {
        Ok(Self { config })
    }
}

impl Gang for Misbehave {
    fn decide(&mut self, _: &Fleet, queue: Queue) -> Result<Verdict, Problem> {
        let Config { mode, from_ms } = &self.config;
        let mode = match mode.as_str() {
            _ if queue.now_ms < *from_ms => "",
            "any" => MODES[(queue.now_ms / 1000 % MODES.len() as u64) as usize],
            mode => mode,
        };
        let jobs = queue.jobs.len() as u32;
        let mut verdict = Verdict { admit: vec![], hold: vec![], preempt: vec![] };
        match mode {
            "trap" => std::process::abort(),
            "loop" => forever(),
            "unknown-job" => verdict.admit.push(Admit { job: jobs, sizes: vec![1], except: vec![] }),
            "twice" => verdict.admit.extend([whole(&queue, 0), whole(&queue, 0)]),
            "over-size" => {
                let mut admit = whole(&queue, 0);
                admit.sizes.iter_mut().for_each(|size| *size = size.saturating_add(1));
                verdict.admit.push(admit);
            }
            // A victim that need not give way, if there is one.
            "no-precedence" => {
                let victim = queue.running.iter().position(|one| one.priority >= queue.jobs[0].priority);
                let victim = victim.unwrap_or(queue.running.len()) as u32;
                verdict.preempt.push(Preempt { victim, beneficiary: 0, reason: "on a whim".into() });
            }
            "hold" => verdict.hold.extend((0..jobs).map(|job| hold(job, "on a whim"))),
            // Everybody, the last first, whether it fits or not.
            "admit" => verdict.admit.extend((0..jobs).rev().map(|job| whole(&queue, job))),
            // Whoever may be, for the first.
            "preempt" => {
                verdict.admit.push(whole(&queue, 0));
                for (victim, one) in queue.running.iter().enumerate() {
                    if one.priority < queue.jobs[0].priority {
                        let victim = victim as u32;
                        verdict.preempt.push(Preempt { victim, beneficiary: 0, reason: "on a whim".into() });
                    }
                }
            }
            _ => well(&queue, &mut verdict),
        }
        Ok(verdict)
    }
}

fn well(queue: &Queue, verdict: &mut Verdict) {
    for (row, job) in (0..).zip(&queue.jobs) {
        let mut fits = queue.fits.job.iter().zip(&queue.fits.now);
        if !job.together || fits.any(|(of, now)| *of == row && *now > 0) {
            verdict.admit.push(whole(queue, row));
        } else {
            verdict.hold.push(hold(row, "no cluster has room for all of it now"));
        }
    }
}

fn whole(queue: &Queue, job: u32) -> Admit {
    let components = queue.jobs.get(job as usize).map(|job| job.components.as_slice()).unwrap_or_default();
    Admit { job, sizes: components.iter().map(|component| component.replicas).collect(), except: vec![] }
}

fn hold(job: u32, reason: &str) -> Hold {
    Hold { job, code: HoldCode::NoRoom, reason: reason.into() }
}

fn forever() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

berth_sdk::export_gang!(Misbehave);
