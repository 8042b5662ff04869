//! Configuration of a dispatcher: the only value of its only map, in version 2 of the protocol.

use super::dispatcher::{DISPATCHER_CONFIG_SIZE, DISPATCHER_EMPTY_SLOT, DISPATCHER_SLOTS};
use bpfman_model::map_type::ARRAY;
use bpfman_model::{MapRole, MapSpec};

const MAGIC: u8 = 236;
/// Version of the protocol that is read and written.
pub const DISPATCHER_CONFIG_VERSION: u8 = 2;
/// `BPF_F_XDP_HAS_FRAGS`.
const HAS_FRAGS: u32 = 1 << 5;
/// `BPF_F_RDONLY_PROG`.
const READ_ONLY: u32 = 1 << 7;

/// Configuration of one program of a dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DispatcherSlot {
    /// Verdicts after which the next program runs, by bit.
    pub proceed: u32,
    /// Run priority: 0 runs first.
    pub priority: u32,
    /// True if the program handles packets in several buffers.
    pub frags: bool,
}

/// Content of a map value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DispatcherConfig {
    /// A valid configuration.
    Slots(Vec<DispatcherSlot>),
    /// A configuration of another version, or an invalid one.
    Version(u8),
    /// Not a configuration.
    Other,
}

#[must_use]
pub fn read_dispatcher_config(bytes: &[u8]) -> DispatcherConfig {
    let [MAGIC, version, count, ..] = *bytes else { return DispatcherConfig::Other };
    let count = usize::from(count);
    if version != DISPATCHER_CONFIG_VERSION
        || bytes.len() != DISPATCHER_CONFIG_SIZE
        || count > DISPATCHER_SLOTS
    {
        return DispatcherConfig::Version(version);
    }
    let word = |array: usize, slot: usize| {
        let at = 4 + (array * DISPATCHER_SLOTS + slot) * 4;
        bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes)
    };
    let slot = |slot| DispatcherSlot {
        proceed: word(0, slot),
        priority: word(1, slot),
        frags: word(2, slot) & HAS_FRAGS != 0,
    };
    DispatcherConfig::Slots((0..count).map(slot).collect())
}

/// Returns whether all programs, and so their dispatcher, handle packets in several buffers.
#[must_use]
pub fn dispatcher_takes_frags(slots: &[DispatcherSlot]) -> bool {
    !slots.is_empty() && slots.iter().all(|slot| slot.frags)
}

/// Returns the map of a dispatcher with these programs, at most [`DISPATCHER_SLOTS`].
#[must_use]
pub fn dispatcher_config(slots: &[DispatcherSlot]) -> MapSpec {
    let mut bytes =
        vec![MAGIC, DISPATCHER_CONFIG_VERSION, slots.len() as u8, u8::from(dispatcher_takes_frags(slots))];
    let columns: [&dyn Fn(&DispatcherSlot) -> u32; 3] = [
        // A slot whose program was detached must let packets proceed.
        &|slot| slot.proceed | 1 << DISPATCHER_EMPTY_SLOT,
        &|slot| slot.priority,
        &|slot| if slot.frags { HAS_FRAGS } else { 0 },
    ];
    for column in columns {
        for slot in 0..DISPATCHER_SLOTS {
            bytes.extend(slots.get(slot).map_or(0, column).to_ne_bytes());
        }
    }
    let spec = MapSpec::sized("xdp_disp.rodata", ARRAY, 4, bytes.len() as u32, 1);
    MapSpec { flags: READ_ONLY, role: MapRole::Rodata, initial: bytes, ..spec }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_dispatcher_config_is_read_back() {
        let slots = [
            DispatcherSlot { proceed: 1 << 31 | 1 << 2, priority: 20, frags: true },
            DispatcherSlot { proceed: 1 << 31 | 0x1f, priority: 50, frags: false },
        ];
        let bytes = dispatcher_config(&slots).initial;
        assert_eq!(bytes.len(), 124);
        assert_eq!(bytes[..4], [236, 2, 2, 0]);
        assert_eq!(bytes[4..8], 0x8000_0004_u32.to_ne_bytes());
        assert_eq!(read_dispatcher_config(&bytes), DispatcherConfig::Slots(slots.to_vec()));
    }

    #[test]
    fn packets_in_several_buffers_need_all_programs_to_take_them() {
        let slot = |frags| DispatcherSlot { proceed: 0, priority: 0, frags };
        assert!(dispatcher_takes_frags(&[slot(true), slot(true)]));
        assert!(!dispatcher_takes_frags(&[slot(true), slot(false)]));
        assert!(!dispatcher_takes_frags(&[]));
    }

    #[test]
    fn other_versions_and_maps_are_distinguished() {
        let mut bytes = dispatcher_config(&[]).initial;
        bytes[1] = 3;
        assert_eq!(read_dispatcher_config(&bytes), DispatcherConfig::Version(3));
        bytes[1] = DISPATCHER_CONFIG_VERSION;
        bytes[2] = 11;
        assert_eq!(
            read_dispatcher_config(&bytes),
            DispatcherConfig::Version(DISPATCHER_CONFIG_VERSION),
            "more programs than it has slots"
        );
        assert_eq!(
            read_dispatcher_config(&bytes[..100]),
            DispatcherConfig::Version(DISPATCHER_CONFIG_VERSION)
        );
        assert_eq!(read_dispatcher_config(&[]), DispatcherConfig::Other);
        assert_eq!(read_dispatcher_config(&[1, 2, 3, 4]), DispatcherConfig::Other);
    }
}
