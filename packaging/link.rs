//! Build script of `bpfman` and `bpfmand`, which sets linker options.
//!
//! Debug builds are linked to a fixed address. Otherwise the dynamic loader relocates 170,000 addresses at each start,
//! which is a third of a short command's run time; tests start these programs thousands of times. Release builds stay
//! position-independent.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=BPFMAN_STATIC");
    let debug = env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    // packaging/containers/build sets it for static linking, which excludes this option and is invisible to build
    // scripts.
    if debug && env::var_os("BPFMAN_STATIC").is_none() {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
