//! The control loops, over ports.
//!
//! A loop is a plain function over the whole state: it takes what is (store contents, observations, time) and returns what
//! to do. The controller carries the actions out one by one. Nothing here assumes a simulation, and nothing here is
//! asynchronous: one thread owns the state, runs all loops and calls the policies.

pub mod event;
pub mod ports;
pub mod store;
pub mod view;
