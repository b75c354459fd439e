//! JSON Schemas of Berth's own resources, and a check of values against them that finds every fault.
//!
//! The check knows the part of JSON Schema that the derived schemas use. It exists beside deserialisation because that
//! stops at the first fault and does not know its path.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::duration::{Duration, DurationRange};
use crate::issue::{Issue, did_you_mean, join, quoted};
use crate::quantity;
use crate::resources::{
    Cluster, DistributionPolicy, NodePool, Offering, OverridePolicy, Placement, QuotaTree, Simulation,
};

/// A kind of Berth's own group.
#[derive(Clone, Debug)]
pub struct KindSchema {
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    /// Of the object without `apiVersion` and `kind`.
    pub schema: Schema,
}

static SCHEMAS: LazyLock<Vec<KindSchema>> = LazyLock::new(|| {
    fn of<T: JsonSchema>(kind: &'static str, plural: &'static str, namespaced: bool) -> KindSchema {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        KindSchema { kind, plural, namespaced, schema: settings.into_generator().into_root_schema_for::<T>() }
    }
    vec![
        of::<Cluster>("Cluster", "clusters", false),
        of::<NodePool>("NodePool", "nodepools", false),
        of::<Offering>("Offering", "offerings", false),
        of::<DistributionPolicy>("DistributionPolicy", "distributionpolicies", true),
        of::<DistributionPolicy>("ClusterDistributionPolicy", "clusterdistributionpolicies", false),
        of::<OverridePolicy>("OverridePolicy", "overridepolicies", true),
        of::<OverridePolicy>("ClusterOverridePolicy", "clusteroverridepolicies", false),
        of::<QuotaTree>("QuotaTree", "quotatrees", false),
        of::<Placement>("Placement", "placements", true),
        of::<Simulation>("Simulation", "simulations", false),
    ]
});

/// The kinds of group `berth.dev/v1alpha1` with their schemas.
pub fn schemas() -> &'static [KindSchema] {
    &SCHEMAS
}

pub(crate) fn schema_of(kind: &str) -> Option<&'static KindSchema> {
    SCHEMAS.iter().find(|schema| schema.kind == kind)
}

/// Every fault of `value` by `schema`.
pub fn check(schema: &Schema, value: &Value) -> Vec<Issue> {
    let mut check = Check { root: schema.as_value(), issues: Vec::new() };
    check.value(schema.as_value(), value, "");
    check.issues
}

struct Check<'a> {
    root: &'a Value,
    issues: Vec<Issue>,
}

impl<'a> Check<'a> {
    fn issue(&mut self, path: &str, problem: String, mend: impl Into<String>) {
        self.issues.push(Issue::new(path, problem, mend));
    }

