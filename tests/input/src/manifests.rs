//! Manifests, the whole way: text, documents, objects, the planner's terms, a controller, a plan.
//!
//! - A text is accepted or refused whole. Each fault says in one short line where it is and how to mend it.
//! - What is refused leaves the store and the controller as they were.
//! - What is accepted reads back from its own YAML and JSON, and applying it again, or what the controller shows of it,
//!   changes nothing.
//! - The loops go on with it: every plan passes the check, every manifest that a member gets is one.

use berth_api::{Issue, LoadError, Loaded, Object, load};
use berth_control::ports::{ObjectKey, Revision, Store as _, Stored};
use berth_control::store::MemoryStore;
use berth_control::{ApplyOutcome, Controller, Refused, Settings};
use berth_core::native::Builtin;

use crate::still::{START, Still};

const FLEET: &str = include_str!("fleet.yaml");
/// Bytes of one fault's text at the most: some lines of a terminal.
const LONGEST_FAULT: usize = 4096;
/// Passes of the loops over what was accepted.
const PASSES: usize = 4;

/// Checks what holds of any text.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(loaded) = read(text) {
        apply(&loaded);
    }
}

/// Loads a text, and holds what came of it against what was promised.
pub(crate) fn read(text: &str) -> Option<Loaded> {
    match load("input.yaml", text) {
        Ok(loaded) => {
            assert_eq!(loaded.objects.len(), loaded.places.len(), "an object without a place");
            loaded.warnings.iter().for_each(|warning| is_told_well(warning, text));
            loaded.objects.iter().for_each(reads_back);
            Some(loaded)
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused for nothing");
            errors.iter().for_each(|error| is_told_well(error, text));
            None
        }
    }
}

pub(crate) fn is_told_well(error: &LoadError, text: &str) {
    // A carriage return ends a line, too.
    let lines = text.matches(['\n', '\r']).count() + 2;
    assert!((1..=lines).contains(&error.line), "a line that is not there: {error:?}");
    is_line(&error.to_string());
    assert!(says_how_to_mend(&error.issue), "a fault without a mend: {error:?}");
}

/// A mend stands by itself, or in a problem that says what must be.
fn says_how_to_mend(issue: &Issue) -> bool {
    !issue.problem.is_empty()
        && (!issue.mend.is_empty() || ["must be", ": "].iter().any(|said| issue.problem.contains(said)))
}

/// One short line that a terminal can show.
pub(crate) fn is_line(text: &str) {
    assert!(text.len() <= LONGEST_FAULT, "a fault of {} bytes: {:.200}", text.len(), text);
    assert!(!text.chars().any(char::is_control), "a fault that a terminal obeys: {text:?}");
}

fn reads_back(object: &Object) {
    let yaml = object.to_yaml();
    let again = load("again.yaml", &yaml).map(|loaded| loaded.objects);
    assert_eq!(again.as_deref(), Ok(std::slice::from_ref(object)), "YAML that reads differently:\n{yaml}");
    let json = Object::from_json(&object.to_json());
    assert_eq!(json.ok().as_ref(), Some(object), "JSON that reads differently:\n{yaml}");
}

/// A controller over a small fleet, and its store.
fn controller() -> (Controller, MemoryStore) {
    let store = MemoryStore::default();
    let mut controller = Controller::open(Box::new(store.clone()), Settings::default()).unwrap();
    let fleet = load("fleet.yaml", FLEET).unwrap();
    controller.apply(fleet.objects, START).unwrap();
    (controller, store)
}

fn stored(store: &MemoryStore) -> Vec<Stored> {
    store.changes(Revision(0)).unwrap()
}

fn apply(loaded: &Loaded) {
    let (mut controller, store) = controller();
    let (before, keys) = (stored(&store), controller.keys());
    let preview = controller.preview(&loaded.objects, START);
    assert_eq!(stored(&store), before, "a preview wrote");
    match controller.apply(loaded.objects.clone(), START) {
        Ok(applied) => {
            let outcomes = |all: &[berth_control::Applied]| {
                all.iter().map(|one| (one.key.clone(), one.outcome)).collect::<Vec<_>>()
            };
            assert_eq!(preview.ok().map(|all| outcomes(&all)), Some(outcomes(&applied)), "the preview is wrong");
            for warning in applied.iter().flat_map(|one| &one.warnings) {
                is_line(&warning.to_string());
            }
            is_settled(&mut controller, &store, loaded);
            go_on(controller, &store);
        }
        Err(Refused::Invalid(refusals)) => {
            assert!(preview.is_err(), "the preview accepts what is refused");
            assert!(!refusals.is_empty(), "refused for nothing");
            for refusal in &refusals {
                is_line(&refusal.to_string());
                let issue = &refusal.issue;
                let whole = !refusal.object.is_empty() && !issue.field.is_empty();
                assert!(whole && says_how_to_mend(issue), "{refusal:?}");
            }
            assert_eq!((stored(&store), controller.keys()), (before, keys), "what was refused left a trace");
        }
        Err(Refused::Store(error)) => panic!("the store is blamed for input: {error}"),
    }
}

/// Applying again changes nothing: neither the same objects, nor what the controller shows of them.
fn is_settled(controller: &mut Controller, store: &MemoryStore, loaded: &Loaded) {
    let before = stored(store);
    let applied = controller.apply(loaded.objects.clone(), START).unwrap();
    assert!(applied.iter().all(|one| one.outcome == ApplyOutcome::Unchanged), "applied twice: {applied:?}");
    for object in &loaded.objects {
        let shown = controller.get(&ObjectKey::from(&object.key())).unwrap();
        let yaml = berth_api::yaml::write(&shown);
        let again = load("shown.yaml", &yaml).unwrap_or_else(|errors| panic!("{errors:?} in what is shown:\n{yaml}"));
        let applied = controller.apply(again.objects, START).unwrap();
        assert!(applied.iter().all(|one| one.outcome == ApplyOutcome::Unchanged), "what is shown differs:\n{yaml}");
    }
    assert_eq!(stored(store), before, "what was unchanged was written");
}

/// The loops run, and a new start finds the same objects.
fn go_on(mut controller: Controller, store: &MemoryStore) {
    let mut world = Still::new(&["one", "two"]);
    let mut policies = Builtin::default();
    for _ in 0..PASSES {
        world.step(&mut controller, &mut policies).unwrap();
    }
    for key in controller.keys() {
        assert!(controller.get(&key).is_some(), "{key} is listed and cannot be read");
    }
    let again = Controller::open(Box::new(store.clone()), Settings::default()).unwrap();
    assert_eq!(again.keys(), controller.keys(), "a new start finds other objects");
}
