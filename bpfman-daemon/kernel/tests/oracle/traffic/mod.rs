//! Effects that `BPF_PROG_TEST_RUN` does not show, tested with real packets on interfaces that the test creates.

mod device;
mod redirect;
mod rows;
mod sockets;
mod swaps;
mod wire;
mod xdp;
