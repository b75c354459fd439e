//! Starts the smallest job first, and a higher priority before that.

use std::cmp::Reverse;

use berth_sdk::gang::{Admit, Hold, HoldCode, Queue, Verdict};
use berth_sdk::{Fleet, Gang, NoConfig, Policy, Problem};

/// One session, which keeps nothing.
#[derive(Debug)]
pub struct Smallest;

impl Policy for Smallest {
    const NAME: &str = "smallest-rust";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DOC: &str = "Starts the smallest job first, and a higher priority before that";
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Fleet) -> Result<Self, Problem> {
        Ok(Self)
    }
}

impl Gang for Smallest {
    fn decide(&mut self, _: &Fleet, queue: Queue) -> Result<Verdict, Problem> {
        let size = |job: u32| queue.jobs[job as usize].components.iter().map(|it| u64::from(it.replicas)).sum::<u64>();
        let mut order: Vec<u32> = (0..queue.jobs.len() as u32).collect();
        order.sort_by_key(|job| (Reverse(queue.jobs[*job as usize].priority), size(*job)));

        let mut verdict = Verdict { admit: vec![], hold: vec![], preempt: vec![] };
        for job in order {
            let fits = |sets: &[u32]| queue.fits.job.iter().zip(sets).any(|(row, sets)| *row == job && *sets > 0);
            let mut hold = |code, reason: &str| verdict.hold.push(Hold { job, code, reason: reason.into() });
            if queue.jobs[job as usize].together && !fits(&queue.fits.empty) {
                hold(HoldCode::TooLarge, "no cluster is large enough");
            } else if queue.jobs[job as usize].together && !fits(&queue.fits.now) {
                hold(HoldCode::NoRoom, "no cluster has room for all of it now");
            } else {
                let sizes = queue.jobs[job as usize].components.iter().map(|it| it.replicas).collect();
                verdict.admit.push(Admit { job, sizes, except: vec![] });
            }
        }
        Ok(verdict)
    }
}

berth_sdk::export_gang!(Smallest);
