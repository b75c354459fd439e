//! What can go wrong on the way to a component, each with what to do about it.

use std::path::{Path, PathBuf};

use berth_policy::LoadError;

#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    #[error("{path} cannot be {done}", path = .path.display())]
    Io {
        path: PathBuf,
        /// As in "cannot be read".
        done: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is no policy project: {what}", path = .path.display())]
    Project { path: PathBuf, what: String, hint: String },
    #[error("{tool} is missing")]
    Missing { tool: &'static str, install: String },
    #[error("{tool} fails:\n{output}")]
    Tool { tool: String, output: String },
    #[error("no component can be made of what the tools have built")]
    Component(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the component would be refused by a controller")]
    Refused(#[source] LoadError),
}

impl AuthorError {
    /// What to do about it; empty where nobody knows.
    pub fn hint(&self) -> &str {
        match self {
            AuthorError::Project { hint, .. } => hint,
            AuthorError::Missing { install, .. } => install,
            AuthorError::Refused(LoadError::Config { .. }) => {
                "write the configuration that it needs under [config] in policy.toml"
            }
            AuthorError::Io { .. } | AuthorError::Tool { .. } | AuthorError::Component(_) | AuthorError::Refused(_) => {
                ""
            }
        }
    }

    pub(crate) fn io(path: &Path, done: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| AuthorError::Io { path: path.to_owned(), done, source }
    }

    pub(crate) fn component(error: anyhow::Error) -> Self {
        AuthorError::Component(error.into())
    }
}
