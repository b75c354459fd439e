//! What the author of a policy needs: a project to start from, and the way from its sources to a component.
//!
//! ```text
//! template -> project (policy.toml) -> build (the language's own tools) -> component -> check, as a controller does
//! ```
//!
//! Holds: a component that is handed out imports nothing, has the types of the interface, and has taken a first decision.
//! Tools are looked for, never installed; where one is missing, the error says how to get it.

mod build;
mod component;
mod error;
mod files;
mod project;
mod template;
mod tools;
mod wit;

pub use build::{Made, make};
pub use error::AuthorError;
pub use project::{Language, Project};
pub use template::create;
pub use tools::missing;
