//! The bundled example, part of the program: a fleet, an application, a day of stock and an hour of load.

use berth_api::resources::SimulationSpec;
use berth_api::{LoadError, Object};

use crate::table::Source;

/// Name under which faults in the example are reported.
pub const FILE: &str = "example/fleet.yaml";

/// The fleet file.
pub const FLEET: &str = include_str!("../example/fleet.yaml");

const FILES: &[(&str, &str)] =
    &[("stock.csv", include_str!("../example/stock.csv")), ("load.csv", include_str!("../example/load.csv"))];

/// All objects of the example: clusters, pools, offerings, the application with its policies, and the `Simulation`.
///
/// # Errors
/// None, as a test says; the file is read like any other.
pub fn fleet_objects() -> Result<Vec<Object>, Vec<LoadError>> {
    Ok(berth_api::fleet_file::load_fleet(FILE, FLEET)?.objects)
}

/// Where the example's series are.
pub fn source() -> Source {
    Source::Embedded(FILES)
}

/// The `Simulation` document among `objects`, if there is one.
pub fn simulation(objects: &[Object]) -> Option<&SimulationSpec> {
    objects.iter().find_map(|object| match object {
        Object::Simulation(simulation) => Some(&simulation.spec),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use berth_core::ids::Millis;

    use super::*;
    use crate::{Options, Simulation};

    #[test]
    fn the_example_is_valid_and_begins_without_nodes() {
        let objects = fleet_objects().unwrap();
        let spec = simulation(&objects).unwrap();
        let world = Simulation::new(&objects, Some(spec), 1, Millis(0), &source(), Options::default()).unwrap();
        assert_eq!((world.nodes(), world.end()), (0, Some(Millis(90 * 60_000))));
        assert_eq!(world.fleet.clusters.len(), 3);
    }
}
