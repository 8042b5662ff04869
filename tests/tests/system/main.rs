//! The system as its users meet it, on the kernel that is there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod answers;
mod apply;
mod chain_front;
mod chain_orders;
mod chain_traces;
mod chains;
mod cli;
mod csi;
mod csi_calls;
mod csi_equipment;
mod csi_golden;
mod csi_kill;
mod csi_propagation;
mod csi_readers;
mod csi_registration;
mod equipment;
mod flood;
mod golden;
mod hardening;
mod images;
mod images_cache;
mod images_proxy;
mod images_users;
mod kill;
mod life;
mod loading;
mod node;
mod robustness;
mod run_samples;
mod strangers;
mod strangers_return;
mod types;
mod whole_loads;
