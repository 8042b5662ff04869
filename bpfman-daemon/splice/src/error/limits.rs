/// Maximum number of members of one chain.
pub const MAX_MEMBERS: usize = 32;
/// Maximum number of maps of one program (`MAX_USED_MAPS` of the kernel).
pub const MAX_MAPS: usize = 64;
/// Maximum number of instructions of one program (`BPF_COMPLEXITY_LIMIT_INSNS` of the kernel, privileged loads).
pub const MAX_INSNS: usize = 1_000_000;

/// Maximum number of tail calls of a packet in one chain (`MAX_TAIL_CALL_CNT` of the kernel).
pub const MAX_TAIL_CALLS: usize = 33;
