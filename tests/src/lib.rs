//! Whole-system tests: binaries of the daemon and the client on the running kernel.
//!
//! Each test has its own directory, bpffs, daemon and network namespaces, so that all run in parallel. The tests are in
//! `tests/system`; this crate has their equipment: guards that start things and stop them again, also when a test
//! fails.
//!
//! The binaries are those of the test's build directory, or of `BPFMAN_BIN_DIR`. A test of a feature that the kernel
//! lacks prints `SKIPPED(<feature>): <test>` to standard error and passes; see [`skip`].
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "equipment of tests: a failure here fails the test"
)]
#![allow(missing_docs, reason = "equipment of tests: documented where the name does not say it")]

pub mod accessibility;
pub mod binaries;
pub mod browser;
pub mod certificates;
pub mod checksum;
pub mod cluster_pages;
pub mod command;
pub mod compile;
pub mod console;
pub mod container;
pub mod control_group;
pub mod csi;
pub mod daemon;
pub mod faketime;
pub mod flood;
pub mod hex;
pub mod http;
pub mod image_containers;
pub mod inside;
pub mod kernel;
pub mod local_connection;
pub mod monitoring;
pub mod mount_namespace;
pub mod network;
pub mod page;
pub mod perf;
pub mod pods;
pub mod profile;
pub mod prometheus;
pub mod proxy;
pub mod random;
pub mod registry;
pub mod requests;
pub mod scrape;
pub mod sessions;
pub mod shell_words;
pub mod skip;
pub mod target;
pub mod traffic;
pub mod users;
pub mod wait;
pub mod wire;

pub use command::Outcome;
pub use daemon::{Daemon, Launch, State};
pub use mount_namespace::MountNamespace;
pub use network::Network;
pub use wire::Wire;
