#![allow(clippy::unwrap_used, clippy::panic)] // A test that cannot go on has failed.

use berth_core::ids::PolicyName;
use berth_core::native;
use berth_core::placement::PolicyRef;
use berth_core::policy::{
    Admit, Assignment, Candidates, Column, Component, Decision, Fit, Health, Hold, HoldCode, How, Job, JobComponent,
    MigrationState, MigrationWorkload, Move, Offers, Placed, Preempt, Problem, ProblemCode, Queue as Jobs, QuotaUse,
    Request, Running, Tables, Term, Verdict,
};
use berth_core::workload::Division;
use proptest::prelude::*;

use super::*;
use crate::call::Output;
use crate::engine::Limits;

fn name() -> impl Strategy<Value = Arc<str>> {
    prop::sample::select(vec!["", "a", "default", "wörker", "a longer name"]).prop_map(Arc::from)
}

/// Any bits, among them those of NaN and negative zero.
fn real() -> impl Strategy<Value = f64> {
    let special =
        prop::sample::select(vec![0.0_f64.to_bits(), (-0.0_f64).to_bits(), 0x7ff8_0000_0000_1234, 1.5_f64.to_bits()]);
    prop_oneof![special, any::<u64>()].prop_map(f64::from_bits)
}

fn list<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(of, 0..5)
}

