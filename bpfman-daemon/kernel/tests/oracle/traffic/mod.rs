//! What a trial run does not show: real packets on interfaces of the test's own.

mod redirect;
mod rows;
mod swaps;
mod wire;
mod xdp;
