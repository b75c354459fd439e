//! Counted work: what does not depend on how busy the machine is, compared with committed figures.
//!
//! Holds: the same sources on the same toolchain give the same figures, but for a little that the system's libraries
//! decide. More and less both fail, so that an improvement is committed with its figures and nothing eats it up unseen.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use berth_core::native::cases;
use berth_core::policy::{Candidates, Job, JobComponent, Offers, Policies, Queue, Request, Tables};
use berth_core::workload::Division;
use berth_policy::WallClock;

use super::{controller, decisions};
use crate::allocator::Allocated;

/// Beside the sources of this tool.
const FILE: &str = "host/xtask/counted.toml";
/// Share by which a figure may differ.
const TOLERANCE: f64 = 0.03;
/// Something whose instructions and allocations are counted.
struct Counted {
    name: &'static str,
    /// The function whose instructions count.
    mark: &'static str,
    /// How often what is counted happens in it.
    times: u64,
    run: fn() -> Result<Allocated>,
}

/// Decisions of a fleet of so many clusters; and, for each workload, the controller around them.
const COUNTED: &[Counted] = &[
    Counted { name: "native-100", mark: "*decide_marked*", times: 256, run: || decisions::fixed(100, 512, 256) },
    Counted { name: "native-1000", mark: "*decide_marked*", times: 128, run: || decisions::fixed(1000, 384, 128) },
    Counted {
        name: "control-decide",
        mark: "*decide_counted*",
        times: controller::COUNTED as u64,
        run: controller::decided,
    },
    Counted {
        name: "control-start",
        mark: "*start_counted*",
        times: controller::COUNTED as u64,
        run: controller::started,
    },
];
const CANDIDATES: u32 = 1000;
const JOBS: u32 = 100;

/// By section, then name.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// Runs what is counted under a name, and prints its allocations.
///
/// # Errors
/// A plan that was refused, or whatever else went wrong.
pub(super) fn run(name: &str) -> Result<()> {
    let counted = COUNTED.iter().find(|counted| counted.name == name);
    let allocated = (counted.with_context(|| format!("nothing is counted as {name}"))?.run)()?;
    println!("{} {}", allocated.allocations, allocated.bytes);
    Ok(())
}

/// Counts, and compares with the committed figures or writes them.
///
/// # Errors
/// Figures that differ by more than the tolerance, or what could not be counted.
pub(super) fn compare(root: &Path, update: bool) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "instructions of a debug build say nothing: use `cargo run --release`");
    let counts = count(root)?;
    let file = root.join(FILE);
    if update {
        std::fs::write(&file, text(&counts)).with_context(|| format!("cannot write {FILE}"))?;
        println!("{}", text(&counts));
        return Ok(());
    }
    let known = std::fs::read_to_string(&file).with_context(|| format!("cannot read {FILE}"))?;
    let known: Counts = toml::from_str(&known).with_context(|| format!("{FILE} is not as expected"))?;
    let faults = differences(&known, &counts);
    for (section, values) in &counts {
        for (name, value) in values {
            let before = known.get(section).and_then(|values| values.get(name)).copied().unwrap_or(0);
            let change = (*value as f64 / before.max(1) as f64 - 1.0) * 100.0;
            println!("{section:<13} {name:<14} {value:>12}  {change:>+7.2} %");
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let advice = "find out why; if it is meant, `cargo run --release -p xtask -- bench --counted --update` writes the \
                  new figures, to be committed with what changed them";
    bail!("{}\n{advice}", faults.join("\n"))
}

fn differences(known: &Counts, counts: &Counts) -> Vec<String> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for (section, values) in known.iter().chain(counts) {
        names.extend(values.keys().map(|name| (section.as_str(), name.as_str())));
    }
    names.sort_unstable();
    names.dedup();
    let get = |counts: &Counts, (section, name): (&str, &str)| counts.get(section)?.get(name).copied();
    let fault = |name: (&str, &str)| match (get(known, name), get(counts, name)) {
        (Some(before), Some(after)) if after.abs_diff(before) as f64 > before as f64 * TOLERANCE => {
            let change = (after as f64 / before.max(1) as f64 - 1.0) * 100.0;
            Some(format!("{} {}: {after} where {before} is committed ({change:+.1} %)", name.0, name.1))
        }
        (None, Some(_)) => Some(format!("{} {} is not in {FILE}", name.0, name.1)),
        (Some(_), None) => Some(format!("{} {} is in {FILE} and is not counted", name.0, name.1)),
        _ => None,
    };
    names.into_iter().filter_map(fault).collect()
}

fn count(root: &Path) -> Result<Counts> {
    let mut counts = Counts::new();
    let mut put = |section: &str, name: &str, value: u64| {
        counts.entry(section.into()).or_default().insert(name.into(), value);
    };
    for counted in COUNTED {
        eprintln!("{}: instructions and allocations", counted.name);
        let (instructions, allocations, bytes) = instructions(counted)?;
        put("instructions", counted.name, instructions / counted.times);
        put("allocations", counted.name, allocations / counted.times);
        put("bytes", counted.name, bytes / counted.times);
    }
    eprintln!("fuel of the policies in policies/");
    for (name, fuel) in fuel(root)? {
        put("fuel", name, fuel);
    }
    Ok(counts)
}