fn tables() -> impl Strategy<Value = Tables> {
    (list(name()), list(name()), list(name()), list((any::<u32>(), name(), name())), list(name())).prop_map(
        |(names, providers, regions, labels, resources)| Tables { names, providers, regions, labels, resources },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let division = prop::sample::select(vec![
        Division::Duplicated,
        Division::StaticWeight,
        Division::AvailableReplicas,
        Division::Aggregated,
        Division::Free,
    ]);
    let component = (name(), any::<u32>(), any::<u32>());
    let component = component.prop_map(|(name, replicas, floor)| Component { name, replicas, floor });
    (name(), list((name(), name())), any::<i32>(), division, any::<bool>(), list(component), any::<u64>()).prop_map(
        |(name, labels, priority, division, together, components, seed)| Request {
            namespace: name.clone(),
            name,
            labels,
            priority,
            division,
            together,
            components,
            now_ms: seed.rotate_left(7),
            seed,
        },
    )
}

fn candidates() -> impl Strategy<Value = Candidates> {
    let whole = || list(any::<u32>());
    let offers = (whole(), whole(), list(real()), whole(), list(real())).prop_map(
        |(candidate, replicas, price, lead_seconds, interruption)| Offers {
            candidate,
            replicas,
            price,
            lead_seconds,
            interruption,
        },
    );
    let extra = list((name(), list(real())).prop_map(|(name, values)| Column { name, values }));
    (
        (whole(), whole(), whole(), whole()),
        (whole(), whole(), whole()),
        (list(real()), list(real()), list(real())),
        offers,
        extra,
    )
        .prop_map(|(one, two, reals, offers, extra)| Candidates {
            cluster: one.0,
            ready: one.1,
            elastic: one.2,
            current: one.3,
            lead_seconds: two.0,
            tier: two.1,
            weight: two.2,
            price: reals.0,
            current_price: reals.1,
            interruption: reals.2,
            offers,
            extra,
        })
}

fn decision() -> impl Strategy<Value = Decision> {
    let assignment = any::<(u32, u32, u32)>().prop_map(|(component, candidate, replicas)| Assignment {
        component,
        candidate,
        replicas,
    });
    let term = (any::<u32>(), name(), real()).prop_map(|(candidate, name, value)| Term { candidate, name, value });
    (list(assignment), list(term)).prop_map(|(assignments, terms)| Decision { assignments, terms })
}

fn queue() -> impl Strategy<Value = Jobs> {
    let amounts = || list(any::<u64>());
    let component = (name(), any::<u32>(), any::<u32>(), amounts())
        .prop_map(|(name, replicas, floor, request)| JobComponent { name, replicas, floor, request });
    let job = (name(), any::<(u32, i32, u64, u64, bool)>(), list(component)).prop_map(
        |(name, (quota, priority, age_ms, limit_ms, together), components)| Job {
            namespace: name.clone(),
            name,
            quota,
            priority,
            age_ms,
            limit_ms,
            together,
            components,
        },
    );
    let fit = any::<(u32, u32, u32, u32)>().prop_map(|(job, cluster, now, empty)| Fit { job, cluster, now, empty });
    let quota = (name(), any::<u32>(), amounts(), amounts(), amounts())
        .prop_map(|(name, parent, min, max, used)| QuotaUse { name, parent, min, max, used });
    let running = (name(), any::<(u32, i32, u32, u64)>(), amounts()).prop_map(
        |(name, (quota, priority, cluster, age_ms), usage)| Running {
            namespace: name.clone(),
            name,
            quota,
            priority,
            cluster,
            age_ms,
            usage,
        },
    );
    (list(job), list(fit), list(quota), list(running), any::<u64>())
        .prop_map(|(jobs, fits, quotas, running, seed)| Jobs { jobs, fits, quotas, running, now_ms: !seed, seed })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let admit = (any::<u32>(), list(any::<u32>()), list(any::<u32>())).prop_map(|(job, sizes, except)| Admit {
        job,
        sizes,
        except,
    });
    let code = prop::sample::select(vec![HoldCode::NoRoom, HoldCode::Quota, HoldCode::Behind, HoldCode::TooLarge]);
    let hold = (any::<u32>(), code, ".{0,9}").prop_map(|(job, code, reason)| Hold { job, code, reason });
    let preempt = (any::<(u32, u32)>(), ".{0,9}").prop_map(|((victim, beneficiary), reason)| Preempt {
        victim,
        beneficiary,
        reason,
    });
    (list(admit), list(hold), list(preempt)).prop_map(|(admit, hold, preempt)| Verdict { admit, hold, preempt })
}

fn state() -> impl Strategy<Value = MigrationState> {
    let workload = (name(), any::<(i32, bool, u64)>()).prop_map(|(name, (priority, together, toleration_ms))| {
        MigrationWorkload { namespace: name.clone(), name, priority, together, toleration_ms }
    });
    let whole = || list(any::<u32>());
    let placed =
        ((whole(), whole(), whole(), whole()), (whole(), whole(), whole(), whole()), list(any::<u64>()), list(real()))
            .prop_map(|(one, two, unready_ms, price)| Placed {
                workload: one.0,
                component: one.1,
                cluster: one.2,
                desired: one.3,
                ready: two.0,
                unschedulable: two.1,
                provisioning: two.2,
                tier: two.3,
                unready_ms,
                price,
            });
    let health =
        (list(any::<bool>()), list(any::<u64>())).prop_map(|(reachable, since_ms)| Health { reachable, since_ms });
    (list(workload), placed, health, any::<u64>()).prop_map(|(workloads, placed, health, seed)| MigrationState {
        workloads,
        placed,
        health,
        now_ms: seed / 3,
        seed,
    })
}

fn asked() -> impl Strategy<Value = (Question, Result<Output, Problem>)> {
    let how = prop::sample::select(vec![How::Gracefully, How::AtOnce]);
    let one = (any::<(u32, u32)>(), how, ".{0,9}").prop_map(|((row, replicas), how, reason)| Move {
        row,
        replicas,
        how,
        reason,
    });
    let moves = list(one).prop_map(Output::Migration);
    let problem = || {
        prop::sample::select(vec![ProblemCode::NoRoom, ProblemCode::NoCandidate, ProblemCode::Unsupported])
            .prop_map(|code| Problem { code, message: "full".into() })
    };
    let placement =
        (request(), candidates()).prop_map(|(request, candidates)| Question::Placement { request, candidates });
    prop_oneof![
        (placement, prop::result::maybe_ok(decision().prop_map(Output::Placement), problem())),
        (queue().prop_map(Question::Gang), prop::result::maybe_ok(verdict().prop_map(Output::Gang), problem())),
        (state().prop_map(Question::Migration), prop::result::maybe_ok(moves, problem())),
    ]
}

fn by() -> impl Strategy<Value = PolicyRef> {
    (name(), name(), name()).prop_map(|(name, version, digest)| PolicyRef {
        name: PolicyName::new(name),
        version,
        digest,
    })
}

fn call() -> impl Strategy<Value = Call> {
    let failed = prop::option::of((by(), ".{0,20}"));
    let limits = any::<(u64, u64, usize, u64)>().prop_map(|(fuel, deadline_ms, memory_bytes, file_bytes)| Limits {
        fuel,
        deadline_ms,
        memory_bytes,
        file_bytes,
    });
    ((any::<(u64, u64, u64)>(), name(), name(), limits), by(), tables(), asked(), failed).prop_map(
        |(((number, at_ms, fuel), slot, config, limits), by, tables, (question, answer), failed)| Call {
            number,
            at_ms,
            slot: PolicyName::new(slot),
            config,
            limits,
            by,
            tables: Arc::new(tables),
            question,
            answer,
            fuel,
            failed,
        },
    )
}

/// With every bit of its real numbers.
fn bits(call: &Call) -> Vec<u64> {
    let Question::Placement { candidates, .. } = &call.question else {
        let Question::Migration(state) = &call.question else { return Vec::new() };
        return state.placed.price.iter().map(|value| value.to_bits()).collect();
    };
    let offers = &candidates.offers;
    let columns =
        [&candidates.price, &candidates.current_price, &candidates.interruption, &offers.price, &offers.interruption];
    let extra = candidates.extra.iter().map(|column| &column.values);
    let terms = match &call.answer {
        Ok(Output::Placement(decision)) => decision.terms.iter().map(|term| term.value.to_bits()).collect(),
        _ => Vec::new(),
    };
    columns.into_iter().chain(extra).flatten().map(|value| value.to_bits()).chain(terms).collect()
}

fn settings(dir: &Path) -> JournalSettings {
    JournalSettings { dir: dir.to_owned(), bytes: 1 << 30, age_ms: 1 << 40, waits: true }
}

/// A placement among so many candidates.
fn placement(number: u64, at_ms: u64, n: u32) -> Call {
    let column = |of: &dyn Fn(u32) -> u32| (0..n).map(of).collect::<Vec<u32>>();
    let random = |row: u32, most: u32| (((u64::from(row) + 1) * (number + 3) * 2_654_435_761) >> 7) as u32 % most;
    let prices = [1.21, 2.5, 3.06, 12.3, 32.77, 40.96];
    let candidates = Candidates {
        cluster: column(&|row| row),
        ready: column(&|row| random(row, 9)),
        elastic: column(&|row| random(row, 64)),
        current: column(&|row| u32::from(row % 97 == 3)),
        price: (0..n).map(|row| prices[random(row, 6) as usize]).collect(),
        current_price: vec![0.0; n as usize],
        lead_seconds: column(&|row| 60 + 30 * random(row, 4)),
        interruption: vec![0.0; n as usize],
        tier: vec![0; n as usize],
        weight: vec![1; n as usize],
        offers: Offers {
            candidate: column(&|row| row),
            replicas: column(&|row| random(row, 64)),
            price: (0..n).map(|row| prices[random(row, 6) as usize]).collect(),
            lead_seconds: column(&|row| 60 + 30 * random(row, 4)),
            interruption: vec![0.0; n as usize],
        },
        extra: Vec::new(),
    };
    let request = Request {
        namespace: "default".into(),
        name: format!("job-{number}").into(),
        labels: vec![("app".into(), format!("job-{number}").into())],
        division: Division::Free,
        components: vec![Component { name: "main".into(), replicas: 4, floor: 0 }],
        now_ms: at_ms,
        seed: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ..Request::default()
    };
    let by = PolicyRef { name: "cost".into(), version: "0.1.0".into(), digest: "ab".repeat(32).as_str().into() };
    Call {
        number,
        at_ms,
        slot: "cost".into(),
        config: "{}".into(),
        limits: Limits::default(),
        by,
        tables: fleet(n),
        answer: native::place("cost", &request, &candidates).map(Output::Placement),
        question: Question::Placement { request, candidates },
        fuel: 40_000,
        failed: None,
    }
}

fn fleet(n: u32) -> Arc<Tables> {
    let names: Vec<Arc<str>> = (0..n).map(|row| format!("cluster-{row}").into()).collect();
    Arc::new(Tables { providers: names.clone(), regions: names.clone(), names, ..Tables::default() })
}

/// Writes calls into a new folder and gives its only file.
fn written(calls: &[Call], broken: Option<u64>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(folder.path())).unwrap();
    let mut listener = journal.listener();
    for call in calls {
        listener.called(&Arc::new(call.clone()));
        if broken == Some(call.number) {
            listener.broke_rule(call.number, "more than the room");
        }
    }
    drop(journal);
    let files = segments(folder.path()).unwrap();
    assert_eq!(files.len(), 1);
    let file = files[0].path.clone();
    (folder, file)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_read_is_what_was_written(calls in prop::collection::vec(call(), 1..4)) {
        for call in &calls {
            let (row, asked) = codec::decode_who(&codec::encode_who(3, &codec::Who::of(call))).unwrap();
            prop_assert_eq!(row, 3);
            let (row, tables) = codec::decode_tables(&codec::encode_tables(5, &call.tables)).unwrap();
            prop_assert_eq!((row, &tables), (5, &*call.tables));
            let bare = codec::decode_call(&codec::encode_call(call, 3, 5)).unwrap();
            prop_assert_eq!((bare.who, bare.tables), (3, 5));
            let back = bare.with(&asked, &Arc::new(tables));
            prop_assert_eq!(bits(&back), bits(call));
            // As text, in which NaN equals itself.
            prop_assert_eq!(format!("{back:?}"), format!("{call:?}"));
        }
    }

    #[test]
    fn bytes_of_anything_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (codec::decode_call(&bytes), codec::decode_tables(&bytes), codec::decode_who(&bytes));
        let mut faults = Faults::default();
        prop_assert!(reader::calls(Path::new("x"), &bytes, &mut faults).is_empty());
    }
}

