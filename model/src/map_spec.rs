//! Map as an object file describes it.

/// Purpose of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapRole {
    /// Declared by the program's author; pinned for applications.
    Ordinary,
    /// `.data` and `.data.*`: writable globals. Never pinned for applications.
    Data,
    /// `.rodata` and `.rodata.*` (and `.kconfig`): frozen before the program loads. Never pinned.
    Rodata,
    /// `.bss`: zeroed globals. Never pinned.
    Bss,
}

/// Map as the object file declares it, ready to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Name in the object, unshortened; the kernel keeps its first 15 bytes.
    pub name: String,
    /// The kernel's `enum bpf_map_type`.
    pub map_type: u32,
    /// Size of a key, in bytes.
    pub key_size: u32,
    /// Size of a value, in bytes.
    pub value_size: u32,
    /// Maximum number of entries; 0 if the loader has to choose it (a perf event array: one per online CPU).
    pub max_entries: u32,
    /// `BPF_F_*` flags of map creation.
    pub flags: u32,
    /// Value that depends on the type (a bloom filter's hash count), 0 if unused. Linux 5.16 and later.
    pub map_extra: u64,
    /// NUMA node of its memory; the kernel reads it only if `flags` has `BPF_F_NUMA_NODE`.
    pub numa_node: u32,
    /// True if it is declared `LIBBPF_PIN_BY_NAME`.
    pub pin_by_name: bool,
    /// Purpose of the map.
    pub role: MapRole,
    /// Initial contents of a globals map, padded to `value_size`; of an arena, those at its start; else empty.
    pub initial: Vec<u8>,
    /// BTF type id of the key in the object's BTF; 0 when unknown or when the kernel takes none.
    pub btf_key_type_id: u32,
    /// BTF type id of the value; 0 when unknown or when the kernel takes none.
    pub btf_value_type_id: u32,
    /// Inner map of a map of maps.
    pub inner: Option<Box<MapSpec>>,
}

impl MapSpec {
    /// Creates a map with these sizes (bytes) and number of entries, and defaults for everything else.
    #[must_use]
    pub fn sized(name: &str, map_type: u32, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self {
            name: name.to_owned(),
            map_type,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            map_extra: 0,
            numa_node: 0,
            pin_by_name: false,
            role: MapRole::Ordinary,
            initial: Vec::new(),
            btf_key_type_id: 0,
            btf_value_type_id: 0,
            inner: None,
        }
    }
}
