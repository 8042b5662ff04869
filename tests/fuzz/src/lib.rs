//! Fuzzing of all code that reads untrusted data, with libFuzzer.
//!
//! A target reads bytes like one part of the system, and may refuse them. It must not panic, hang, or exceed its memory
//! limits, and it panics itself if the result violates an invariant. `tests/fuzz/run` builds the targets with libFuzzer
//! and runs them for a long time; the tests of this crate run them for seconds, on seeds, damaged seeds and all earlier
//! findings, which are in `findings`.

#![expect(clippy::expect_used, reason = "what cannot fail: memory, and folders of the targets themselves")]
#![allow(missing_docs, reason = "equipment of tests: documented where the name does not say it")]

mod csi;
mod dispatchers;
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
mod sessions;
mod values;
mod workers;
mod world;

use std::path::Path;

pub use programs::{Programs, set_programs};

#[derive(Clone, Copy, Debug)]
pub struct FuzzTarget {
    pub name: &'static str,
    pub read: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, read: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> FuzzTarget {
    FuzzTarget { name, read, seeds }
}

pub const TARGETS: &[FuzzTarget] = &[
    target("cni", plugin::run, plugin::seeds),
    target("connections", requests::connection, requests::connection_seeds),
    target("csi", csi::run, csi::seeds),
    target("dispatchers", dispatchers::run, dispatchers::seeds),
    target("evidence", images::evidence, images::evidence_seeds),
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
    target("sessions", sessions::run, sessions::seeds),
    target("values", values::run, values::seeds),
    target("workers", workers::run, workers::seeds),
];

pub fn write_seeds(target: &FuzzTarget, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}
