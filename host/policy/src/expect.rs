//! Cases with what is expected of them, as files: questions to one policy, each with its answer.
//!
//! ```json
//! {
//!   "about": "what it shows, for a person",
//!   "given": { "fleet": …, "config": …, "request": …, "candidates": … },
//!   "expect": { "answer": { "assignments": […] } },
//!   "then": [ { "given": …, "expect": … } ]
//! }
//! ```
//!
//! What follows under `then` is asked in the same session, so it can show what a policy makes of a fleet that changes. In
//! place of the answer there can be what it must have in common with all good ones, see [`crate::property`].
//! Holds: answers are compared after both have been read as the types of the interface, bit for bit; one that breaks a rule
//! is never what was expected, whatever its properties are.

use berth_core::policy::{Decision, Kind, Move, Problem, Verdict};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::Output;
use crate::case::{Case, CaseError, CaseOutcome, Trial};
use crate::property;
use crate::stats::Failure;

/// A file of one or more questions to one policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// What it shows, for a person.
    #[serde(default)]
    pub about: String,
    pub given: Case,
    pub expect: Expect,
    /// Asked afterwards, in the same session and with the same configuration.
    #[serde(default)]
    pub then: Vec<Step>,
}

/// One question with its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub given: Case,
    pub expect: Expect,
}

/// What must come out.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub enum Expect {
    /// A decision, a verdict or moves. A field that is left out, such as `terms`, is not compared.
    Answer(Value),
    /// The policy gives no answer, for this reason.
    Problem(Problem),
    /// The call fails so, or its answer breaks a rule.
    Failure(Failure),
    /// The configuration is refused, or the first decision with it fails, for a reason that holds this text.
    Refused(String),
    /// The answer has these properties, by the kind of the policy, and breaks no rule.
    Properties(Map<String, Value>),
}

/// What is expected as a whole, by the name of its only field.
pub(crate) const WHOLE: [&str; 4] = ["answer", "problem", "failure", "refused"];

fn read<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("{name}: {error}"))
}

impl TryFrom<Map<String, Value>> for Expect {
    type Error = String;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, String> {
        let Some(name) = WHOLE.into_iter().find(|name| fields.contains_key(*name)) else {
            if fields.is_empty() {
                return Err(format!(
                    "expect is empty; it has one of {}, or properties of the answer",
                    WHOLE.join(", ")
                ));
            }
            return Ok(Expect::Properties(fields));
        };
        let value = fields.remove(name).unwrap_or_default();
        if let Some(other) = fields.keys().next() {
            return Err(format!("expect has {name}, which stands alone, and {other}"));
        }
        match name {
            "answer" => Ok(Expect::Answer(value)),
            "problem" => read(name, value).map(Expect::Problem),
            "failure" => read(name, value).map(Expect::Failure),
            _ => read(name, value).map(Expect::Refused),
        }
    }
}

impl From<Expect> for Map<String, Value> {
    fn from(expect: Expect) -> Self {
        let whole = |name: &str, value: Value| Map::from_iter([(name.to_owned(), value)]);
        match expect {
            Expect::Answer(answer) => whole("answer", answer),
            Expect::Problem(problem) => whole("problem", serde_json::to_value(problem).unwrap_or_default()),
            Expect::Failure(failure) => whole("failure", failure.as_str().into()),
            Expect::Refused(part) => whole("refused", part.into()),
            Expect::Properties(properties) => properties,
        }
    }
}

