//! New projects: what `berth policy new` writes builds at once and passes its own cases.

use berth_author::{Language, Project};
use berth_core::policy::Kind;

use crate::examples::{cases, faults, kept, left_out, runtime};

/// One kind a language; the sources are those of the examples, so this is about what surrounds them. What has passed once
/// is not built again: the examples show what a changed host makes of it.
fn builds_and_passes(kind: Kind, language: Language) {
    let folder = tempfile::tempdir().unwrap();
    let project: Project = berth_author::create(&folder.path().join("near"), "near", kind, language).unwrap();
    let passed = kept(&project);
    if passed.is_file() {
        return;
    }
    if let Some(missing) = berth_author::missing(&project) {
        left_out(&format!("a new project in {language}"), &missing);
        return;
    }
    let made = berth_author::make(&project, &runtime(), None).unwrap_or_else(|error| panic!("{error}"));
    let description = made.trial.inspection().description;
    assert_eq!((description.name.as_str(), description.kind), ("near", kind));
    let cases = cases(&project.cases());
    assert!(!cases.is_empty());
    assert_eq!(faults(&made.trial, &cases), Vec::<String>::new());
    std::fs::copy(made.file, passed).unwrap();
}

#[test]
fn rust() {
    builds_and_passes(Kind::Placement, Language::Rust);
}

#[test]
fn go() {
    builds_and_passes(Kind::Migration, Language::Go);
}

#[test]
fn c() {
    builds_and_passes(Kind::Gang, Language::C);
}

#[test]
fn js() {
    builds_and_passes(Kind::Placement, Language::Js);
}

#[test]
fn python() {
    builds_and_passes(Kind::Gang, Language::Python);
}

#[test]
fn every_kind_and_language_has_a_template() {
    for kind in Kind::ALL {
        for language in Language::ALL {
            let folder = tempfile::tempdir().unwrap();
            let project = berth_author::create(folder.path(), "near", kind, language).unwrap();
            assert_eq!((project.kind, project.language, project.name.as_str()), (kind, language, "near"));
            assert!(!cases(&project.cases()).is_empty());
            let again = berth_author::create(folder.path(), "near", kind, language).unwrap_err();
            assert!(again.to_string().contains("the folder is not empty"), "{again}");
        }
    }
}

/// A migration policy that cannot do without the name of a cluster.
const NEEDS_A_CLUSTER: &str = r##"
use berth_sdk::migration::{How, Move, State};
use berth_sdk::serde::Deserialize;
use berth_sdk::{Fleet, Migration, Policy, Problem};

#[derive(Debug, Deserialize)]
#[serde(crate = "berth_sdk::serde")]
pub struct Config {
    cluster: String,
}

impl berth_sdk::Config for Config {
    fn schema() -> String {
        r#"{"type":"object","required":["cluster"],"properties":{"cluster":{"type":"string"}}}"#.into()
    }

    fn parse(json: &str) -> Result<Self, String> {
        berth_sdk::from_json(json)
    }
}

#[derive(Debug)]
pub struct Empty(Config);

impl Policy for Empty {
    const NAME: &str = "near";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DOC: &str = "Empties a cluster";
    type Config = Config;

    fn new(config: Config, _: &Fleet) -> Result<Self, Problem> {
        Ok(Self(config))
    }
}

impl Migration for Empty {
    fn decide(&mut self, fleet: &Fleet, state: State) -> Result<Vec<Move>, Problem> {
        let placed = &state.placed;
        let here = |row: &usize| fleet.name(placed.cluster[*row]) == self.0.cluster;
        let leave = |row: usize| Move {
            row: row as u32,
            replicas: placed.desired[row],
            how: How::Gracefully,
            reason: "it is emptied".into(),
        };
        Ok((0..placed.cluster.len()).filter(here).map(leave).collect())
    }
}

berth_sdk::export_migration!(Empty);
"##;

#[test]
fn a_project_says_with_which_configuration_it_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
    berth_author::create(folder.path(), "near", Kind::Migration, Language::Rust).unwrap();
    write("src/lib.rs", NEEDS_A_CLUSTER);
    let manifest = "name = \"near\"\nkind = \"migration\"\nlanguage = \"rust\"\n";
    write("policy.toml", &format!("{manifest}[config]\ncluster = \"gone\"\n"));
    let project = Project::open(folder.path()).unwrap();
    let passed = kept(&project);
    if passed.is_file() {
        return;
    }
    if let Some(missing) = berth_author::missing(&project) {
        left_out("a project with a configuration", &missing);
        return;
    }
    let made = berth_author::make(&project, &runtime(), None).unwrap_or_else(|error| panic!("{error}"));
    let mut cases = cases(&project.cases());
    cases.retain(|(name, _)| name == "stays.json");
    assert_eq!(cases.len(), 1);
    cases[0].1.given.config = Some(project.config.clone());
    assert_eq!(faults(&made.trial, &cases)[0].split(", ").next(), Some("stays.json: expected that all leave at-once"));

    write("policy.toml", manifest);
    let error = berth_author::make(&Project::open(folder.path()).unwrap(), &runtime(), None).unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("its configuration is refused") && why.contains("cluster"), "{why}");
    assert!(error.hint().contains("[config] in policy.toml"), "{}", error.hint());
    std::fs::copy(made.file, passed).unwrap();
}
