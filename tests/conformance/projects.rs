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
