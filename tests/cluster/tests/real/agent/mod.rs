//! Node agent with a real API server, a real daemon and a real kernel.

mod cni;
mod connection;
mod definitions;
pub mod equipment;
mod failures;
mod fleet_top;
mod gates;
mod images;
mod keep;
mod kernels;
mod large;
mod leftovers;
mod life;
mod orders;
mod outages;
mod places;
mod pods;
mod published;
mod registries;
mod renamed;
mod rollout;
mod secrets;
mod slow_images;
mod told;
mod twins;
pub mod waves;
