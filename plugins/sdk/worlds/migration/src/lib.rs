//! What wit-bindgen makes of the world `migration-policy`.
//!
//! A crate of its own, because the three worlds share an interface, and so the macros made for it would share a name.
#![allow(unreachable_pub, clippy::all, reason = "generated")]

wit_bindgen::generate!({
    world: "migration-policy",
    path: "../../../../wit/v0.1",
    pub_export_macro: true,
    with: { "berth:policy/fleet@0.1.0": berth_world_placement::berth::policy::fleet },
    additional_derives: [PartialEq],
});
