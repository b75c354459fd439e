//! First in, first out, all or nothing, with backfill that never delays the head of the queue.

use serde::Deserialize;

use crate::policy::{
    Admit, Fit, Hold, HoldCode, Job, JobComponent, NO_ROW, Problem, ProblemCode, Queue, QuotaUse, Tables, Verdict,
};

pub const CONFIG_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "backfill": {
      "description": "Whether jobs behind one that waits for room may start where they do not delay it",
      "type": "boolean", "default": true
    }
  }
}"#;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FifoConfig {
    /// Whether jobs behind one that waits for room may start where they do not delay it.
    pub backfill: bool,
}

impl Default for FifoConfig {
    fn default() -> Self {
        Self { backfill: true }
    }
}

/// Goes through the queue in its order, by priority and then age:
///
/// - A job that stays together starts in the largest size that surely fits somewhere and within its quota, at least with
///   every component at its floor; or it is held.
/// - The first one that finds no room claims a cluster: the one in which its whole set would fit most often if nothing
///   else ran there; of equals the lower row, so that it is the same one the next time. Jobs behind it must leave that
///   cluster alone, so none of them delays it. One that could never fit claims nothing.
/// - All other jobs start, in as large a size as their quota allows: they may be placed in part.
/// - A quota lends what is idle: a job may go beyond its quota's `min`, up to every `max` on the path to the root. A job
///   that its quota holds back lets those pass that do not use what is exhausted.
///
/// It preempts nothing.
///
/// # Errors
/// `unsupported` where the queue's rows do not fit each other.
pub fn fifo(config: &FifoConfig, tables: &Tables, queue: &Queue) -> Result<Verdict, Problem> {
    let mut line = Line::new(config, tables, queue)?;
    for (row, job) in queue.jobs.iter().enumerate() {
        line.decide(row as u32, job);
    }
    Ok(line.verdict)
}

/// A resource of a quota that a job ahead waits for.
#[derive(Clone, Copy, Debug)]
struct Exhausted {
    quota: u32,
    resource: usize,
    job: u32,
}

/// A cluster that the first job without room waits for.
#[derive(Clone, Copy, Debug)]
struct Claim {
    job: u32,
    cluster: u32,
}

struct Line<'a> {
    config: &'a FifoConfig,
    tables: &'a Tables,
    queue: &'a Queue,
    /// In ascending order of job.
    fits: Vec<Fit>,
    /// What each quota uses with the jobs admitted so far.
    used: Vec<Vec<u64>>,
    claim: Option<Claim>,
    exhausted: Vec<Exhausted>,
    verdict: Verdict,
}

impl<'a> Line<'a> {
    fn new(config: &'a FifoConfig, tables: &'a Tables, queue: &'a Queue) -> Result<Self, Problem> {
        let rows = queue.quotas.len();
        let upwards = |(row, quota): (usize, &QuotaUse)| quota.parent == NO_ROW || (quota.parent as usize) < row;
        if !queue.quotas.iter().enumerate().all(upwards) {
            return Err(unsupported("a quota stands before its parent"));
        }
        if queue.jobs.iter().any(|job| job.quota != NO_ROW && job.quota as usize >= rows) {
            return Err(unsupported("a job names a quota that is not there"));
        }
        let mut fits = queue.fits.clone();
        fits.sort_by_key(|fit| (fit.job, fit.cluster));
        Ok(Self {
            config,
            tables,
            queue,
            fits,
            used: queue.quotas.iter().map(|quota| quota.used.clone()).collect(),
            claim: None,
            exhausted: Vec::new(),
            verdict: Verdict::default(),
        })
    }

    fn decide(&mut self, row: u32, job: &Job) {
        match self.size(row, job) {
            Ok(sizes) => {
                self.charge(job, &sizes);
                let except = self.claim.map(|claim| claim.cluster).into_iter().collect();
                self.verdict.admit.push(Admit { job: row, sizes, except });
            }
            Err((code, reason)) => self.verdict.hold.push(Hold { job: row, code, reason }),
        }
    }

