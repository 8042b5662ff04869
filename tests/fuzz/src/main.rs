//! One target under libFuzzer: `FUZZ_TARGET=NAME fuzz [libFuzzer's arguments]`.
//!
//! With `FUZZ_SEEDS=FOLDER` it writes the target's seeds there instead, and with `FUZZ_TARGET=list` names all targets.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod engine {
    use std::process::exit;
    use std::sync::OnceLock;

    use bpfman_fuzz::{FuzzTarget, TARGETS, write_seeds};

    static TARGET: OnceLock<FuzzTarget> = OnceLock::new();

    fn begin() {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            exit(if name == "list" { 0 } else { 2 });
        };
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

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without instrumentation: tests/fuzz/run builds it with");
    std::process::exit(2);
}
