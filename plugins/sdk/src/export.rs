//! From the traits to the component's exports: sessions, configuration, `describe`.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::bindings::{Changes, Problem, Tables};
use crate::config::Config;
use crate::fleet::Fleet;
use crate::policy::{Gang, Migration, Placement, Policy};
use crate::{gang, migration, placement, problem};

/// A component that exports `P`. The macros name it; nothing makes a value of it.
#[derive(Debug)]
pub struct Exported<P>(PhantomData<P>);

/// One session: the fleet as the host last described it, and the policy, or why there is none.
///
/// The host never enters a session twice at a time, so the borrows below cannot meet.
#[derive(Debug)]
pub struct Session<P>(RefCell<(Fleet, Result<P, Problem>)>);

impl<P: Policy> Session<P> {
    pub(crate) fn start(tables: Tables, config: &str) -> Self {
        let fleet = Fleet::new(tables);
        let policy = P::Config::parse(config)
            .map_err(|error| problem::unsupported(format!("the configuration of {} is not valid: {error}", P::NAME)))
            .and_then(|config| P::new(config, &fleet));
        Self(RefCell::new((fleet, policy)))
    }

    pub(crate) fn apply(&self, changes: Changes) {
        let (fleet, policy) = &mut *self.0.borrow_mut();
        fleet.apply(changes);
        if let Ok(policy) = policy {
            policy.fleet_changed(fleet);
        }
    }

    pub(crate) fn call<T>(&self, decide: impl FnOnce(&mut P, &Fleet) -> Result<T, Problem>) -> Result<T, Problem> {
        let (fleet, policy) = &mut *self.0.borrow_mut();
        match policy {
            Ok(policy) => decide(policy, fleet),
            Err(problem) => Err(problem.clone()),
        }
    }
}

macro_rules! world {
    ($world:ident, $interface:ident, $trait:ident, $method:ident($($argument:ident: $type:ty),*) -> $output:ty) => {
        impl<P: $trait> $world::exports::berth::policy::about::Guest for Exported<P> {
            fn describe() -> $world::exports::berth::policy::about::Description {
                $world::exports::berth::policy::about::Description {
                    name: P::NAME.into(),
                    version: P::VERSION.into(),
                    kind: $world::exports::berth::policy::about::Kind::$trait,
                    config_schema: P::Config::schema(),
                    doc: P::DOC.into(),
                    needs: P::NEEDS.iter().map(|need| (*need).into()).collect(),
                }
            }
        }

        impl<P: $trait> $world::exports::berth::policy::$interface::Guest for Exported<P> {
            type Session = Session<P>;
        }

        impl<P: $trait> $world::exports::berth::policy::$interface::GuestSession for Session<P> {
            fn new(fleet: Tables, config: String) -> Self {
                Self::start(fleet, &config)
            }

            fn update(&self, changes: Changes) {
                self.apply(changes);
            }

            fn $method(&self, $($argument: $type),*) -> Result<$output, Problem> {
                self.call(|policy, fleet| policy.$method(fleet, $($argument),*))
            }
        }
    };
}

world!(berth_world_placement, placement, Placement,
    place(request: placement::Request, candidates: placement::Candidates) -> placement::Decision);
world!(berth_world_gang, gang, Gang, decide(queue: gang::Queue) -> gang::Verdict);
world!(berth_world_migration, migration, Migration, decide(state: migration::State) -> Vec<migration::Move>);

/// Makes the crate a component that exports a [`Placement`] policy. Once in a crate.
#[macro_export]
macro_rules! export_placement {
    ($policy:ty) => {
        $crate::__export!($policy, berth_world_placement);
    };
}

/// Makes the crate a component that exports a [`Gang`] policy. Once in a crate.
#[macro_export]
macro_rules! export_gang {
    ($policy:ty) => {
        $crate::__export!($policy, berth_world_gang);
    };
}

/// Makes the crate a component that exports a [`Migration`] policy. Once in a crate.
#[macro_export]
macro_rules! export_migration {
    ($policy:ty) => {
        $crate::__export!($policy, berth_world_migration);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($policy:ty, $world:ident) => {
        // Only in Wasm: the names of the exports are none that a linker of a shared library takes.
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "generated exports")]
        const _: () = {
            type Component = $crate::__private::Exported<$policy>;
    $crate::__private::$world::export!(Component with_types_in $crate::__private::$world);
        };
    };
}
