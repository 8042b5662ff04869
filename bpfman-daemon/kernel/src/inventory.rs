//! What programs can be made of on a kernel.

/// What programs can be made of on a kernel, found by trying each with something smallest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Types of programs by the kernel's names, in the order of their numbers.
    pub program_types: Vec<TriedType>,
    /// Types of maps, likewise.
    pub map_types: Vec<TriedType>,
    /// Helper functions in the order of their numbers, as far as some type of program may call them.
    pub helpers: Vec<HelperTypes>,
    /// The kernel answered every question about helpers: nothing failed for want of memory or of rights.
    pub is_complete: bool,
}

/// A type that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedType {
    /// The kernel's name, such as `sched_cls` or `lpm_trie`.
    pub name: &'static str,
    /// Whether the kernel has it; what it said, where that tells neither.
    pub there: Result<bool, String>,
}

/// A helper function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperTypes {
    /// Its name, such as `bpf_map_lookup_elem`.
    pub name: String,
    /// The types of programs that may call it, by the kernel's names. Types that are for something in the kernel (tracing,
    /// ext, lsm, struct_ops) cannot be asked, and are not here.
    pub program_types: Vec<&'static str>,
}
