//! Rules about maps whose entries users may set.

use bpfman_model::{MapFacts, map_type};
use bpfmand_kernel::Kernel;

use crate::describe::open_maps::UsedMap;
use crate::{Engine, EngineError};

const RDONLY: u32 = 1 << 3;
/// Prefix of the maps of libbpf's `usdt.bpf.h`, into which the daemon writes the locations of the probes' arguments.
const USDT: &str = "__bpf_usdt_";

pub fn why_fixed(name: &str, map: &MapFacts) -> Option<&'static str> {
    if name.starts_with(USDT) {
        return Some("the daemon keeps in it where USDT probes find their arguments");
    }
    if map.frozen {
        return Some("it is frozen: it holds constants, and the verifier relied on them");
    }
    (map.flags & RDONLY != 0).then_some("it was made for programs alone to write (BPF_F_RDONLY)")
}

pub fn why_read_only(name: &str, map: &MapFacts) -> Option<String> {
    use map_type as kind;
    if let Some(why) = why_fixed(name, map) {
        return Some(why.to_owned());
    }
    Some(match map.map_type {
        kind::HASH
        | kind::ARRAY
        | kind::PERCPU_HASH
        | kind::PERCPU_ARRAY
        | kind::LRU_HASH
        | kind::LRU_PERCPU_HASH
        | kind::LPM_TRIE
        | kind::QUEUE
        | kind::STACK => return None,
        kind::ARRAY_OF_MAPS | kind::HASH_OF_MAPS => {
            "its entries are maps: set entries of those, by their ids".to_owned()
        }
        kind::PROG_ARRAY => "its entries are programs, which the object names".to_owned(),
        other => format!("entries of type {} are no data", map_type::name(other)),
    })
}

impl<K: Kernel> Engine<K> {
    /// Refuses writes to maps on which programs or the daemon rely, and to maps that hold no data.
    pub fn ensure_writable(&self, map: &UsedMap) -> Result<MapFacts, EngineError> {
        let facts = self.kernel.map(map.id())?.ok_or(EngineError::NoMapOfOurs(map.id()))?;
        match why_read_only(map.name(), &facts) {
            None => Ok(facts),
            Some(why) => Err(EngineError::MapReadOnly { map: map.id(), name: map.name().to_owned(), why }),
        }
    }
}

/// Callers that may receive a map for writing, as a descriptor or as a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapRecipients {
    /// Callers with write access to this map.
    WritersOfIt,
    /// Callers with write access to all maps: the kernel does not check access to the object that an entry refers to.
    WritersOfAll,
}

/// Returns the callers that may receive a map of this name for writing, or the reason why none may.
pub fn recipients_for_writing(name: &str, map: &MapFacts) -> Result<MapRecipients, &'static str> {
    match why_fixed(name, map) {
        Some(why) => Err(why),
        None if map_type::holds_objects(map.map_type) => Ok(MapRecipients::WritersOfAll),
        None => Ok(MapRecipients::WritersOfIt),
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns the callers that may receive a map for writing. Ring buffers and similar maps qualify, although their
    /// entries cannot be set: their readers write positions.
    pub fn recipients_for_writing(&self, map: &UsedMap) -> Result<MapRecipients, EngineError> {
        let facts = self.kernel.map(map.id())?.ok_or(EngineError::NoMapOfOurs(map.id()))?;
        recipients_for_writing(map.name(), &facts).map_err(|why| EngineError::MapReadOnly {
            map: map.id(),
            name: map.name().to_owned(),
            why: why.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use bpfman_model::MapId;

    use super::*;

    fn facts(map_type: u32) -> MapFacts {
        MapFacts {
            id: MapId(7),
            name: "m".to_owned(),
            map_type,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            flags: 0,
            bytes_memlock: 0,
            frozen: false,
        }
    }

    #[test]
    fn only_data_that_nothing_relies_on_is_written() {
        assert_eq!(why_read_only("flows", &facts(map_type::HASH)), None);
        let why = |name, facts: &MapFacts| why_read_only(name, facts).unwrap_or_default();
        assert!(why("__bpf_usdt_specs", &facts(map_type::ARRAY)).contains("USDT probes"));
        assert!(why(".rodata", &MapFacts { frozen: true, ..facts(map_type::ARRAY) }).contains("frozen"));
        assert!(why("m", &MapFacts { flags: RDONLY, ..facts(map_type::HASH) }).contains("BPF_F_RDONLY"));
        assert!(why("jumps", &facts(map_type::PROG_ARRAY)).contains("are programs"));
        assert!(why("outer", &facts(map_type::HASH_OF_MAPS)).contains("are maps"));
        for kind in [map_type::SOCKMAP, map_type::DEVMAP, map_type::STRUCT_OPS, map_type::RINGBUF] {
            assert!(why("m", &facts(kind)).contains("are no data"), "{kind}");
        }
    }

    #[test]
    fn maps_of_objects_are_for_writers_of_all_maps() {
        use MapRecipients::{WritersOfAll, WritersOfIt};
        let of = |name, facts: &MapFacts| recipients_for_writing(name, facts);
        for kind in [
            map_type::HASH,
            map_type::RINGBUF,
            map_type::PERF_EVENT_ARRAY,
            map_type::STACK_TRACE,
            map_type::SOCKMAP,
            map_type::SOCKHASH,
            map_type::XSKMAP,
            map_type::REUSEPORT_SOCKARRAY,
        ] {
            assert_eq!(of("m", &facts(kind)), Ok(WritersOfIt), "{kind}");
        }
        for kind in [
            map_type::ARRAY_OF_MAPS,
            map_type::HASH_OF_MAPS,
            map_type::PROG_ARRAY,
            map_type::CGROUP_ARRAY,
            map_type::DEVMAP,
            map_type::DEVMAP_HASH,
            map_type::CPUMAP,
            map_type::STRUCT_OPS,
        ] {
            assert_eq!(of("m", &facts(kind)), Ok(WritersOfAll), "{kind}");
        }
        assert!(of(".rodata", &MapFacts { frozen: true, ..facts(map_type::ARRAY) }).is_err());
        assert!(of("m", &MapFacts { flags: RDONLY, ..facts(map_type::HASH_OF_MAPS) }).is_err());
        assert!(of("__bpf_usdt_specs", &facts(map_type::ARRAY)).is_err());
    }
}