/// Instructions, allocations and bytes of all that counts.
fn instructions(Counted { name, mark, .. }: &Counted) -> Result<(u64, u64, u64)> {
    let program = std::env::current_exe().context("cannot tell this program's path")?;
    let profile = std::env::temp_dir().join(format!("berth-callgrind-{}-{name}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--toggle-collect={mark}")])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args(["bench", "--counted-run", name])
        .stdin(Stdio::null())
        .output()
        .context("cannot run valgrind; install the package `valgrind`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed: {}", said.trim());
    let text = std::fs::read_to_string(&profile).context("callgrind wrote no profile")?;
    // What is left of it is of no use; a file that stays behind does no harm.
    _ = std::fs::remove_file(&profile);
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    let total = total.and_then(|total| total.trim().parse().ok()).context("callgrind's profile has no total")?;
    ensure!(total > 0, "no instruction was counted: is {mark} still the name of what counts?");
    let numbers = String::from_utf8_lossy(&output.stdout);
    let mut numbers = numbers.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(allocations)), Some(Ok(bytes))) => Ok((total, allocations, bytes)),
        _ => bail!("{name} did not say what it allocated"),
    }
}

/// Candidates with some room each and different prices.
fn question() -> (Request, Candidates) {
    let rows = 0..CANDIDATES;
    let mut candidates = cases::candidates(&vec![0; CANDIDATES as usize]);
    candidates.ready = rows.clone().map(|row| u32::from(row % 5 == 0)).collect();
    candidates.elastic = rows.clone().map(|row| 1 + row % 7).collect();
    candidates.price = rows.clone().map(|row| f64::from(row * 7919 % 1_000) / 100.0 + 0.5).collect();
    candidates.offers = Offers {
        candidate: rows.clone().collect(),
        replicas: candidates.elastic.clone(),
        price: candidates.price.clone(),
        lead_seconds: vec![120; rows.len()],
        interruption: vec![0.05; rows.len()],
    };
    (cases::request(Division::Free, 8), candidates)
}

fn queue() -> Queue {
    let component = |row: u32| JobComponent { name: "main".into(), replicas: 1 + row % 9, floor: 0, request: vec![1] };
    let job = |row: u32| Job {
        namespace: "default".into(),
        name: format!("job-{row}").into(),
        quota: berth_core::policy::NO_ROW,
        priority: (row % 5) as i32,
        components: vec![component(row)],
        ..Job::default()
    };
    Queue { jobs: (0..JOBS).map(job).collect(), ..Queue::default() }
}

/// Fuel of one call of each built-in policy, after a first one that starts its session.
fn fuel(root: &Path) -> Result<Vec<(&'static str, u64)>> {
    let mut host = decisions::wasm(root, WallClock::Off)?;
    let name = |row: u32| Arc::from(format!("cluster-{row:05}"));
    let column = |value: &str| vec![Arc::from(value); CANDIDATES as usize];
    let tables = Arc::new(Tables {
        names: (0..CANDIDATES).map(name).collect(),
        providers: column("p"),
        regions: column("r"),
        labels: Vec::new(),
        resources: vec!["cpu".into()],
    });
    let (request, candidates) = question();
    let mut found = Vec::new();
    for name in ["weighted", "available", "aggregate", "cost"] {
        let mut last = 0;
        for _ in 0..2 {
            let answer = host.place(Some(&name.into()), &tables, &request, &candidates);
            ensure!(answer.failed.is_none(), "{name} failed: {:?}", answer.failed);
            last = answer.fuel;
        }
        found.push((name, last));
    }
    let queue = queue();
    host.admit(None, &tables, &queue);
    let answer = host.admit(None, &tables, &queue);
    ensure!(answer.failed.is_none(), "fifo failed: {:?}", answer.failed);
    found.push(("fifo", answer.fuel));
    Ok(found)
}

fn text(counts: &Counts) -> String {
    let mut text = String::from(
        "# Work counted by `cargo run --release -p xtask -- bench --counted`, a decision, workload or call; `--update` writes this.\n",
    );
    for (section, values) in counts {
        text.push_str(&format!("\n[{section}]\n"));
        values.iter().for_each(|(name, value)| text.push_str(&format!("{name} = {value}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_and_less_are_told_and_what_is_written_is_read() {
        let counts = |value: u64| Counts::from([("fuel".into(), BTreeMap::from([("cost".to_owned(), value)]))]);
        assert_eq!(toml::from_str::<Counts>(&text(&counts(7))).ok(), Some(counts(7)));
        assert!(differences(&counts(1000), &counts(1029)).is_empty());
        assert_eq!(differences(&counts(1000), &counts(1031)).len(), 1);
        assert_eq!(differences(&counts(1000), &counts(969)).len(), 1);
        assert_eq!(differences(&counts(1000), &Counts::new()).len(), 1);
        assert_eq!(differences(&Counts::new(), &counts(1)).len(), 1);
    }
}
