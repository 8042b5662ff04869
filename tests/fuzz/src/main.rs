//! Runs one target with libFuzzer: `FUZZ_TARGET=NAME fuzz [libFuzzer's arguments]`.
//!
//! With `FUZZ_SEEDS=FOLDER` it writes the target's seeds there instead, and with `FUZZ_TARGET=list` it prints the names
//! of all targets.
#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(feature = "libfuzzer")]
mod engine {
    use std::process::exit;
    use std::sync::OnceLock;

    use bpfman_fuzz::{FuzzTarget, Programs, TARGETS, set_programs, write_seeds};

    static TARGET: OnceLock<FuzzTarget> = OnceLock::new();

    fn begin() {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            exit(if name == "list" { 0 } else { 2 });
        };
        let compiled = |variable| std::env::var_os(variable).unwrap_or_default().into();
        set_programs(Programs { object: compiled("FUZZ_OBJECT"), binary: compiled("FUZZ_BINARY") });
        if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
            if let Err(error) = write_seeds(target, folder.as_ref()) {
                eprintln!("seeds of {name}: {error}");
                exit(1);
            }
            exit(0);
        }
        TARGET.get_or_init(|| *target);
    }

    libfuzzer_sys::fuzz_target!(init: begin(), |bytes: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.read)(bytes);
        }
    });
}

#[cfg(not(feature = "libfuzzer"))]
fn main() {
    eprintln!("built without instrumentation: tests/fuzz/run builds it with");
    std::process::exit(2);
}
