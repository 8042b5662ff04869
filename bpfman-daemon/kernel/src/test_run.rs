use std::path::Path;

use bpfman_model::NetnsId;

/// Packet, and its context for the program.
#[derive(Clone, Debug)]
pub struct TestRun<'a> {
    /// Packet from its Ethernet header on, at least 14 bytes; for XDP with its metadata in front.
    pub packet: &'a [u8],
    pub context: TestContext,
    /// Namespace of the context's interface numbers; `None` if only its file is known.
    pub home: Option<NetnsId>,
    /// File of the namespace; `None` for the daemon's own.
    pub netns: Option<&'a Path>,
    /// Number of runs, 0 means 1. The packet is not renewed between runs.
    pub repeat: u32,
}

impl<'a> TestRun<'a> {
    /// Returns one run on a packet, with the default context.
    #[must_use]
    pub const fn once(packet: &'a [u8]) -> Self {
        Self { packet, context: TestContext::Plain, home: None, netns: None, repeat: 1 }
    }
}

/// Context of a packet, before and after a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TestContext {
    /// Defaults of the kernel, for programs of both types.
    #[default]
    Plain,
    /// Context of XDP (Linux 5.18 and later).
    Xdp {
        /// Bytes of metadata at the start of the packet: a multiple of 4.
        metadata: u32,
        /// Receiving interface, whose receive queues support XDP; 0 for the namespace's loopback.
        ingress_ifindex: u32,
        /// Number of the receive queue of the interface; 0 without an interface.
        rx_queue: u32,
    },
    /// Context of SCHED_CLS, as in `struct __sk_buff`.
    Tc {
        mark: u32,
        priority: u32,
        cb: [u32; 5],
        /// Interface; 0 for the loopback of the namespace.
        ifindex: u32,
    },
}

/// Result of a program for a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRunResult {
    pub verdict: u32,
    /// Packet after the run; metadata first.
    pub packet: Vec<u8>,
    /// Context after the run, of the same kind as before.
    pub context: TestContext,
    /// Mean duration of a run in nanoseconds.
    pub nanoseconds: u32,
}
