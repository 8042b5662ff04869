//! The node agent: real API server, real daemon, real kernel.

mod cni;
mod connection;
pub mod equipment;
mod failures;
mod gates;
mod keep;
mod leftovers;
mod life;
mod outages;
mod pods;
mod registries;
mod rollout;
mod secrets;
mod waves;
