//! Sources of perf events.

use bpfmand_kernel::linux::brokered::ProbeEvents;

/// Source of an event, as `type` and `config` of its attribute name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// Events of the kernel's counters: clocks, hardware, caches.
    Counter,
    /// Records that a program writes to the event.
    ProgramOutput,
    /// A tracepoint, by its number.
    Tracepoint(u64),
    /// A function of the kernel.
    Kprobe,
    /// A place in a file.
    Uprobe,
    /// Anything else, such as a breakpoint on an address of the kernel.
    Other,
}

const SOFTWARE: u32 = 1;
const TRACEPOINT: u32 = 2;
const BPF_OUTPUT: u64 = 10;

impl EventSource {
    /// Reads the source of an attribute.
    #[must_use]
    pub fn of(attribute: &[u8], probes: &ProbeEvents) -> Self {
        let (Some(event_type), Some(config)) = (attribute.first_chunk(), attribute.get(8..16)) else {
            return Self::Other;
        };
        let event_type = u32::from_ne_bytes(*event_type);
        let config = u64::from_ne_bytes(config.first_chunk().copied().unwrap_or_default());
        match event_type {
            SOFTWARE if config == BPF_OUTPUT => Self::ProgramOutput,
            0 | SOFTWARE | 3 | 4 => Self::Counter,
            TRACEPOINT => Self::Tracepoint(config),
            other if probes.kprobe == Some(other) => Self::Kprobe,
            other if probes.uprobe == Some(other) => Self::Uprobe,
            _ => Self::Other,
        }
    }
}