#[test]
fn records_that_do_not_say_what_the_limits_were_had_the_defaults() {
    let who = codec::Who::of(&placement(1, 1, 1));
    let bytes = codec::encode_who(7, &who);
    let mut limits = berth_core::columns::Writer::default();
    let Limits { fuel, deadline_ms, memory_bytes, file_bytes } = who.limits;
    [fuel, deadline_ms, memory_bytes as u64, file_bytes].into_iter().for_each(|limit| limits.number(limit));
    let old = bytes.strip_suffix(limits.0.as_slice()).unwrap();
    assert_eq!(codec::decode_who(old), Some((7, who)));
    assert_eq!(codec::decode_who(&bytes[..bytes.len() - 1]), None);
}

#[test]
fn the_newest_calls_are_found_from_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalSettings { age_ms: 160, ..settings(folder.path()) }).unwrap();
    let mut listener = journal.listener();
    // A file has a sixteenth of the age.
    (1..=100).for_each(|number| listener.called(&Arc::new(placement(number, number, 3))));
    drop(journal);
    assert!(segments(folder.path()).unwrap().len() > 8);
    let newest = |most: usize, from: u64| {
        let mut reader = Reader::open(folder.path()).unwrap().from(from);
        reader.keep_newest(most, |one| one.call.number % 10 == 0);
        reader.map(|one| one.call.number).collect::<Vec<u64>>()
    };
    assert_eq!(newest(3, 0), [80, 90, 100]);
    assert_eq!(newest(3, 85), [90, 100]);
    assert_eq!(newest(99, 0), [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    assert!(newest(0, 0).is_empty());
    // What is older than it takes is not even looked at.
    let oldest = segments(folder.path()).unwrap().remove(0);
    std::fs::write(&oldest.path, "damaged").unwrap();
    let mut reader = Reader::open(folder.path()).unwrap();
    reader.keep_newest(9, |one| one.call.number % 10 == 0);
    assert_eq!((reader.by_ref().count(), reader.faults().count), (9, 0));
}

#[test]
fn a_file_that_ends_anywhere_gives_what_was_whole() {
    let calls: Vec<Call> = (1..=6).map(|number| placement(number, 1_000 + number, 3)).collect();
    let (_folder, file) = written(&calls, Some(4));
    let bytes = std::fs::read(&file).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for end in 0..=bytes.len() {
        let mut faults = Faults::default();
        let read = reader::calls(&file, &bytes[..end], &mut faults);
        assert_eq!(faults, Faults::default(), "cut at {end}: a torn tail is no damage");
        assert!(read.iter().zip(&calls).all(|(read, call)| read.call == *call), "cut at {end}");
        seen.insert(read.len());
    }
    assert_eq!(seen, (0..=6).collect());
    let all = reader::calls(&file, &bytes, &mut Faults::default());
    let broken: Vec<u64> = all.iter().filter(|one| one.broke_rule.is_some()).map(|one| one.call.number).collect();
    assert_eq!(broken, [4]);
}

#[test]
fn a_flipped_byte_is_told_and_skipped_and_never_read_as_another_call() {
    let calls: Vec<Call> = (1..=5).map(|number| placement(number, 1_000 + number, 3)).collect();
    let (_folder, file) = written(&calls, None);
    let bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - super::frame::frame(CALL, &codec::encode_call(&calls[4], 0, 0)).len();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        let mut faults = Faults::default();
        let read = reader::calls(&file, &damaged, &mut faults);
        assert!(read.iter().all(|read| calls.contains(&read.call)), "byte {at}");
        assert!(read.len() < calls.len(), "byte {at}");
        // A length that reaches beyond the end of the file looks like a frame that is being written.
        assert!(faults.count > 0 || at >= last, "byte {at}");
    }
}

