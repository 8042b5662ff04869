use bpfman_model::LinkId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracePacket {
    /// Bytes of the packet, beginning with its Ethernet header.
    pub data: Vec<u8>,
    /// Mark of the packet, for tc and tcx.
    pub mark: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceLimits<'a> {
    /// Members for which the caller's access was checked, in any order; `None`: all.
    pub members: Option<&'a [LinkId]>,
    /// True to refuse programs that may send packets while they run.
    pub sends_nothing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    pub link: LinkId,
    pub name: String,
    pub verdict: i32,
    /// True if the next member ran.
    pub proceeded: bool,
    /// Packet after the member, without metadata, if the member changed it.
    pub packet: Option<Vec<u8>>,
    /// Changes of the packet, in text for users.
    pub changes: Vec<String>,
    pub nanoseconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketTrace {
    /// Results of the members that the packet reached, in order.
    pub steps: Vec<TraceStep>,
    pub verdict: i32,
    /// True if the chain gave the same verdict and left the same packet as the members one by one.
    pub agrees: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainTrace {
    /// Result of each packet, in order.
    pub packets: Vec<PacketTrace>,
    /// True if the hook runs a chain, with which the members were compared.
    pub has_chain: bool,
    /// True if the kernel could set the interface for test runs, and keep metadata and marks.
    pub told_where: bool,
}
