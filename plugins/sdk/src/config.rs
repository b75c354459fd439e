//! A policy's configuration: read from JSON with serde, described by a JSON Schema that is written with it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A configuration that a policy accepts. [`config!`](crate::config!) writes it; by hand it is a schema and a way to read
/// it, such as [`from_json`].
pub trait Config: Sized {
    /// JSON Schema (draft 2020-12). The host checks a configuration against it before a session is made.
    fn schema() -> String;

    /// Reads a configuration.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    fn parse(json: &str) -> Result<Self, String>;
}

/// Reads a value from JSON with serde.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// No configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NoConfig {}

impl Config for NoConfig {
    fn schema() -> String {
        String::new()
    }

    /// Takes anything: without a schema the host accepts an empty configuration alone.
    fn parse(_: &str) -> Result<Self, String> {
        Ok(Self {})
    }
}

/// Defines a configuration: a struct with a default for each field, read with serde, and its JSON Schema from the
/// field types ([`Setting`]) and doc comments. Unknown fields are refused.
///
/// ```
/// berth_sdk::config! {
///     /// What counts as close.
///     pub struct Config {
///         /// Milliseconds that users accept.
///         latency_ms: f64 = 50.0,
///         /// Regions that are never used.
///         avoid: Vec<String> = vec![],
///     }
/// }
///
/// use berth_sdk::Config as _;
/// assert_eq!(Config::default().latency_ms, 50.0);
/// assert_eq!(Config::parse(r#"{"avoid": ["us"]}"#).unwrap().avoid, ["us"]);
/// assert!(Config::parse(r#"{"latency": 9}"#).unwrap_err().contains("unknown field `latency`"));
/// assert!(Config::schema().contains(r#""latency_ms":{"type":"number","description":"Milliseconds that users accept."}"#));
/// ```
#[macro_export]
macro_rules! config {
    ($(#[doc = $about:literal])* $visibility:vis struct $name:ident {
        $($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr),* $(,)?
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, $crate::serde::Deserialize)]
        #[serde(crate = "berth_sdk::serde", default, deny_unknown_fields)]
        $visibility struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::Config for $name {
            fn schema() -> String {
                $crate::__private::object_schema(concat!($($about,)* ""), &[
                    $($crate::__private::property::<$type>(stringify!($field), concat!($($doc,)* "")),)*
                ])
            }

            fn parse(json: &str) -> Result<Self, String> {
                $crate::from_json(json)
            }
        }
    };
}

/// A type that a field of a [`config!`](crate::config!) may have.
pub trait Setting {
    /// Its JSON Schema without the outer braces, such as `"type":"number"`.
    fn schema() -> String;
}

macro_rules! settings {
    ($($type:ty => $schema:literal,)*) => {
        $(impl Setting for $type {
            fn schema() -> String {
                $schema.into()
            }
        })*
    };
}

settings! {
    bool => r#""type":"boolean""#,
    f64 => r#""type":"number""#,
    u32 => r#""type":"integer","minimum":0,"maximum":4294967295"#,
    u64 => r#""type":"integer","minimum":0"#,
    i64 => r#""type":"integer""#,
    String => r#""type":"string""#,
}

impl<T: Setting> Setting for Vec<T> {
    fn schema() -> String {
        format!(r#""type":"array","items":{{{}}}"#, T::schema())
    }
}

impl<T: Setting> Setting for BTreeMap<String, T> {
    fn schema() -> String {
        format!(r#""type":"object","additionalProperties":{{{}}}"#, T::schema())
    }
}

/// One property of an object's schema.
pub fn property<T: Setting>(name: &str, doc: &str) -> String {
    format!(r#"{}:{{{},"description":{}}}"#, quoted(name), T::schema(), quoted(doc))
}

/// The schema of an object with `properties`.
pub fn object_schema(doc: &str, properties: &[String]) -> String {
    let properties = properties.join(",");
    let doc = quoted(doc);
    format!(r#"{{"type":"object","description":{doc},"properties":{{{properties}}},"additionalProperties":false}}"#)
}

/// A JSON string of `text`, trimmed as doc comments are.
fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.trim().chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            control if control < ' ' => json.push(' '),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::config! {
        /// Says "all" there is,
        /// in two lines.
        struct All {
            a: bool = true,
            /// Back\slash.
            b: Vec<String> = vec!["x".into()],
            c: BTreeMap<String, f64> = BTreeMap::new(),
            d: u32 = 7,
            e: u64 = 8,
            f: i64 = -9,
        }
    }

    #[test]
    fn the_schema_is_json_and_names_every_field() {
        let schema: serde_json::Value = serde_json::from_str(&All::schema()).expect("valid JSON");
        assert_eq!(schema["description"], "Says \"all\" there is, in two lines.");
        assert_eq!(schema["properties"]["b"]["items"]["type"], "string");
        assert_eq!(schema["properties"]["b"]["description"], "Back\\slash.");
        assert_eq!(schema["properties"]["c"]["additionalProperties"]["type"], "number");
        assert_eq!(schema["properties"].as_object().map(|fields| fields.len()), Some(6));
    }

    #[test]
    fn what_is_not_given_is_the_default() {
        let config = All::parse(r#"{"d": 1, "c": {"eu": 2.5}}"#).expect("valid");
        let expected = All { d: 1, c: [("eu".to_owned(), 2.5)].into(), ..All::default() };
        assert_eq!(config, expected);
        assert!(All::parse(r#"{"d": -1}"#).is_err());
        assert!(All::parse("[").is_err());
    }
}
