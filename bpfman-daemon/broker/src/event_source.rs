//! Sources of perf events.

use bpfmand_kernel::linux::brokered::ProbeEvents;

/// Source of an event, as `type` and `config` of its attribute name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// Events of the kernel's counters: clocks, hardware, caches.
    Counter,
    /// Records that a program writes to the event.
    ProgramOutput,
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

/// Bits of an attribute by which an event also records mappings, names, forks, switches and code of other processes.
const SIDE_RECORDS: u64 =
    1 << 8 | 1 << 9 | 1 << 13 | 1 << 17 | 1 << 23 | 1 << 24 | 1 << 26 | 0x7f << 28 | 1 << 35 | 1 << 36;
/// `sigtrap`: the event sends a signal to the process that it counts.
const SIGNALS: u64 = 1 << 37;
const BITS: usize = 40;
const CONFIG2: usize = 64;

/// Returns the integer of eight bytes at an offset; 0 behind the end.
fn long(attribute: &[u8], at: usize) -> u64 {
    attribute.get(at..).and_then(|rest| rest.first_chunk().copied()).map_or(0, u64::from_ne_bytes)
}

/// Returns whether the event records more than its source.
pub fn has_side_records(attribute: &[u8]) -> bool {
    long(attribute, BITS) & SIDE_RECORDS != 0
}

/// Returns whether the event signals processes, or has bits of later kernels.
pub fn is_refused(attribute: &[u8]) -> bool {
    long(attribute, BITS) & SIGNALS != 0 || long(attribute, BITS) >> 38 != 0
}

/// Returns whether a probe by name is at the beginning of its function.
pub fn is_at_begin(attribute: &[u8]) -> bool {
    long(attribute, CONFIG2) == 0
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn with_bits(bits: u64) -> Vec<u8> {
        let mut attribute = vec![0; 112];
        attribute[BITS..BITS + 8].copy_from_slice(&bits.to_ne_bytes());
        attribute
    }

    #[test]
    fn records_and_signals_are_distinguished() {
        // As buffers of libraries have them: disabled, watermark, all ids.
        let plain = with_bits(1 | 1 << 14 | 1 << 18);
        assert!(!has_side_records(&plain) && !is_refused(&plain) && is_at_begin(&plain));
        // mmap, comm, task, mmap2, ksymbol, bpf_event, text_poke
        for bit in [8, 9, 13, 23, 29, 30, 33] {
            assert!(has_side_records(&with_bits(1 << bit)), "{bit}");
        }
        for bit in [37, 38, 63] {
            assert!(is_refused(&with_bits(1 << bit)), "{bit}");
        }
        let mut probe = with_bits(0);
        probe[CONFIG2] = 8;
        assert!(!is_at_begin(&probe));
    }
}
