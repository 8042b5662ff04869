//! What a chain may have at most.

/// Most members of one chain.
pub const MAX_MEMBERS: usize = 32;
/// Most maps of one program (`MAX_USED_MAPS` of the kernel).
pub const MAX_MAPS: usize = 64;
/// Most instructions of one program (`BPF_COMPLEXITY_LIMIT_INSNS` of the kernel, privileged loads).
pub const MAX_INSNS: usize = 1_000_000;

/// Most tail calls that a packet may take in one chain (`MAX_TAIL_CALL_CNT` of the kernel).
pub const MAX_TAIL_CALLS: usize = 33;
