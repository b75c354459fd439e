//! Fleet files: a fleet, what runs on it, and how it is simulated.
//!
//! - A file is accepted or refused whole; what is refused is told in short lines.
//! - What is accepted is accepted by the controller too, or refused there with a reason and nothing kept.
//! - The simulation of what is accepted starts, or says why not; it runs, and its controller plans for it.

use std::collections::BTreeMap;

use berth_api::fleet_file::load_fleet;
use berth_control::event::Event;
use berth_control::ports::{Events, Revision, Store as _};
use berth_control::store::MemoryStore;
use berth_control::{Controller, Refused, Settings};
use berth_core::native::Builtin;
use berth_sim::{Driver, Options, Simulation, Source};

use crate::manifests::{is_line, is_told_well};
use crate::objects;
use crate::still::START;

/// Instants of a simulation that are looked at.
const INSTANTS: usize = 12;

struct Nobody;

impl Events for Nobody {
    fn emit(&mut self, event: Event) {
        assert!(!event.to_string().is_empty());
    }
}

/// Checks what holds of any text. After a first byte of 0 the others choose what is changed in a good fleet file.
pub fn check(data: &[u8]) {
    match data.strip_prefix(b"\0") {
        Some(choices) => of(&objects::fleet(choices)),
        None => std::str::from_utf8(data).map(of).unwrap_or_default(),
    }
}

fn of(text: &str) {
    let loaded = match load_fleet("fleet.yaml", text) {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert!(!errors.is_empty(), "refused for nothing");
            return errors.iter().for_each(|error| is_told_well(error, text));
        }
    };
    let store = MemoryStore::default();
    let mut controller = Controller::open(Box::new(store.clone()), Settings::default()).unwrap();
    match controller.apply(loaded.objects.clone(), START) {
        Ok(_) => {}
        Err(Refused::Invalid(refusals)) => {
            assert!(!refusals.is_empty() && store.changes(Revision(0)).unwrap().is_empty());
            return refusals.iter().for_each(|refusal| is_line(&refusal.to_string()));
        }
        Err(Refused::Store(error)) => panic!("the store is blamed for input: {error}"),
    }
    let series = [("stock.csv", "time,a,b\n0,1,1\n300,0,1\n"), ("load.csv", "time\n0\n1\n100\n")];
    let source = Source::Texts(series.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
    let spec = berth_sim::example::simulation(&loaded.objects);
    let mut simulation = match Simulation::new(&loaded.objects, spec, 1, START, &source, Options::default()) {
        Ok(simulation) => simulation,
        Err(error) => return is_line(&error.to_string()),
    };
    let (mut policies, mut nobody) = (Builtin::default(), Nobody);
    let mut driver = Driver {
        controller: &mut controller,
        simulation: &mut simulation,
        policies: &mut policies,
        events: &mut nobody,
    };
    for _ in 0..INSTANTS {
        let pass = driver.pass().unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let Some(next) = pass.next else { break };
        driver.advance(next);
    }
    let kinds = controller.keys().into_iter().fold(BTreeMap::new(), |mut kinds: BTreeMap<_, usize>, key| {
        *kinds.entry(key.kind).or_default() += 1;
        kinds
    });
    assert!(!kinds.is_empty() || loaded.objects.is_empty(), "what was accepted is gone");
}
