//! Fuzzing: everything that reads what others wrote, by libFuzzer.
//!
//! A target reads bytes as one part of the system would, and may refuse them. It must not panic, hang, or hold more memory
//! than its limits, and panics itself where what it read breaks a promise. `tests/fuzz/run` builds targets with libFuzzer
//! and runs them for long; the tests of this crate run them for seconds, on seeds, damaged seeds and all inputs that were
//! found before, which are in `findings`.

#![expect(clippy::expect_used, reason = "what cannot fail: memory, and folders of the targets themselves")]

mod csi;
mod dispatchers;
mod helpers;
mod images;
mod journal;
mod machine;
mod objects;
mod plugin;
mod policies;
mod programs;
mod readers;
mod records;
mod requests;
mod values;
mod world;

use std::path::Path;

pub use programs::{Programs, set_programs};

/// Something that reads what others wrote.
#[derive(Clone, Copy, Debug)]
pub struct FuzzTarget {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Reads.
    pub read: fn(&[u8]),
    /// Well-formed input, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, read: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> FuzzTarget {
    FuzzTarget { name, read, seeds }
}

/// All of them.
pub const TARGETS: &[FuzzTarget] = &[
    target("cni", plugin::run, plugin::seeds),
    target("connections", requests::connection, requests::connection_seeds),
    target("csi", csi::run, csi::seeds),
    target("dispatchers", dispatchers::run, dispatchers::seeds),
    target("evidence", images::evidence, images::evidence_seeds),
    target("helpers", helpers::run, helpers::seeds),
    target("history", journal::run, journal::seeds),
    target("images", images::document, images::document_seeds),
    target("layers", images::layer, images::layer_seeds),
    target("machine", machine::run, machine::seeds),
    target("netlink", machine::netlink, machine::netlink_seeds),
    target("objects", objects::run, objects::seeds),
    target("policies", policies::run, policies::seeds),
    target("readers", readers::run, readers::seeds),
    target("records", records::run, records::seeds),
    target("requests", requests::request, requests::request_seeds),
    target("values", values::run, values::seeds),
];

/// Writes the seeds of a target as files of a folder.
///
/// # Errors
/// They cannot be written.
pub fn write_seeds(target: &FuzzTarget, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}
