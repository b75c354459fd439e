//! Whole-system tests as a library: what the tests of the program and `xtask` run alike.
//!
//! Nothing here is part of the program. It looks at the program as a user does, by its command line and its HTTP API, and at
//! what it left behind with the store's own library.

pub mod crash;