    /// The size in which a job starts, or why it does not.
    fn size(&mut self, row: u32, job: &Job) -> Result<Vec<u32>, (HoldCode, String)> {
        let fits = self.fits_of(row);
        if job.together && fits.iter().all(|fit| fit.empty == 0) {
            return Err((HoldCode::TooLarge, "no cluster is large enough for the whole set".into()));
        }
        if let Some(claim) = self.claim
            && !self.config.backfill
        {
            return Err((HoldCode::Behind, format!("waits behind {}", self.name(claim.job))));
        }
        let mut sizes = self.within_quota(row, job)?;
        if job.together {
            let sets = self.sets(row, job)?;
            for (size, component) in sizes.iter_mut().zip(&job.components) {
                *size = (*size).min(least(job, component).saturating_mul(sets).max(component.floor));
            }
        }
        Ok(sizes)
    }

    fn fits_of(&self, job: u32) -> &[Fit] {
        let start = self.fits.partition_point(|fit| fit.job < job);
        let end = self.fits.partition_point(|fit| fit.job <= job);
        &self.fits[start..end]
    }

    /// How many whole sets fit into the best cluster that is not claimed. The first job for which that is none claims one.
    fn sets(&mut self, row: u32, job: &Job) -> Result<u32, (HoldCode, String)> {
        let claimed = self.claim.map(|claim| claim.cluster);
        let fits = self.fits_of(row);
        let open = fits.iter().filter(|fit| Some(fit.cluster) != claimed).map(|fit| fit.now).max().unwrap_or(0);
        if open > 0 {
            return Ok(open);
        }
        let Some(claim) = self.claim else {
            let most = |fit: &&Fit| (fit.empty, std::cmp::Reverse(fit.cluster));
            let Some(cluster) = fits.iter().max_by_key(most).map(|fit| fit.cluster) else {
                return Err((HoldCode::TooLarge, "no cluster is large enough for the whole set".into()));
            };
            self.claim = Some(Claim { job: row, cluster });
            let sum: u64 = job.components.iter().map(|component| u64::from(least(job, component))).sum();
            let reason = format!("{sum} replicas fit nowhere at once now; waits for {}", self.cluster(cluster));
            return Err((HoldCode::NoRoom, reason));
        };
        if fits.iter().any(|fit| fit.now > 0) {
            let (cluster, ahead) = (self.cluster(claim.cluster), self.name(claim.job));
            return Err((HoldCode::Behind, format!("{cluster} is kept for {ahead}")));
        }
        Err((HoldCode::NoRoom, "the whole set fits nowhere now".into()))
    }

    /// The largest size within every ceiling on the path of the job's quota: its least size, and then more of each
    /// component in turn.
    fn within_quota(&mut self, row: u32, job: &Job) -> Result<Vec<u32>, (HoldCode, String)> {
        if job.quota == NO_ROW {
            return Ok(job.components.iter().map(|component| component.replicas).collect());
        }
        if let Some(exhausted) = self.exhausted.iter().find(|exhausted| self.shares(job, exhausted)) {
            let (quota, ahead) = (&self.queue.quotas[exhausted.quota as usize].name, self.name(exhausted.job));
            return Err((HoldCode::Behind, format!("waits behind {ahead} for quota {quota}")));
        }
        let mut sizes: Vec<u32> = job.components.iter().map(|component| least(job, component)).collect();
        let mut need = usage(job, &sizes);
        if let Some(refused) = self.refuses(row, job, &need) {
            return Err(refused);
        }
        for (size, component) in sizes.iter_mut().zip(&job.components) {
            let more = self.headroom(job, component, &need, component.replicas.saturating_sub(*size));
            *size += more;
            add(&mut need, &component.request, more);
        }
        let wanted = job.components.iter().any(|component| component.replicas > 0);
        if wanted && sizes.iter().all(|size| *size == 0) {
            let one: Vec<u32> = job.components.iter().map(|component| component.replicas.min(1)).collect();
            let refused = self.refuses(row, job, &usage(job, &one));
            return Err(refused.unwrap_or_else(|| (HoldCode::Quota, "no quota is left for a replica".into())));
        }
        Ok(sizes)
    }

    /// Whether a job uses a resource that a job ahead waits for.
    fn shares(&self, job: &Job, exhausted: &Exhausted) -> bool {
        let uses = |component: &JobComponent| {
            component.replicas > 0 && component.request.get(exhausted.resource).is_some_and(|amount| *amount > 0)
        };
        self.path(job.quota).any(|row| row == exhausted.quota) && job.components.iter().any(uses)
    }

