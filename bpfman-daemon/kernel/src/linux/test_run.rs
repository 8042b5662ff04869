//! Running a program on a given packet, without a network.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::attr::{self, Command};
use super::sys;
use crate::KernelError;

/// What a program made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// Its verdict.
    pub verdict: u32,
    /// The packet as it left it.
    pub packet: Vec<u8>,
    /// Mean nanoseconds of a run.
    pub nanoseconds: u32,
}

/// Runs a packet program `repeat` times on a packet of at least 14 bytes.
///
/// # Errors
/// The kernel cannot run programs of this type, or not on such a packet.
pub fn test_run(program: &OwnedFd, packet: &[u8], repeat: u32) -> Result<TestRun, KernelError> {
    const ROOM: usize = 512;
    let mut out = vec![0_u8; packet.len() + ROOM];
    let mut request = attr::TestRun {
        prog_fd: program.as_raw_fd(),
        data_size_in: packet.len() as u32,
        data_size_out: out.len() as u32,
        data_in: packet.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        ..Default::default()
    };
    sys::bpf(Command::ProgTestRun, &mut request)
        .map_err(|source: io::Error| KernelError::call("test-run", "a program", source))?;
    out.truncate(request.data_size_out as usize);
    Ok(TestRun { verdict: request.retval, packet: out, nanoseconds: request.duration })
}
