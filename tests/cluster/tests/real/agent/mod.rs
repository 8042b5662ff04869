//! The node agent: real API server, real daemon, real kernel.

mod cni;
mod equipment;
mod failures;
mod life;
mod outages;
mod pods;
mod secrets;
