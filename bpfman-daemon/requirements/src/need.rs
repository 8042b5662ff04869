use std::collections::{BTreeMap, BTreeSet};

use bpfmand_object::ProgramWants;

use crate::since::{FirstLinux, LinuxVersion};

/// Kind of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeedKind {
    /// A program type, by the kernel's name.
    ProgramType,
    /// The links with which the daemon attaches programs of a type.
    Attachment,
    MapType,
    /// A hook of a type that has several, by the kernel's attach type.
    Hook,
    /// Objects that an iterator visits.
    Iterator,
    /// A struct_ops type of the kernel.
    StructOps,
    /// Instructions and program properties that not every kernel supports.
    Feature,
    /// A helper function.
    Helper,
    /// A function of the kernel or a module that the program calls.
    Kfunc,
    /// A kernel variable.
    Variable,
    /// A kernel symbol, by its address.
    Symbol,
    /// A kernel function that a program is loaded for.
    Function,
    /// A kernel function that the section names, for attaching.
    ProbedFunction,
    LsmHook,
    Tracepoint,
    /// A type, field or enumerator of the kernel.
    Type,
}

impl NeedKind {
    /// Returns the name for users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProgramType => "program type",
            Self::Attachment => "attachment",
            Self::MapType => "map type",
            Self::Hook => "hook",
            Self::Iterator => "iterator",
            Self::StructOps => "struct_ops",
            Self::Feature => "feature",
            Self::Helper => "helper",
            Self::Kfunc => "kfunc",
            Self::Variable => "variable",
            Self::Symbol => "symbol",
            Self::Function | Self::ProbedFunction => "function",
            Self::LsmHook => "LSM hook",
            Self::Tracepoint => "trace point",
            Self::Type => "type",
        }
    }

    /// Returns whether this kind has a first Linux version; functions and types change without one.
    #[must_use]
    pub const fn has_version(self) -> bool {
        !matches!(
            self,
            Self::Variable
                | Self::Symbol
                | Self::Function
                | Self::ProbedFunction
                | Self::LsmHook
                | Self::Tracepoint
                | Self::Type
        )
    }

    /// Returns why such a requirement may change with any Linux version; `None` for stable interfaces.
    #[must_use]
    pub const fn unstable(self) -> Option<&'static str> {
        match self {
            Self::ProgramType
            | Self::Attachment
            | Self::MapType
            | Self::Hook
            | Self::Iterator
            | Self::Feature
            | Self::Helper => None,
            Self::StructOps => Some("struct_ops types of the kernel may change their functions or go"),
            Self::Kfunc => Some("functions that the kernel offers to programs may change or go"),
            Self::Variable => Some("variables of the kernel may change or go"),
            Self::Symbol => {
                Some("symbols of the kernel may change or go; their addresses are hidden from most processes")
            }
            Self::Function | Self::ProbedFunction => {
                Some("functions of the kernel may change, go, or be built into their callers")
            }
            Self::LsmHook => Some("hooks of the security modules may change their arguments"),
            Self::Tracepoint => Some("trace points may change their fields or go"),
            Self::Type => {
                Some("types of the kernel may change; CO-RE finds fields that moved, not ones that went")
            }
        }
    }
}

/// Requirement of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelNeed {
    pub kind: NeedKind,
    pub name: String,
    /// Programs and maps that need it.
    pub wanted_by: BTreeSet<String>,
    /// First Linux version, if known.
    pub since: Option<FirstLinux>,
    /// Set if the object works without it, since its programs test for it first.
    pub is_optional: bool,
}

/// All requirements of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectNeeds {
    /// Requirements, by kind and name.
    pub needs: Vec<KernelNeed>,
    /// Programs that read kernel memory at fixed offsets: they match only the kernel headers they were compiled with.
    pub fixed_offsets: Vec<String>,
    /// Programs of types that the daemon does not load, with their sections. Other loaders may.
    pub unsupported: Vec<(String, String)>,
    /// Programs that cannot be read, with the reason.
    pub damaged: Vec<(String, String)>,
    pub(crate) wants: BTreeMap<String, ProgramWants>,
}

impl ObjectNeeds {
    /// Returns the first Linux version that meets all requirements, if known.
    #[must_use]
    pub fn lowest(&self) -> Option<LinuxVersion> {
        self.deciding().map(|(version, _)| version)
    }

    /// Returns the mandatory requirements without a known version.
    pub fn without_version(&self) -> impl Iterator<Item = &KernelNeed> {
        self.needs.iter().filter(|need| !need.is_optional && need.kind.has_version() && need.since.is_none())
    }

    /// Returns the programs of unknown types that a plain load includes: their requirements are unknown.
    pub fn without_type(&self) -> impl Iterator<Item = &str> {
        self.unsupported
            .iter()
            .filter(|(_, section)| !section.starts_with('?'))
            .map(|(name, _)| name.as_str())
    }

    /// Returns the minimum version and its requirements; `None` also if a program could not be read.
    #[must_use]
    pub fn deciding(&self) -> Option<(LinuxVersion, Vec<&KernelNeed>)> {
        let is_unknown = self.without_version().next().is_some() || self.without_type().next().is_some();
        if is_unknown || !self.damaged.is_empty() {
            return None;
        }
        let needed = || self.needs.iter().filter(|need| !need.is_optional);
        let lowest = needed().filter_map(|need| Some(need.since?.version)).max()?;
        let deciding = needed().filter(|need| need.since.is_some_and(|since| since.version == lowest));
        Some((lowest, deciding.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(kind: NeedKind, name: &str, version: Option<LinuxVersion>) -> KernelNeed {
        let since = version.map(|version| FirstLinux { version, commit: "" });
        KernelNeed {
            kind,
            name: name.to_owned(),
            wanted_by: ["p".to_owned()].into(),
            since,
            is_optional: false,
        }
    }

    #[test]
    fn an_unknown_version_makes_the_lowest_kernel_unknown() {
        let known = need(NeedKind::MapType, "ringbuf", Some(LinuxVersion(5, 8)));
        let lowest = |other: KernelNeed| {
            ObjectNeeds { needs: vec![known.clone(), other], ..ObjectNeeds::default() }.lowest()
        };
        for kind in [
            NeedKind::MapType,
            NeedKind::Helper,
            NeedKind::Kfunc,
            NeedKind::ProgramType,
            NeedKind::Hook,
            NeedKind::Iterator,
            NeedKind::StructOps,
            NeedKind::Feature,
        ] {
            assert_eq!(lowest(need(kind, "no_such", None)), None, "{kind:?}");
            let optional = KernelNeed { is_optional: true, ..need(kind, "no_such", None) };
            assert_eq!(lowest(optional), Some(LinuxVersion(5, 8)), "{kind:?}");
        }
        // These may change with any version.
        for kind in [NeedKind::Function, NeedKind::Type, NeedKind::Tracepoint] {
            assert_eq!(lowest(need(kind, "tcp_connect", None)), Some(LinuxVersion(5, 8)), "{kind:?}");
        }
        let in_section = |section: &str| ObjectNeeds {
            needs: vec![known.clone()],
            unsupported: vec![("p".to_owned(), section.to_owned())],
            ..ObjectNeeds::default()
        };
        assert_eq!(in_section("fsession/vfs_read").lowest(), None);
        assert_eq!(in_section("?fsession/vfs_read").lowest(), Some(LinuxVersion(5, 8)));
        let damaged = ObjectNeeds {
            needs: vec![known],
            damaged: vec![("p".to_owned(), "it is cut".to_owned())],
            ..ObjectNeeds::default()
        };
        assert_eq!(damaged.lowest(), None);
    }
}
