//! Effects that a trial run does not show: real packets on interfaces of the test's own.

mod device;
mod redirect;
mod rows;
mod sockets;
mod swaps;
mod wire;
mod xdp;
