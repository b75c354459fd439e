//! What wit-bindgen makes of the world `placement-policy`.
//!
//! A crate of its own, because the three worlds share an interface, and so the macros made for it would share a name.
#![allow(unreachable_pub, clippy::all, reason = "generated")]

wit_bindgen::generate!({
    world: "placement-policy",
    path: "../../../../wit/v0.1",
    pub_export_macro: true,
    generate_unused_types: true,
    additional_derives: [PartialEq],
});
