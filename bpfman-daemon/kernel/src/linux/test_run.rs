use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::attr::{self, Command};
use super::namespaces::NamespaceFinder;
use super::sys;
use crate::{KernelError, TestContext, TestRun, TestRunResult};

const XDP_CONTEXT: usize = 24;
/// Maximum size of a `struct __sk_buff` in bytes, with space for fields of later kernels.
const TC_CONTEXT: usize = 256;
const ROOM: usize = 64 << 10;

/// Runs a packet program `repeat` times on a packet of at least 14 bytes.
pub fn test_run(program: &OwnedFd, packet: &[u8], repeat: u32) -> Result<TestRunResult, KernelError> {
    run_here(program, &TestRun { repeat, ..TestRun::once(packet) })
}

pub fn run(
    finder: &NamespaceFinder,
    program: &OwnedFd,
    run: &TestRun<'_>,
) -> Result<TestRunResult, KernelError> {
    finder.enter_known(run.home, run.netns, || run_here(program, run))
}

pub fn run_here(program: &OwnedFd, run: &TestRun<'_>) -> Result<TestRunResult, KernelError> {
    here(program, run).map_err(|source| {
        let subject = format!("a program on a packet of {} bytes", run.packet.len());
        KernelError::call("test-run", subject, source)
    })
}

fn here(program: &OwnedFd, run: &TestRun<'_>) -> io::Result<TestRunResult> {
    let (context, context_room) = encode(&run.context, run.packet.len())?;
    let mut context_out = vec![0_u8; context_room];
    let mut out = vec![0_u8; run.packet.len() + ROOM];
    let mut request = attr::TestRun {
        prog_fd: program.as_raw_fd(),
        data_size_in: run.packet.len() as u32,
        data_size_out: out.len() as u32,
        data_in: run.packet.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: run.repeat,
        ..Default::default()
    };
    if !context.is_empty() {
        request.ctx_size_in = context.len() as u32;
        request.ctx_in = context.as_ptr() as u64;
        request.ctx_size_out = context_out.len() as u32;
        request.ctx_out = context_out.as_mut_ptr() as u64;
    }
    sys::bpf(Command::ProgTestRun, &mut request)?;
    out.truncate(request.data_size_out as usize);
    Ok(TestRunResult {
        verdict: request.retval,
        packet: out,
        context: decode(&run.context, &context_out),
        nanoseconds: request.duration,
    })
}

/// Returns the context in the kernel's format, and the maximum size of the answer.
fn encode(context: &TestContext, packet: usize) -> io::Result<(Vec<u8>, usize)> {
    let mut bytes = Vec::new();
    let mut words = |words: &[u32]| bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    match context {
        TestContext::Plain => Ok((bytes, 0)),
        TestContext::Xdp { metadata, ingress_ifindex, rx_queue } => {
            if *metadata as usize > packet {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("it cannot begin with {metadata} bytes of metadata"),
                ));
            }
            // data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
            words(&[*metadata, packet as u32, 0, *ingress_ifindex, *rx_queue, 0]);
            Ok((bytes, XDP_CONTEXT))
        }
        TestContext::Tc { mark, priority, cb, ifindex } => {
            // len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto
            words(&[0, 0, *mark, 0, 0, 0, 0, 0]);
            // priority, ingress_ifindex, ifindex, tc_index
            words(&[*priority, 0, *ifindex, 0]);
            words(cb);
            Ok((bytes, TC_CONTEXT))
        }
    }
}

fn decode(given: &TestContext, bytes: &[u8]) -> TestContext {
    let word = |at: usize| super::netlink::u32_at(bytes, at).unwrap_or(0);
    match given {
        TestContext::Plain => TestContext::Plain,
        TestContext::Xdp { .. } => {
            TestContext::Xdp { metadata: word(0), ingress_ifindex: word(12), rx_queue: word(16) }
        }
        TestContext::Tc { .. } => TestContext::Tc {
            mark: word(8),
            priority: word(32),
            cb: [48, 52, 56, 60, 64].map(word),
            ifindex: word(40),
        },
    }
}
