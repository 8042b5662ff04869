//! What an eBPF object file holds, needs and relocates to
