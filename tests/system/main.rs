//! Whole-system tests: the program as a user runs it, by scripts of commands with the output that is expected.
//!
//! `BERTH_UPDATE=1 cargo test -p berth --test system` writes what was printed into the scripts; read the difference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod killed;
mod pattern;
mod registry;
mod script;
mod secrets;
mod signatures;

macro_rules! scripts {
    ($($name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                script::run(stringify!($name));
            }
        )*
    };
}

scripts! {
    author,
    crash,
    example,
    policies,
    slots,
    policy,
    refused,
    replay,
    running,
    stuck,
    trust,
    usage,
}
