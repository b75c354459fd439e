//! The program under SIGKILL, a few rounds of what `cargo run --release -p xtask -- crash` does with many.

use std::path::Path;

use berth_tests::crash::{self, Dice, Options, torn};

#[test]
fn what_was_accepted_survives_being_killed_and_damage_is_never_served() {
    let folder = tempfile::tempdir().unwrap().keep();
    let options = Options {
        program: env!("CARGO_BIN_EXE_berth").into(),
        policies: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies"),
        folder: folder.join("crash"),
        rounds: 5,
        seed: 1,
        settle_every: 5,
        load_ms: 700,
    };
    // The folder is kept where a promise was broken.
    let report = crash::run(&options, |_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.kills >= 5 && report.writes > 0 && report.rests == 1, "{report:?}");
    let tally = torn::start_damaged(&options, &mut Dice::new(1, 3), 4).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(tally.reported + tally.exact, 4);
    std::fs::remove_dir_all(folder).unwrap();
}