    fn value(&mut self, schema: &'a Value, value: &Value, path: &str) {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or((), |target| self.value(target, value, path));
        }
        if let Some(format) = schema.get("format").and_then(Value::as_str)
            && self.format(format, schema, value, path)
        {
            return;
        }
        if let Some(allowed) = allowed(schema) {
            return self.one_of(&allowed, value, path);
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(alternatives) = schema.get(keyword).and_then(Value::as_array) {
                return self.alternatives(alternatives, value, path);
            }
        }
        if self.has_type(schema, value, path) {
            match value {
                Value::Object(map) => self.object(schema, map, path),
                Value::Array(items) => self.array(schema, items, path),
                Value::Number(number) => self.number(schema, number, path),
                Value::String(text) => self.text(schema, text, path),
                Value::Null | Value::Bool(_) => {}
            }
        }
    }

    /// Whether the format decides alone.
    fn format(&mut self, format: &str, schema: &Value, value: &Value, path: &str) -> bool {
        match format {
            "quantity" => {
                if let Err(error) = quantity::from_value(value) {
                    self.issue(path, format!("{} {error}", quoted(value)), "");
                }
                true
            }
            "berth-duration" | "berth-duration-range" => {
                let fault = match value.as_str() {
                    None => Some("must be a string such as 35s".to_owned()),
                    Some(text) if format == "berth-duration" => {
                        Duration::parse(text).err().map(|error| format!("{} {error}", quoted(value)))
                    }
                    Some(text) => DurationRange::parse(text).err().map(|error| {
                        format!(
                            "{} {error}, or a range of two from the shorter to the longer, such as 35s..55s",
                            quoted(value)
                        )
                    }),
                };
                if let Some(fault) = fault {
                    self.issue(path, fault, "");
                }
                true
            }
            "uint32" | "int32" | "uint64" | "int64" | "uint16" => {
                let (least, most) = match format {
                    "uint32" => (0, i128::from(u32::MAX)),
                    "uint16" => (0, i128::from(u16::MAX)),
                    "int32" => (i128::from(i32::MIN), i128::from(i32::MAX)),
                    "uint64" => (0, i128::from(u64::MAX)),
                    _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
                };
                let Value::Number(number) = value else { return false };
                let whole = number.as_i128().or_else(|| number.as_u64().map(i128::from));
                let least = schema
                    .get("minimum")
                    .and_then(Value::as_i64)
                    .map_or(least, |minimum| least.max(i128::from(minimum)));
                if !whole.is_some_and(|whole| (least..=most).contains(&whole)) {
                    self.issue(
                        path,
                        format!("{number} is out of range"),
                        format!("use a whole number from {least} to {most}"),
                    );
                }
                true
            }
            _ => false,
        }
    }

    fn one_of(&mut self, allowed: &[&'a str], value: &Value, path: &str) {
        let list = allowed.join(", ");
        match value.as_str() {
            Some(text) if allowed.contains(&text) => {}
            Some(text) => {
                let mend = did_you_mean(text, allowed.iter().copied()).map_or_else(
                    || format!("use one of: {list}"),
                    |meant| format!("did you mean {meant:?}? Allowed are: {list}"),
                );
                self.issue(path, format!("{text:?} is not allowed"), mend);
            }
            None => self.issue(path, format!("must be one of {list}, not {}", shape_of(value)), ""),
        }
    }

    fn alternatives(&mut self, alternatives: &'a [Value], value: &Value, path: &str) {
        let real: Vec<&Value> =
            alternatives.iter().filter(|schema| schema.get("type") != Some(&Value::from("null"))).collect();
        if real.len() < alternatives.len() && value.is_null() {
            return;
        }
        let mut first: Option<Vec<Issue>> = None;
        for schema in real {
            let mut check = Check { root: self.root, issues: Vec::new() };
            check.value(schema, value, path);
            if check.issues.is_empty() {
                return;
            }
            first.get_or_insert(check.issues);
        }
        self.issues.extend(first.unwrap_or_default());
    }

    fn has_type(&mut self, schema: &Value, value: &Value, path: &str) -> bool {
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => return true,
        };
        let fits = types.iter().any(|one| match *one {
            "integer" => value.as_i64().is_some() || value.as_u64().is_some(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            "null" => value.is_null(),
            _ => true,
        });
        if !fits {
            let wanted = types.iter().copied().find(|one| *one != "null").unwrap_or("null");
            let wanted = match wanted {
                "integer" => "a whole number",
                "number" => "a number",
                "string" => "a string",
                "boolean" => "true or false",
                "object" => "a mapping",
                "array" => "a list",
                _ => "null",
            };
            let mend =
                if wanted == "a string" && !value.is_object() && !value.is_array() { "write it in quotes" } else { "" };
            self.issue(path, format!("must be {wanted}, not {}", shape_of(value)), mend);
        }
        fits
    }

    fn object(&mut self, schema: &'a Value, map: &serde_json::Map<String, Value>, path: &str) {
        let properties: BTreeMap<&str, &'a Value> = schema
            .get("properties")
            .and_then(Value::as_object)
            .map(|properties| properties.iter().map(|(key, schema)| (key.as_str(), schema)).collect())
            .unwrap_or_default();
        for (key, value) in map {
            let at = join(path, key);
            match (properties.get(key.as_str()), schema.get("additionalProperties")) {
                (Some(schema), _) => self.value(schema, value, &at),
                (None, Some(Value::Bool(false))) => {
                    let mend = did_you_mean(key, properties.keys().copied()).map_or_else(
                        || {
                            format!(
                                "remove it; known fields are: {}",
                                properties.keys().copied().collect::<Vec<_>>().join(", ")
                            )
                        },
                        |meant| format!("did you mean {meant:?}?"),
                    );
                    self.issue(&at, "is no known field".to_owned(), mend);
                }
                (None, Some(schema)) => self.value(schema, value, &format!("{path}[{key:?}]")),
                (None, None) => {}
            }
        }
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !map.contains_key(required) {
                self.issue(&join(path, required), "is missing".to_owned(), "this field is required");
            }
        }
    }

    fn array(&mut self, schema: &'a Value, items: &[Value], path: &str) {
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.value(schema, item, &format!("{path}[{index}]"));
            }
        }
        if let Some(least) = schema.get("minItems").and_then(Value::as_u64)
            && (items.len() as u64) < least
        {
            self.issue(path, format!("has {} entries", items.len()), format!("give it at least {least}"));
        }
    }

    fn number(&mut self, schema: &Value, number: &serde_json::Number, path: &str) {
        let Some(value) = number.as_f64() else { return };
        if let Some(least) = schema.get("minimum").and_then(Value::as_f64)
            && value < least
        {
            self.issue(path, format!("{number} is too small"), format!("use at least {least}"));
        }
        if let Some(most) = schema.get("maximum").and_then(Value::as_f64)
            && value > most
        {
            self.issue(path, format!("{number} is too large"), format!("use at most {most}"));
        }
    }

    fn text(&mut self, schema: &Value, text: &str, path: &str) {
        let length = text.chars().count() as u64;
        if let Some(least) = schema.get("minLength").and_then(Value::as_u64)
            && length < least
        {
            self.issue(path, "is empty".to_owned(), "give it a value");
        }
        if let Some(most) = schema.get("maxLength").and_then(Value::as_u64)
            && length > most
        {
            self.issue(path, format!("has {length} characters"), format!("use at most {most}"));
        }
    }
}

/// The words that a schema of an enumeration allows; `None` if it is none.
fn allowed(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return Some(words.iter().filter_map(Value::as_str).collect());
    }
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![word]);
    }
    let alternatives = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    let nullable = Value::from("null");
    let words: Option<Vec<Vec<&str>>> =
        alternatives.iter().filter(|schema| schema.get("type") != Some(&nullable)).map(allowed).collect();
    words.map(|words| words.concat()).filter(|words| !words.is_empty())
}

fn shape_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.chars().count() <= 40 => format!("the string {text:?}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

#[cfg(test)]
mod tests;
