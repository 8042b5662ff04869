/// Program types, map types and helpers of a kernel, found by minimal tests of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Program types by the kernel's names, in the order of their numbers.
    pub program_types: Vec<TriedType>,
    pub map_types: Vec<TriedType>,
    /// Helper functions that some program type may call, in the order of their numbers.
    pub helpers: Vec<HelperTypes>,
    /// Set if all tests of helpers succeeded: none failed for lack of memory or permissions.
    pub is_complete: bool,
}

/// Program type or map type, with the result of its test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedType {
    /// The kernel's name, such as `sched_cls` or `lpm_trie`.
    pub name: &'static str,
    /// Support by the kernel; an error if the test is inconclusive.
    pub there: Result<bool, String>,
}

/// Helper function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperTypes {
    /// Name, such as `bpf_map_lookup_elem`.
    pub name: String,
    /// Program types that may call it. Types bound to kernel objects (tracing, ext, lsm, struct_ops) cannot be tested.
    pub program_types: Vec<&'static str>,
}
