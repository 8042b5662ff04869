//! Implementations of the kernel traits.

mod facts;
mod hooks;
mod network;
mod objects;
mod pins;
