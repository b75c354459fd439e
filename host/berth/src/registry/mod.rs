//! The client of OCI registries: what a reference names, who may have it, and a policy as an artifact in it.
//!
//! The protocol is that of the OCI distribution specification 1.1; the artifact is the Wasm OCI artifact layout of CNCF TAG
//! Runtime, which other tools for components write and read.
//!
//! Holds: no bytes leave this module but those of the digest that was asked for, or that the manifest names; logins go to the
//! registry and to the token service that it names, never after a redirection, and are in no message; what a registry says
//! is cut, and cleaned of what a terminal obeys, before it is shown.

mod agent;
mod artifact;
mod client;
mod digest;
mod login;
mod reference;

pub(crate) use artifact::{Artifact, Manifest};
pub(crate) use client::{Client, Settings};
pub(crate) use digest::Digest;
pub(crate) use reference::Reference;
