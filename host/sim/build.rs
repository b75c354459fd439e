//! Says whether the real traces are on this machine: tests that need them are marked as ignored where they are not.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(have_trace_data)");
    println!("cargo::rerun-if-env-changed=BERTH_DATA");
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("BERTH_DATA").map_or_else(beside, PathBuf::from);
    let present = data.join("alibaba-gpu-2023/openb_pod_list_default.csv");
    println!("cargo::rerun-if-changed={}", present.display());
    println!("cargo::rustc-env=BERTH_TRACE_DATA={}", data.display());
    if present.exists() {
        println!("cargo::rustc-cfg=have_trace_data");
    }
}
