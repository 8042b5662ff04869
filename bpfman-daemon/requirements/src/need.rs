//! One thing that an object asks of a kernel.

use std::collections::{BTreeMap, BTreeSet};

use bpfmand_object::ProgramWants;

use crate::since::{FirstLinux, LinuxVersion};

/// What is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeedKind {
    /// A type of programs, by the kernel's name.
    ProgramType,
    /// The links by which the daemon attaches programs of a type.
    Attachment,
    /// A type of maps.
    MapType,
    /// Instructions and properties of programs that not every kernel has.
    Feature,
    /// A helper function.
    Helper,
    /// A function of the kernel or a module that the program calls.
    Kfunc,
    /// A variable of the kernel.
    Variable,
    /// A symbol of the kernel, by its address.
    Symbol,
    /// A function of the kernel that a program is attached to.
    Function,
    /// A hook of the Linux Security Modules.
    LsmHook,
    /// A trace point.
    Tracepoint,
    /// A type, field or enumerator of the kernel.
    Type,
}

impl NeedKind {
    /// The words for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProgramType => "program type",
            Self::Attachment => "attachment",
            Self::MapType => "map type",
            Self::Feature => "feature",
            Self::Helper => "helper",
            Self::Kfunc => "kfunc",
            Self::Variable => "variable",
            Self::Symbol => "symbol",
            Self::Function => "function",
            Self::LsmHook => "LSM hook",
            Self::Tracepoint => "trace point",
            Self::Type => "type",
        }
    }

    /// Returns whether Linux has all of its kind since some version, which is then part of the lowest kernel. Functions,
    /// types and the like of the kernel come and go without one.
    #[must_use]
    pub const fn has_version(self) -> bool {
        matches!(
            self,
            Self::ProgramType | Self::Attachment | Self::MapType | Self::Feature | Self::Helper | Self::Kfunc
        )
    }

    /// Why what it names may change or go with any version of Linux; none where Linux promises to keep it.
    #[must_use]
    pub const fn unstable(self) -> Option<&'static str> {
        match self {
            Self::ProgramType | Self::Attachment | Self::MapType | Self::Feature | Self::Helper => None,
            Self::Kfunc => Some("functions that the kernel offers to programs may change or go"),
            Self::Variable => Some("variables of the kernel may change or go"),
            Self::Symbol => {
                Some("symbols of the kernel may change or go; their addresses are hidden from most processes")
            }
            Self::Function => Some("functions of the kernel may change, go, or be built into their callers"),
            Self::LsmHook => Some("hooks of the security modules may change their arguments"),
            Self::Tracepoint => Some("trace points may change their fields or go"),
            Self::Type => {
                Some("types of the kernel may change; CO-RE finds fields that moved, not ones that went")
            }
        }
    }
}

/// One thing that an object asks of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelNeed {
    /// What it is.
    pub kind: NeedKind,
    /// Its name.
    pub name: String,
    /// The programs and maps that ask for it.
    pub wanted_by: BTreeSet<String>,
    /// Since when Linux has it, where that is known.
    pub since: Option<FirstLinux>,
    /// The object also works without: it asks first whether it is there.
    pub is_optional: bool,
}

/// What an object asks of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectNeeds {
    /// By kind and name.
    pub needs: Vec<KernelNeed>,
    /// Programs that read the kernel's memory without asking where fields are: they hold for the kernel whose headers they
    /// were compiled with.
    pub fixed_offsets: Vec<String>,
    /// Programs that are for nothing that the daemon loads, with their sections. Others may load them.
    pub unsupported: Vec<(String, String)>,
    /// Programs that cannot be read, with the reason.
    pub damaged: Vec<(String, String)>,
    /// What each program asks for, by its name.
    pub(crate) wants: BTreeMap<String, ProgramWants>,
}

impl ObjectNeeds {
    /// The first version of Linux that has all that is needed; none if nothing is needed, or if it is not known.
    #[must_use]
    pub fn lowest(&self) -> Option<LinuxVersion> {
        self.deciding().map(|(version, _)| version)
    }

    /// Required needs whose version is not known here: the lowest kernel cannot be told because of them.
    pub fn without_version(&self) -> impl Iterator<Item = &KernelNeed> {
        self.needs.iter().filter(|need| !need.is_optional && need.kind.has_version() && need.since.is_none())
    }

    /// Returns that version and the need that decides about it; none also if a program could not be read: its needs are not known.
    #[must_use]
    pub fn deciding(&self) -> Option<(LinuxVersion, Vec<&KernelNeed>)> {
        if !self.damaged.is_empty() || self.without_version().next().is_some() {
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
        for kind in [NeedKind::MapType, NeedKind::Helper, NeedKind::Kfunc, NeedKind::ProgramType] {
            assert_eq!(lowest(need(kind, "no_such", None)), None, "{kind:?}");
            let optional = KernelNeed { is_optional: true, ..need(kind, "no_such", None) };
            assert_eq!(lowest(optional), Some(LinuxVersion(5, 8)), "{kind:?}");
        }
        // They have no version: they may change with any.
        for kind in [NeedKind::Function, NeedKind::Type, NeedKind::Tracepoint] {
            assert_eq!(lowest(need(kind, "tcp_connect", None)), Some(LinuxVersion(5, 8)), "{kind:?}");
        }
        let damaged = ObjectNeeds {
            needs: vec![known],
            damaged: vec![("p".to_owned(), "it is cut".to_owned())],
            ..ObjectNeeds::default()
        };
        assert_eq!(damaged.lowest(), None);
    }
}
