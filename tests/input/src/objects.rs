//! Manifests that are almost right: good ones with some fields changed.
//!
//! Random text seldom gets past the first look. These texts do, and what [`crate::manifests`] says of any text holds of
//! them.

use std::sync::OnceLock;

use berth_api::load;
use serde_json::{Map, Value, json};

use crate::choices::Choices;
use crate::manifests;

const GOOD: [&str; 7] = [
    include_str!("../../../host/api/testdata/ack-one.yaml"),
    include_str!("../../../host/api/testdata/fleet.yaml"),
    include_str!("../../../host/api/testdata/karmada.yaml"),
    include_str!("../../../host/api/testdata/pytorchjob.yaml"),
    include_str!("../../../host/api/testdata/spark-pi.yaml"),
    include_str!("../../../host/api/testdata/vllm-qwen3.yaml"),
    include_str!("more.yaml"),
];
/// Objects of one text, and changes of one object, at the most.
const OBJECTS: usize = 4;
const CHANGES: usize = 6;

/// Makes a text of good objects with changes, and checks it.
pub fn check(data: &[u8]) {
    let text = text(&mut Choices::new(data));
    manifests::check(text.as_bytes());
}

/// A good fleet file with changes.
#[cfg(feature = "wasm")]
pub(crate) fn fleet(data: &[u8]) -> String {
    const FLEET: [&str; 3] = [include_str!("fleet.yaml"), include_str!("simulation.yaml"), include_str!("work.yaml")];
    let mut choices = Choices::new(data);
    let objects = FLEET.iter().flat_map(|text| load("good.yaml", text).unwrap().objects);
    let mut objects: Vec<Value> = objects.map(|object| object.to_value()).filter(|_| choices.below(16) != 1).collect();
    for _ in 0..choices.below(CHANGES) {
        let at = choices.below(objects.len());
        if let Some(object) = objects.get_mut(at) {
            change(object, &mut choices);
        }
    }
    let texts: Vec<String> = objects.iter().map(berth_api::yaml::write).collect();
    texts.join("---\n")
}

fn text(choices: &mut Choices<'_>) -> String {
    let mut text = String::new();
    for _ in 0..=choices.below(OBJECTS) {
        let mut object = choices_of(good(), choices).clone();
        for _ in 0..choices.below(CHANGES) {
            change(&mut object, choices);
        }
        text.push_str("---\n");
        text.push_str(&berth_api::yaml::write(&object));
        if choices.are_over() {
            break;
        }
    }
    text
}

fn choices_of<'a>(values: &'a [Value], choices: &mut Choices<'_>) -> &'a Value {
    &values[choices.below(values.len())]
}

fn good() -> &'static [Value] {
    static GOOD_OBJECTS: OnceLock<Vec<Value>> = OnceLock::new();
    GOOD_OBJECTS.get_or_init(|| {
        let objects = GOOD.iter().flat_map(|text| load("good.yaml", text).unwrap().objects);
        objects.map(|object| object.to_value()).collect()
    })
}

/// Goes down from the root, and changes what it meets where it stops.
fn change(value: &mut Value, choices: &mut Choices<'_>) {
    let here = choices.below(4) == 3;
    match value {
        Value::Object(map) if !map.is_empty() && !here => {
            let at = choices.below(map.len());
            if let Some((_, inner)) = map.iter_mut().nth(at) {
                change(inner, choices);
            }
        }
        Value::Array(items) if !items.is_empty() && !here => {
            let at = choices.below(items.len());
            change(&mut items[at], choices);
        }
        other => change_here(other, choices),
    }
}

fn change_here(value: &mut Value, choices: &mut Choices<'_>) {
    match (choices.below(6), &mut *value) {
        (0, Value::Object(map)) => {
            let at = choices.below(map.len().max(1));
            if let Some(key) = map.keys().nth(at).cloned() {
                map.shift_remove(&key);
            }
        }
        (1, Value::Object(map)) => {
            let key = word(choices);
            map.insert(key, any(choices));
        }
        (2, Value::Object(map)) => {
            for number in 0..choices.byte() {
                map.insert(format!("k{number}"), format!("v{number}").into());
            }
        }
        (0, Value::Array(items)) => drop(items.pop()),
        (1, Value::Array(items)) => {
            let more = items.first().cloned().unwrap_or(Value::Null);
            items.extend(vec![more; usize::from(choices.byte())]);
        }
        (3, _) => *value = json!([value.take()]),
        (4, Value::String(text)) => {
            let at = choices.below(text.len().min(250) + 1);
            let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let piece = word(choices);
            text.insert_str(at, &piece);
        }
        _ => *value = any(choices),
    }
}

const WORDS: [&str; 34] = [
    "",
    "a",
    "one",
    "two",
    "default",
    "everything",
    "one-large",
    "gpu.large",
    "metadata",
    "spec",
    "status",
    "name",
    "namespace",
    "labels",
    "annotations",
    "generation",
    "creationTimestamp",
    "berth.dev/last-order",
    "replicas",
    "nvidia.com/gpu",
    "nvidia.com/gpu-share",
    "cpu",
    "pods",
    "1Gi",
    "0.1n",
    "-1",
    "9223372036854775807",
    "1e400",
    "1m..2m",
    "99999999999d",
    "a\u{1b}[31m\u{7}\r\n",
    "\u{85}\u{2028}\u{feff}",
    "..",
    "In",
];

fn word(choices: &mut Choices<'_>) -> String {
    match choices.below(WORDS.len() + 2) {
        0 => "x".repeat(usize::from(choices.byte()) * 16),
        1 => "é".repeat(usize::from(choices.byte())),
        at => WORDS[at - 2].to_owned(),
    }
}

fn any(choices: &mut Choices<'_>) -> Value {
    match choices.below(12) {
        0 => Value::Null,
        1 => choices.flag().into(),
        2 => choices.byte().into(),
        3 => choices.pick(&[-1, i64::MIN, i64::MAX, 1 << 31, (1 << 31) - 1, u32::MAX as i64]).into(),
        4 => choices.pick(&[u64::MAX, 1 << 63, 1 << 53]).into(),
        5 => json!(choices.pick(&[0.5, -0.0, 1e308, 5e-324, 1e18])),
        6 => json!([]),
        7 => json!({}),
        8 => {
            let mut deep = Value::Null;
            for _ in 0..choices.byte() % 60 {
                deep = json!([deep]);
            }
            deep
        }
        9 => {
            let from = choices_of(good(), choices);
            let fields: Vec<&Value> = from.as_object().into_iter().flat_map(Map::values).collect();
            fields[choices.below(fields.len())].clone()
        }
        _ => word(choices).into(),
    }
}
