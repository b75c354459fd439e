//! Draws what stands beside policies: versions that decide as well as the slot's own, or otherwise, or not at all.

use super::deciders::FUEL;
use super::dice::Dice;

/// A version that sooner or later does what none should. Its time is filled in.
const FROM: &str = "FROM";

/// Slots with versions for them, as lines of their tables.
const VERSIONS: [(&str, &[&str]); 6] = [
    (
        "cost",
        &[
            "config = { leadUsdPerHour = 0.0 }",
            "file = \"available.wasm\"",
            "file = \"aggregate.wasm\"",
            "file = \"misbehave.wasm\"",
        ],
    ),
    ("weighted", &["file = \"misbehave.wasm\"", "file = \"cost.wasm\""]),
    ("available", &["file = \"misbehave.wasm\"", "file = \"cost.wasm\""]),
    ("aggregate", &["file = \"misbehave.wasm\"", "file = \"cost.wasm\""]),
    (
        "fifo",
        &[
            "config = { backfill = false }",
            "config = { backfill = true }",
            "file = \"misbehave-gang.wasm\"\nconfig = { mode = \"any\", from_ms = FROM }",
            "file = \"misbehave-gang.wasm\"\nconfig = { mode = \"any\", from_ms = FROM }",
            "file = \"misbehave-gang.wasm\"\nconfig = { mode = \"hold\", from_ms = FROM }",
            "file = \"misbehave-gang.wasm\"\nconfig = { mode = \"admit\", from_ms = FROM }",
            "file = \"misbehave-gang.wasm\"\nconfig = { mode = \"preempt\", from_ms = FROM }",
        ],
    ),
    (
        "ready",
        &[
            "config = { maxMoves = 1 }",
            "config = { maxMoves = 0 }",
            "file = \"misbehave-migration.wasm\"\nconfig = { mode = \"any\", from_ms = FROM }",
            "file = \"misbehave-migration.wasm\"\nconfig = { mode = \"any\", from_ms = FROM }",
            "file = \"misbehave-migration.wasm\"\nconfig = { mode = \"softly\", from_ms = FROM }",
            "file = \"misbehave-migration.wasm\"\nconfig = { mode = \"trap\", from_ms = FROM }",
        ],
    ),
];

/// A slot, what stands beside it, and its table. What comes at `now` misbehaves after that.
pub(super) fn draw(dice: &mut Dice, now: u64) -> (&'static str, &'static str, String) {
    let (slot, versions) = *dice.pick(&VERSIONS);
    let from = now + 1 + dice.between(0, 10 * 60_000);
    let mut version = dice.pick(versions).replace(FROM, &from.to_string());
    version.push_str(&format!("\nlimits = {{ fuel = {FUEL} }}\n"));
    if dice.chance(35) {
        return (slot, "shadow", version);
    }
    match dice.between(0, 3) {
        0 => version.push_str(&format!("labels = {{ app = \"w{}\" }}\n", dice.between(0, 8))),
        _ => version.push_str(&format!("share = {}\n", dice.pick(&["0.1", "0.5", "0.5", "1.0"]))),
    }
    if dice.chance(70) {
        let (after, most) = (dice.between(1, 20), dice.pick(&["0.0", "0.05", "1000.0"]));
        let bounds = ["waiting", "cost", "leaving"].map(|bound| format!("{bound} = {most}")).join(", ");
        let refusals = dice.pick(&["0.0", "0.3", "1.0"]);
        version.push_str(&format!("guard = {{ after = {after}, {bounds}, refusals = {refusals} }}\n"));
    }
    (slot, "canary", version)
}