impl Trial {
    /// Asks all questions of a file. Returns, for the first whose answer is another one than expected, what differs.
    ///
    /// # Errors
    /// A file that is no case for a policy of this kind.
    pub fn test(&self, file: &CaseFile) -> Result<Result<(), String>, CaseError> {
        let steps = std::iter::once((&file.given, &file.expect)).chain(file.then.iter().map(|s| (&s.given, &s.expect)));
        let policy = match (self.configure(&file.given.config.clone().unwrap_or_default()), &file.expect) {
            (Ok(policy), _) => policy,
            (Err(error), Expect::Refused(part)) if error.to_string().contains(part.as_str()) => return Ok(Ok(())),
            (Err(error), expected) => return Ok(Err(differs(expected, &format!("refused: {error}")))),
        };
        let kind = policy.description.kind;
        let mut conversation = self.converse(&policy);
        for (number, (given, expected)) in steps.enumerate() {
            if number > 0 && given.config.as_ref().is_some_and(|config| !config.is_empty()) {
                let what = "a session keeps its configuration; write it in the first `given` alone";
                return Err(CaseError::Case(format!("then[{}].given.config: {what}", number - 1)));
            }
            let difference = match conversation.ask(given) {
                Ok(outcome) => compare(given, kind, expected, &outcome)?,
                Err(CaseError::Call { failure, .. }) if matches!(expected, Expect::Failure(it) if *it == failure) => {
                    None
                }
                Err(CaseError::Call { failure, what }) => {
                    Some(differs(expected, &format!("failure {}: {what}", failure.as_str())))
                }
                Err(other) => return Err(other),
            };
            if let Some(difference) = difference {
                let place = if number == 0 { String::new() } else { format!("then[{}]: ", number - 1) };
                return Ok(Err(format!("{place}{difference}")));
            }
        }
        Ok(Ok(()))
    }
}

fn differs(expected: &Expect, got: &str) -> String {
    let expected = serde_json::to_string(expected).unwrap_or_default();
    format!("expected {expected}, got {got}")
}

/// What differs, if anything does.
fn compare(given: &Case, kind: Kind, expected: &Expect, outcome: &CaseOutcome) -> Result<Option<String>, CaseError> {
    if let Expect::Properties(properties) = expected {
        // Read in any case, so that one that there is not is never taken for one that fails.
        property::known(kind, properties)?;
    }
    let got = match (&outcome.answer, &outcome.problem, &outcome.broken_rule) {
        (_, _, Some(rule)) => {
            let same = matches!(expected, Expect::Failure(Failure::BrokeRule));
            return Ok((!same).then(|| differs(expected, &format!("failure broke-rule: {rule}"))));
        }
        (_, Some(problem), _) => {
            let same = matches!(expected, Expect::Problem(it) if it == problem);
            let got = serde_json::to_string(problem).unwrap_or_default();
            return Ok((!same).then(|| differs(expected, &format!("problem {got}"))));
        }
        (answer, None, None) => answer.clone().unwrap_or_default(),
    };
    if let Expect::Properties(properties) = expected {
        return property::missed(&given.fleet, &given.question(kind)?, &output(kind, got)?, properties);
    }
    let Expect::Answer(wanted) = expected else {
        return Ok(Some(differs(expected, &format!("answer {got}"))));
    };
    let mut got = got;
    let mut wanted_typed = match kind {
        Kind::Placement => typed::<Decision>(wanted),
        Kind::Gang => typed::<Verdict>(wanted),
        Kind::Migration => typed::<Vec<Move>>(wanted),
    }?;
    if let (Value::Object(got), Value::Object(typed), Value::Object(wanted)) = (&mut got, &mut wanted_typed, wanted) {
        if let Some(unknown) = wanted.keys().find(|field| !typed.contains_key(*field)) {
            return Err(CaseError::Case(format!("expect.answer has a field `{unknown}` that no answer has")));
        }
        got.retain(|field, _| wanted.contains_key(field));
        typed.retain(|field, _| wanted.contains_key(field));
    }
    // As text, in which 0 and -0 are two numbers, as are all that differ in a bit.
    let (wanted, got) = (wanted_typed.to_string(), got.to_string());
    Ok((wanted != got).then(|| format!("expected answer {wanted}, got {got}")))
}

/// An answer of a policy of a kind, without the terms, which may have numbers that JSON has no word for.
fn output(kind: Kind, mut answer: Value) -> Result<Output, CaseError> {
    if let Value::Object(fields) = &mut answer {
        fields.remove("terms");
    }
    let output = match kind {
        Kind::Placement => serde_json::from_value(answer).map(Output::Placement),
        Kind::Gang => serde_json::from_value(answer).map(Output::Gang),
        Kind::Migration => serde_json::from_value(answer).map(Output::Migration),
    };
    output.map_err(|error| CaseError::Case(error.to_string()))
}

/// An expected answer as the interface's types write it, so that numbers are written in one way.
fn typed<T: for<'de> Deserialize<'de> + Serialize>(answer: &Value) -> Result<Value, CaseError> {
    let typed: Result<T, _> = serde_json::from_value(answer.clone());
    let written = typed.and_then(|typed| serde_json::to_value(typed));
    written.map_err(|error| CaseError::Case(format!("expect.answer: {error}")))
}
