//! The privileged daemon: the only process that loads eBPF
