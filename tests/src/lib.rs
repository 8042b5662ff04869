//! Whole-system tests: the daemon's and the client's binaries on the kernel that is there.
//!
//! Each test has a folder, a bpffs, a daemon and network namespaces of its own, so that all run side by side. What is
//! tested is in `tests/system`; this crate is the equipment: guards that start things and take them down again, also
//! when a test fails.
//!
//! The binaries are taken from the build folder that the test itself lies in, or from `BPFMAN_BIN_DIR`. A test of
//! something that the kernel lacks prints `SKIPPED(<feature>): <test>` to standard error and passes; see [`skip`].
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "equipment of tests: a failure here fails the test"
)]

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
pub mod pods;
pub mod profile;
pub mod prometheus;
pub mod proxy;
pub mod random;
pub mod registry;
pub mod requests;
pub mod scrape;
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
