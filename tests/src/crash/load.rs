//! Load: clients that write objects of their own as fast as they are answered, and somebody who swaps policies.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client::{Answer, Client};
use super::dice::Dice;
use super::fleet::{Name, Version};
use super::knowledge::{Knowledge, Write};

/// Objects of one client.
const OBJECTS: u64 = 16;

/// Writes until `stop`, or until there is no answer. Gives what was learned, and answers that should not be.
pub(crate) fn write(
    client: &Client,
    number: usize,
    mut dice: Dice,
    mut knowledge: Knowledge,
    stop: &AtomicBool,
) -> (Knowledge, Vec<String>) {
    let mut faults = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let write = draw(number, &mut dice, &knowledge);
        let deletes = write.values().all(Option::is_none);
        knowledge.sent(write.clone());
        let answer = if deletes {
            client.delete(write.keys())
        } else {
            client.apply(write.iter().filter_map(|(name, version)| Some((name, version.as_ref()?))))
        };
        match answer {
            Answer::Done(_) => knowledge.answered(true),
            Answer::Refused(status, text) => {
                knowledge.answered(false);
                match status {
                    429 | 503 => std::thread::sleep(Duration::from_millis(1 + dice.below(20))),
                    // The first deletion may come before there is anything of that kind.
                    404 if deletes => {}
                    _ => faults.push(format!("refused with {status}: {text}")),
                }
            }
            Answer::Lost(_) => break,
        }
    }
    (knowledge, faults)
}

fn draw(client: usize, dice: &mut Dice, knowledge: &Knowledge) -> Write {
    let several = if dice.chance(35) { 2 + dice.below(5) } else { 1 };
    let deletes = dice.chance(25);
    let mut write = Write::new();
    for _ in 0..several {
        if deletes {
            let there: Vec<&Name> = knowledge.names().collect();
            let chosen = there.get(dice.below(there.len() as u64) as usize);
            let name = chosen.map_or_else(|| Name::new(client, dice.below(OBJECTS)), |name| (*name).clone());
            write.insert(name, None);
        } else {
            let name = Name::new(client, dice.below(OBJECTS));
            let replicas = name.kind.replicas(dice.below(100) as u32);
            write.insert(name, Some(Version { number: dice.below(1 << 40), replicas }));
        }
    }
    write
}

/// Which policy decides where the distribution policy leaves it free. All others decide natively, since every component
/// has to be compiled at every start.
pub(crate) const FREE: [&str; 2] = ["cost", "aggregate"];

/// `policies.toml` where `free` decides.
pub(crate) fn config(free: &str) -> String {
    format!("[placement]\nFree = \"{free}\"\n")
}

/// Swaps policies until `stop`: another one decides, or a file is broken for a moment. Puts everything right at the end.
pub(crate) fn swap(sound: &Path, folder: &Path, mut dice: Dice, stop: &AtomicBool) -> std::io::Result<u64> {
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) {
        match dice.below(3) {
            0 => replace(folder, "aggregate.wasm", &fs::read(sound.join("aggregate.wasm"))?)?,
            1 => replace(folder, "aggregate.wasm", b"no component")?,
            _ => {
                let free = FREE[dice.below(FREE.len() as u64) as usize];
                replace(folder, "policies.toml", config(free).as_bytes())?;
            }
        }
        swaps += 1;
        let until = Instant::now() + Duration::from_millis(50 + dice.below(300));
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    for name in ["aggregate.wasm", "policies.toml"] {
        replace(folder, name, &fs::read(sound.join(name))?)?;
    }
    Ok(swaps)
}

/// Whole or not at all, as an operator's tools write.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let partial = folder.join(format!(".{name}"));
    fs::write(&partial, bytes)?;
    fs::rename(partial, folder.join(name))
}
