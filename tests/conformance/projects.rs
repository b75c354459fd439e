//! New projects: what `berth policy new` writes builds at once and passes its own cases.

use berth_author::{Language, Project};
use berth_core::policy::Kind;
use berth_policy::Trial;

use crate::examples::{cases, faults, left_out, runtime};

/// One kind a language; the sources are those of the examples, so this is about what surrounds them.
fn builds_and_passes(kind: Kind, language: Language) {
    let folder = tempfile::tempdir().unwrap();
    let project: Project = berth_author::create(&folder.path().join("near"), "near", kind, language).unwrap();
    if let Some(missing) = berth_author::missing(&project) {
        left_out(&format!("a new project in {language}"), &missing);
        return;
    }
    let made = berth_author::make(&project, &runtime(), None).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((made.inspection.description.name.as_str(), made.inspection.description.kind), ("near", kind));
    let trial = Trial::open(&runtime(), &project.component()).unwrap();
    let cases = cases(&project.cases());
    assert!(!cases.is_empty());
    assert_eq!(faults(&trial, &cases), Vec::<String>::new());
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
