//! From a core module to a component that imports nothing.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::error::AuthorError;
use crate::project::Project;
use crate::wit;

/// Answers what a language's runtime asks of WASI.
const WASI: &str = include_str!("wasi.wat");

/// Makes a component of a module that says itself which world it implements.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>, AuthorError> {
    let adapter = wat::parse_str(WASI).map_err(|error| AuthorError::component(error.into()))?;
    let encoder = ComponentEncoder::default().validate(true).module(module);
    let encoder = encoder.and_then(|encoder| encoder.adapter("wasi_snapshot_preview1", &adapter));
    encoder.and_then(|mut encoder| encoder.encode()).map_err(AuthorError::component)
}

/// Makes a component of a module that does not say which world it implements: that of the project.
pub(crate) fn encode_as(project: &Project, mut module: Vec<u8>) -> Result<Vec<u8>, AuthorError> {
    let (resolve, world) = wit::world(project)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(AuthorError::component)?;
    encode(&module)
}
