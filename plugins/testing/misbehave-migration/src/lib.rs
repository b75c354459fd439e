//! A migration policy that does what none should, to test the host: from a time on, so that it passes its probe and is in
//! force by then. Before that it moves nothing.

use std::hint::black_box;

use berth_sdk::migration::{How, Move, State};
use berth_sdk::{Fleet, Migration, Policy, Problem};

berth_sdk::config! {
    /// What to do wrong, and when.
    pub struct Config {
        /// A way to misbehave; `any` for one after the other.
        mode: String = String::new(),
        /// From then on, in milliseconds since the Unix epoch.
        from_ms: u64 = 0,
    }
}

const MODES: [&str; 8] = ["trap", "", "loop", "unknown-row", "move", "over-desired", "part", "softly"];

/// One session.
#[derive(Debug)]
pub struct Misbehave {
    config: Config,
}

impl Policy for Misbehave {
    const NAME: &'static str = "misbehave-migration";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DOC: &'static str = "Does what no migration policy should, to test the host";
    type Config = Config;

    fn new(config: Config, _: &Fleet) -> Result<Self, Problem> {
        Ok(Self { config })
    }
}

impl Migration for Misbehave {
    fn decide(&mut self, _: &Fleet, state: State) -> Result<Vec<Move>, Problem> {
        let Config { mode, from_ms } = &self.config;
        let mode = match mode.as_str() {
            _ if state.now_ms < *from_ms => "",
            "any" => MODES[(state.now_ms / 1000 % MODES.len() as u64) as usize],
            mode => mode,
        };
        let desired = &state.placed.desired;
        let rows = desired.len() as u32;
        let leave = |row: u32, replicas, how| Move { row, replicas, how, reason: "on a whim".into() };
        let everything = |how| (0..).zip(desired).map(|(row, desired)| leave(row, *desired, how)).collect();
        Ok(match mode {
            "trap" => std::process::abort(),
            "loop" => forever(),
            "unknown-row" => vec![leave(rows, 1, How::AtOnce)],
            "over-desired" => {
                vec![leave(0, desired.first().map_or(1, |desired| desired.saturating_add(1)), How::AtOnce)]
            }
            // Breaks a rule where anything of it stays together.
            "part" => (0..rows).map(|row| leave(row, desired[row as usize].min(1), How::Gracefully)).collect(),
            "move" => everything(How::AtOnce),
            "softly" => everything(How::Gracefully),
            _ => vec![],
        })
    }
}

fn forever() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

berth_sdk::export_migration!(Misbehave);
