//! Running a program on a given packet, without a network.

use std::path::Path;

use bpfmand_core::NetnsId;

/// A packet, and what the program is told about it.
#[derive(Clone, Debug)]
pub struct TestRun<'a> {
    /// The packet from its Ethernet header on, at least 14 bytes; before it, for XDP, its metadata.
    pub packet: &'a [u8],
    /// What the program is told beside the packet.
    pub context: TestContext,
    /// The namespace that the interface numbers of the context are of; none if only its file is known.
    pub home: Option<NetnsId>,
    /// File of the namespace; none for the daemon's own.
    pub netns: Option<&'a Path>,
    /// How often. The packet is not renewed between the runs: a program that changes it meets its own changes. 0 is 1.
    pub repeat: u32,
}

impl<'a> TestRun<'a> {
    /// One run on a packet, with nothing said about it.
    #[must_use]
    pub const fn once(packet: &'a [u8]) -> Self {
        Self { packet, context: TestContext::Plain, home: None, netns: None, repeat: 1 }
    }
}

/// What a program is told about a packet, and what it leaves there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TestContext {
    /// Nothing: the kernel's defaults, for programs of both types.
    #[default]
    Plain,
    /// For XDP (Linux 5.18 and later).
    Xdp {
        /// How many bytes at the packet's start are metadata: a multiple of 4.
        metadata: u32,
        /// The interface it came by, 0 for the loopback of the namespace. It must have receive queues that know XDP.
        ingress_ifindex: u32,
        /// Which of the interface's receive queues; 0 without an interface.
        rx_queue: u32,
    },
    /// For SCHED_CLS, as in `struct __sk_buff`.
    Tc {
        /// `mark`.
        mark: u32,
        /// `priority`.
        priority: u32,
        /// `cb`.
        cb: [u32; 5],
        /// The interface, 0 for the loopback of the namespace.
        ifindex: u32,
    },
}

/// What a program made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRunResult {
    /// Its verdict.
    pub verdict: u32,
    /// The packet as the program left it; metadata first.
    pub packet: Vec<u8>,
    /// The context as the program left it, of the kind it was given.
    pub context: TestContext,
    /// Mean nanoseconds of a run.
    pub nanoseconds: u32,
}