    /// Whether a ceiling on the job's path is too low for `need`, now or for ever. If now, what is exhausted is noted.
    fn refuses(&mut self, row: u32, job: &Job, need: &[u64]) -> Option<(HoldCode, String)> {
        let path: Vec<u32> = self.path(job.quota).collect();
        let mut refused = None;
        for quota in path {
            for (resource, need) in need.iter().enumerate().filter(|(_, need)| **need > 0) {
                let QuotaUse { name, max, .. } = &self.queue.quotas[quota as usize];
                let max = max.get(resource).copied().unwrap_or(u64::MAX);
                let used = self.used[quota as usize].get(resource).copied().unwrap_or(0);
                let what = self.tables.resources.get(resource).map_or("a resource", |name| &**name);
                if *need > max {
                    let reason = format!("needs {need} of {what} and quota {name} never allows more than {max}");
                    return Some((HoldCode::TooLarge, reason));
                }
                if used.saturating_add(*need) > max {
                    let reason = format!("needs {need} of {what} and quota {name} has {used} of {max} in use");
                    refused.get_or_insert((HoldCode::Quota, reason));
                    self.exhausted.push(Exhausted { quota, resource, job: row });
                }
            }
        }
        refused
    }

    /// How many more replicas of a component the ceilings allow beside `need`, up to `limit`.
    fn headroom(&self, job: &Job, component: &JobComponent, need: &[u64], limit: u32) -> u32 {
        let mut headroom = u64::from(limit);
        for quota in self.path(job.quota) {
            let (max, used) = (&self.queue.quotas[quota as usize].max, &self.used[quota as usize]);
            for (resource, amount) in component.request.iter().enumerate().filter(|(_, amount)| **amount > 0) {
                let at = |amounts: &[u64]| amounts.get(resource).copied().unwrap_or(0);
                let max = max.get(resource).copied().unwrap_or(u64::MAX);
                if max < u64::MAX {
                    headroom = headroom.min(max.saturating_sub(at(used)).saturating_sub(at(need)) / amount);
                }
            }
        }
        headroom as u32
    }

    fn charge(&mut self, job: &Job, sizes: &[u32]) {
        let need = usage(job, sizes);
        let path: Vec<u32> = self.path(job.quota).collect();
        for quota in path {
            add(&mut self.used[quota as usize], &need, 1);
        }
    }

    /// A quota and its ancestors, upwards.
    fn path(&self, quota: u32) -> impl Iterator<Item = u32> + use<'a> {
        let quotas = &self.queue.quotas;
        std::iter::successors(Some(quota), |row| Some(quotas.get(*row as usize)?.parent))
            .take_while(|row| *row != NO_ROW)
    }

    fn name(&self, job: u32) -> String {
        self.queue.jobs.get(job as usize).map_or_else(String::new, |job| format!("{}/{}", job.namespace, job.name))
    }

    fn cluster(&self, row: u32) -> &'a str {
        self.tables.names.get(row as usize).map_or("a cluster", |name| &**name)
    }
}

/// Fewest replicas with which a component starts. One that stays together and has no floor starts with all.
fn least(job: &Job, component: &JobComponent) -> u32 {
    if job.together && component.floor == 0 { component.replicas } else { component.floor.min(component.replicas) }
}

fn usage(job: &Job, sizes: &[u32]) -> Vec<u64> {
    let mut need = Vec::new();
    for (component, size) in job.components.iter().zip(sizes) {
        add(&mut need, &component.request, *size);
    }
    need
}

/// Adds `request` times `count`; an amount that would overflow stays at the largest.
fn add(sum: &mut Vec<u64>, request: &[u64], count: u32) {
    if sum.len() < request.len() {
        sum.resize(request.len(), 0);
    }
    for (sum, amount) in sum.iter_mut().zip(request) {
        *sum = sum.saturating_add(amount.saturating_mul(u64::from(count)));
    }
}

fn unsupported(message: &str) -> Problem {
    Problem { code: ProblemCode::Unsupported, message: message.into() }
}