#[test]
fn size_and_age_stay_within_their_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let size = |dir: &Path| segments(dir).unwrap().iter().map(|file| file.path.metadata().unwrap().len()).sum::<u64>();
    let bounded = JournalSettings { bytes: 200_000, age_ms: 100_000, ..settings(folder.path()) };
    for round in 0..3_u64 {
        let journal = Journal::open(bounded.clone()).unwrap();
        let mut listener = journal.listener();
        for number in 1..=400 {
            listener.called(&Arc::new(placement(number, round * 1_000_000 + number, 40)));
        }
        drop(journal);
        assert!(size(folder.path()) <= 200_000, "{}", size(folder.path()));
    }
    let newest = Reader::open(folder.path()).unwrap().newest_ms().unwrap();
    assert_eq!(newest, 2_000_400);
    let kept: Vec<u64> = Reader::open(folder.path()).unwrap().map(|one| one.call.at_ms).collect();
    assert!(kept.len() > 50 && kept.is_sorted(), "{}", kept.len());
    assert!(kept.iter().all(|at| *at >= 2_000_000), "older rounds are too old");

    // One call a while later: everything before is too old.
    let journal = Journal::open(bounded).unwrap();
    journal.listener().called(&Arc::new(placement(1, 9_000_000, 40)));
    drop(journal);
    let kept: Vec<u64> = Reader::open(folder.path()).unwrap().map(|one| one.call.at_ms).collect();
    assert_eq!(kept, [9_000_000]);
}

