//! The traits of the kernel, implemented.

mod facts;
mod hooks;
mod network;
mod objects;
mod pins;
