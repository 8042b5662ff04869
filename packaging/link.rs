//! How `bpfman` and `bpfmand` are linked: the build script of both.
//!
//! A debug build goes to a fixed address. Otherwise the dynamic loader corrects 170,000 addresses at each start, which is a third
//! of what a short command takes; tests start these programs thousands of times. Releases stay position-independent.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=BPFMAN_STATIC");
    let debug = env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    // packaging/containers/build sets it: it has rustc link statically, which excludes this and which no build script sees.
    if debug && env::var_os("BPFMAN_STATIC").is_none() {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