#[test]
fn since_leaves_out_what_is_older() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4_u64 {
        let journal = Journal::open(settings(folder.path())).unwrap();
        let mut listener = journal.listener();
        (0..3).for_each(|step| listener.called(&Arc::new(placement(step + 1, round * 100 + step * 10, 3))));
    }
    let at = |from| Reader::open(folder.path()).unwrap().from(from).map(|one| one.call.at_ms).collect::<Vec<_>>();
    assert_eq!(at(0).len(), 12);
    assert_eq!(at(210), [210, 220, 300, 310, 320]);
    assert_eq!(at(320), [320]);
    assert!(at(321).is_empty());
}

#[test]
fn what_does_not_fit_the_queue_is_dropped_and_counted_and_nobody_waits() {
    let shared = Arc::new(Shared::default());
    let mut ear = Ear { shared: shared.clone(), waits: false };
    let call = Arc::new(placement(1, 1, 10_000));
    let most = QUEUED / size(&call);
    // Nobody takes anything out, so whoever waited would wait for ever.
    for _ in 0..most + 10 {
        ear.called(&call);
    }
    let queue = shared.lock();
    assert_eq!(queue.status.dropped, 10);
    assert_eq!(queue.items.len(), most);
}

#[test]
fn a_disk_that_takes_nothing_loses_calls_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalSettings { bytes: 100, ..settings(folder.path()) }).unwrap();
    journal.listener().called(&Arc::new(placement(1, 1, 50)));
    let status = loop {
        let status = journal.status();
        if status.lost > 0 {
            break status;
        }
        std::thread::yield_now();
    };
    assert_eq!(status.written, 0);
    assert!(status.error.unwrap().contains("too small"));
}

/// Prints bytes of a call, with its share of the tables, by number of candidates.
#[test]
fn a_call_is_compact() {
    for (n, most) in [(10, 600), (100, 2_500), (1_000, 16_000)] {
        let calls: Vec<Call> = (1..=100).map(|number| placement(number, number, n)).collect();
        let (_folder, file) = written(&calls, None);
        let bytes = file.metadata().unwrap().len() / 100;
        println!("{n} candidates: {bytes} bytes a call");
        assert!(bytes < most, "{n} candidates: {bytes} bytes a call");
    }
}
