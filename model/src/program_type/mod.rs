//! Types of programs that this manager loads.

mod row;
mod table;

use std::fmt;
use std::str::FromStr;

pub use self::row::{SectionOption, TypeProof};
pub use self::table::ProgramType;

/// Number of types that manifests have: all but extensions of programs.
const MANIFEST_TYPES: usize = ProgramType::ALL.len() - 1;

impl ProgramType {
    /// Returns the name of the type for users, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the number in the kernel's `enum bpf_prog_type`.
    #[must_use]
    pub const fn kernel_type(self) -> u32 {
        self.row().kernel
    }

    /// Returns the kernel's `enum bpf_attach_type` at load; `None` if the hook decides it, or the kernel needs none.
    #[must_use]
    pub const fn attach_type(self) -> Option<u32> {
        self.row().attach_type
    }

    /// Returns whether the type needs a target in the kernel at load.
    #[must_use]
    pub const fn needs_load_target(self) -> bool {
        self.load_target().is_some()
    }

    /// Returns the kind of target that the type needs at load; `None` if it needs none.
    #[must_use]
    pub const fn load_target(self) -> Option<LoadTarget> {
        self.row().load_target
    }

    /// Returns the scope of programs of this type.
    #[must_use]
    pub const fn scope(self) -> TypeScope {
        self.row().scope
    }

    /// Returns whether the type is a probe that fires when a function returns.
    #[must_use]
    pub const fn is_return_probe(self) -> bool {
        self.row().on_return
    }

    /// Returns the section names of libbpf and aya, up to the first slash, and the option that they may have.
    #[must_use]
    pub const fn sections(self) -> (&'static [&'static str], Option<SectionOption>) {
        (self.row().sections, self.row().section_option)
    }

    /// Returns the first Linux version with the links that the daemon uses for programs of this type (docs/types.md).
    #[must_use]
    pub const fn attached_since(self) -> (u16, u16) {
        self.row().since
    }

    /// Returns the enumeration value whose presence in a kernel's BTF proves that the kernel can attach this
    /// type. `None` if every kernel can, and for programs that are not attached by a link.
    #[must_use]
    pub const fn attached_by(self) -> Option<TypeProof> {
        self.row().proof
    }

    /// Returns the names of the kernel features without which programs can be loaded, but not attached.
    #[must_use]
    pub const fn needed_features(self) -> &'static [&'static str] {
        self.row().needs
    }

    /// Returns the form of attach points as users write them; `None` for a type that is attached nowhere.
    #[must_use]
    pub const fn hook_form(self) -> Option<&'static str> {
        self.row().hook
    }

    /// Returns the kind of its attach point: the first word of [`Self::hook_form`].
    #[must_use]
    pub fn point_kind(self) -> Option<&'static str> {
        self.hook_form()?.split([':', ' ']).next()
    }

    /// Returns the name in manifests; `None` for a type that they do not have.
    #[must_use]
    pub const fn manifest_name(self) -> Option<&'static str> {
        self.row().manifest
    }

    /// Names of all types that manifests have, in their order.
    pub const MANIFEST_NAMES: [&'static str; MANIFEST_TYPES] = {
        let mut names = [""; MANIFEST_TYPES];
        let mut at = 0;
        while at < MANIFEST_TYPES {
            if let Some(name) = Self::ALL[at].manifest_name() {
                names[at] = name;
            }
            at += 1;
        }
        names
    };

    /// Returns the type with a name in manifests.
    #[must_use]
    pub fn of_manifest(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.manifest_name() == Some(name))
    }

    /// Returns the manifest's block of attach points; `None` if programs of the type are only loaded.
    #[must_use]
    pub const fn block(self) -> Option<&'static str> {
        self.row().block
    }

    /// Returns whether programs of this type accept `target` in a manifest; fentry and fexit have it in their block.
    #[must_use]
    pub const fn takes_target(self) -> bool {
        self.needs_load_target() && !matches!(self, Self::Fentry | Self::Fexit | Self::Freplace)
    }

    /// Returns the type that clients of the published API declare: for return probes, that of the entry probe.
    #[must_use]
    pub const fn declared(self) -> Self {
        match self {
            Self::Kretprobe => Self::Kprobe,
            Self::Uretprobe => Self::Uprobe,
            other => other,
        }
    }

    /// Returns whether programs of this type share a hook in a chain that this manager compiles.
    #[must_use]
    pub const fn is_chained(self) -> bool {
        matches!(self, Self::Xdp | Self::Tc)
    }
}

impl fmt::Display for ProgramType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kind of the target that a program needs at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadTarget {
    /// Kernel function, by its name; `MODULE:FUNCTION` for one of a module.
    Function,
    /// Hook of the Linux Security Modules, such as `file_open`.
    LsmHook,
    /// Tracepoint, without its category: `sched_switch`.
    Tracepoint,
    /// Kind of kernel objects: `task`, `bpf_map`.
    Iterator,
    /// Hook of a type for cgroups, sockmaps or netkit devices: `connect4` ([`crate::SocketHook`]).
    SocketHook,
    /// Member of a kernel structure: `tcp_congestion_ops.init`.
    StructMember,
    /// Function of a loaded program, by the program's id: `1234:limit` ([`crate::ReplacedFunction`]).
    ProgramFunction,
}

impl LoadTarget {
    /// Returns the name of the kind in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Function => "kernel function",
            Self::LsmHook | Self::SocketHook => "hook",
            Self::Tracepoint => "trace point",
            Self::Iterator => "kind of objects",
            Self::StructMember => "member of a struct_ops type",
            Self::ProgramFunction => "function of another program",
        }
    }
}

/// Scope of programs of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeScope {
    /// Packets at one interface.
    Interface,
    /// Tasks and sockets of one cgroup and all below it.
    Cgroup,
    /// One network namespace.
    Netns,
    /// Readers of the output.
    Reader,
    /// Everything on the CPUs, or one thread.
    Cpus,
    /// Sockets of a map.
    Sockets,
    /// Objects to which the process that opens the program attaches it; this manager does not.
    Opener,
    /// Whole machine, wherever the kernel calls the structure that the program is part of.
    Kernel,
    /// Scope of the program with the replaced function.
    Program,
    /// All tasks that reach the attach point.
    Tasks,
}

/// Unknown type of programs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown program type \"{0}\": expected one of {names}", names = names())]
pub struct UnknownProgramType(pub String);

fn names() -> String {
    ProgramType::ALL.map(ProgramType::name).join(", ")
}

impl FromStr for ProgramType {
    type Err = UnknownProgramType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|t| t.name() == name).ok_or_else(|| UnknownProgramType(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_manifests_have_all_but_extensions() {
        for known in ProgramType::ALL {
            assert_eq!(known.name().parse(), Ok(known));
            let in_manifests = known.manifest_name().and_then(ProgramType::of_manifest);
            assert_eq!(in_manifests, Some(known).filter(|known| *known != ProgramType::Freplace));
            assert!(known.attached_since() > (0, 0), "{known}");
        }
        assert_eq!(ProgramType::MANIFEST_NAMES.last(), Some(&"LircMode2"));
    }
}
