//! The cluster controller: sums up what nodes say, deploys daemon and agent, and marks nodes.
//!
//! Watches ([`watches`]) feed [`memory`]; what an application comes to is worked out by [`summarize`], at most once a
//! second each (`bpfman_runtime::queue`), and written only if it differs; [`rollout`] says
//! which node runs which revision. [`run`] is the loop around all of it,
//! [`deploy`] a loop of its own beside it. Several controllers may run; [`leader`] says which one acts.

pub mod act;
pub mod conditions;
pub mod decide;
pub mod deploy;
#[cfg(test)]
mod fixture;
pub mod flags;
pub mod leader;
pub mod mark;
pub mod memory;
pub mod metrics;
pub mod note;
pub mod pace;
pub mod projection;
pub mod readers;
pub mod reap;
pub mod rollout;
pub mod run;
pub mod serve;
mod start;
pub mod summarize;
pub mod taint;
pub mod text;
pub mod watches;
pub mod wire;

pub use flags::Flags;
pub use start::start;
