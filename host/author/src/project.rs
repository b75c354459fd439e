//! A policy's project: a folder with its sources and `policy.toml`, which says what they are.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use berth_core::policy::Kind;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::AuthorError;

const MANIFEST: &str = "policy.toml";
const EXAMPLE: &str = "policy.toml has three lines: name = \"near\", kind = \"placement\" (or \"gang\", \"migration\"), \
                       language = \"python\" (or \"rust\", \"js\", \"c\", \"go\"); and where the policy needs one, the table \
                       [config] with its configuration";

/// A language that policies can be built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Rust,
    Js,
    Python,
    C,
    Go,
}

impl Language {
    pub const ALL: [Language; 5] = [Language::Rust, Language::Js, Language::Python, Language::C, Language::Go];

    pub fn as_str(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Js => "js",
            Language::Python => "python",
            Language::C => "c",
            Language::Go => "go",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Language::ALL.into_iter().find(|language| language.as_str() == text);
        found.ok_or_else(|| format!("use one of {}", Language::ALL.map(Language::as_str).join(", ")))
    }
}

/// A folder with a policy's sources.
#[derive(Clone, Debug)]
pub struct Project {
    /// Absolute.
    pub folder: PathBuf,
    pub name: String,
    pub kind: Kind,
    pub language: Language,
    /// Configuration of the first decision, of the benchmark, and of cases that bring none.
    pub config: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    kind: Kind,
    language: Language,
    #[serde(default)]
    config: Map<String, Value>,
}

impl Project {
    /// Reads a project's `policy.toml`.
    ///
    /// # Errors
    /// If there is none, or it is not valid.
    pub fn open(folder: &Path) -> Result<Self, AuthorError> {
        let manifest = folder.join(MANIFEST);
        let wrong = |what: String| AuthorError::Project { path: folder.to_owned(), what, hint: EXAMPLE.to_owned() };
        let text = match fs::read_to_string(&manifest) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(wrong("it has no policy.toml".into()));
            }
            Err(error) => return Err(AuthorError::io(&manifest, "read")(error)),
        };
        let Manifest { name, kind, language, config } = toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
            let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
            wrong(format!("{MANIFEST}{line}: {}", error.message()))
        })?;
        if !is_name(&name) {
            return Err(wrong(format!("{MANIFEST}: name {name:?} must have 1 to 63 of a-z, 0-9 and -")));
        }
        let folder = std::path::absolute(folder).map_err(AuthorError::io(folder, "found"))?;
        Ok(Self { folder, name, kind, language, config })
    }

    /// The project beside whose `policy.toml` a component is; `None` where there is none, or it is another policy's.
    ///
    /// # Errors
    /// A `policy.toml` that is not valid.
    pub fn of_component(file: &Path) -> Result<Option<Self>, AuthorError> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.join(MANIFEST).is_file() {
            return Ok(None);
        }
        let project = Self::open(folder)?;
        Ok((project.component().file_name() == file.file_name()).then_some(project))
    }

    /// Where `berth policy build` puts the component.
    pub fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }

    /// Where its cases are.
    pub fn cases(&self) -> PathBuf {
        self.folder.join("cases")
    }

    /// What is made on the way; can be deleted at any time.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.folder.join("build")
    }

    /// Name of the world that the component implements.
    pub(crate) fn world(&self) -> String {
        format!("{}-policy", self.kind.as_str())
    }
}

/// Whether a policy can be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}
