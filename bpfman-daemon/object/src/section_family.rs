//! What a program's section name says about it. The names are libbpf's and aya's.

use std::fmt;

use bpfmand_core::{Direction, ProgramType};

/// The section names that load, for error messages.
pub(crate) const SUPPORTED_SECTIONS: &str = "xdp, xdp.frags, tc, classifier, tcx/ingress, tcx/egress, \
     tracepoint/CATEGORY/NAME, tp/CATEGORY/NAME, kprobe, kretprobe, uprobe, uretprobe, fentry, fexit, lsm";

/// The kind of program that a section name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SectionFamily {
    /// `xdp`, `xdp/NAME`, `xdp.frags`.
    Xdp,
    /// `tc`, `tc/ingress`, `classifier`, `classifier/NAME`.
    Tc(Option<Direction>),
    /// `tcx/ingress`, `tcx/egress`.
    Tcx(Option<Direction>),
    /// `tracepoint/CATEGORY/NAME`, `tp/CATEGORY/NAME`.
    Tracepoint,
    /// `kprobe`, `kprobe/FUNCTION`.
    Kprobe,
    /// `kretprobe`, `kretprobe/FUNCTION`.
    Kretprobe,
    /// `uprobe`, `uprobe.s`, `uprobe/PATH:FUNCTION`.
    Uprobe,
    /// `uretprobe`, `uretprobe.s`, `uretprobe/PATH:FUNCTION`.
    Uretprobe,
    /// `fentry`, `fentry.s`, `fentry/FUNCTION`.
    Fentry,
    /// `fexit`, `fexit.s`, `fexit/FUNCTION`.
    Fexit,
    /// `lsm`, `lsm.s`, `lsm/HOOK`.
    Lsm,
    /// Anything else; holds the section's name.
    Other(String),
}

/// A section's name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParsedSection {
    pub family: SectionFamily,
    pub attach_target: Option<String>,
    pub sleepable: bool,
    pub frags: bool,
}

impl SectionFamily {
    /// True if a program of this section may be loaded as a program of the declared type.
    ///
    /// A declared `kprobe` also takes a return probe's section (and `uprobe` likewise): clients have always
    /// declared both so, and the section knows. A declared `kretprobe` takes a plain probe's section, and is a return probe
    /// all the same: to the kernel the two are one type until they are attached, and no client declares it unasked. `tc` and
    /// `tcx` are one type to the kernel.
    #[must_use]
    pub const fn admits(&self, declared: ProgramType) -> bool {
        matches!(
            (self, declared),
            (Self::Xdp, ProgramType::Xdp)
                | (Self::Tc(_) | Self::Tcx(_), ProgramType::Tc | ProgramType::Tcx)
                | (Self::Tracepoint, ProgramType::Tracepoint)
                | (Self::Kprobe | Self::Kretprobe, ProgramType::Kprobe | ProgramType::Kretprobe)
                | (Self::Uprobe | Self::Uretprobe, ProgramType::Uprobe | ProgramType::Uretprobe)
                | (Self::Fentry, ProgramType::Fentry)
                | (Self::Fexit, ProgramType::Fexit)
                | (Self::Lsm, ProgramType::Lsm)
        )
    }

    /// The type that the section itself asks for; none for an unsupported section.
    #[must_use]
    pub const fn program_type(&self) -> Option<ProgramType> {
        Some(match self {
            Self::Xdp => ProgramType::Xdp,
            Self::Tc(_) => ProgramType::Tc,
            Self::Tcx(_) => ProgramType::Tcx,
            Self::Tracepoint => ProgramType::Tracepoint,
            Self::Kprobe => ProgramType::Kprobe,
            Self::Kretprobe => ProgramType::Kretprobe,
            Self::Uprobe => ProgramType::Uprobe,
            Self::Uretprobe => ProgramType::Uretprobe,
            Self::Fentry => ProgramType::Fentry,
            Self::Fexit => ProgramType::Fexit,
            Self::Lsm => ProgramType::Lsm,
            Self::Other(_) => return None,
        })
    }
}

impl fmt::Display for SectionFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.program_type(), self) {
            (Some(kind), _) => f.write_str(kind.name()),
            (None, Self::Other(section)) => write!(f, "unsupported ({section})"),
            (None, _) => Ok(()),
        }
    }
}

/// Takes a section name apart. Never fails: what is not known is `Other`.
pub(crate) fn parse_section(section: &str) -> ParsedSection {
    // A leading question mark tells libbpf not to load the program by itself; nothing here does.
    let bare = section.strip_prefix('?').unwrap_or(section);
    let (head, rest) = match bare.split_once('/') {
        Some((head, rest)) => (head, Some(rest).filter(|rest| !rest.is_empty())),
        None => (bare, None),
    };
    let (kind, options) = match head.split_once('.') {
        Some((kind, options)) => (kind, Some(options)),
        None => (head, None),
    };
    let other = || ParsedSection {
        family: SectionFamily::Other(section.to_owned()),
        attach_target: None,
        sleepable: false,
        frags: false,
    };
    let direction = match rest.map(|rest| rest.split('/').next().unwrap_or(rest)) {
        Some("ingress") => Some(Direction::Ingress),
        Some("egress") => Some(Direction::Egress),
        _ => None,
    };
    // Sleepable and frags variants exist only for these kinds; every other option is a program type of its own.
    let sleepable = options == Some("s");
    let frags = options == Some("frags");
    let family = match kind {
        // These two run after a redirect, not at a hook of an interface, and the kernel tells them apart.
        "xdp" if matches!(rest, Some("devmap" | "cpumap")) => return other(),
        "xdp" if options.is_none() || frags => SectionFamily::Xdp,
        "tc" | "classifier" if options.is_none() => SectionFamily::Tc(direction),
        "tcx" if options.is_none() => SectionFamily::Tcx(direction),
        "tracepoint" | "tp" if options.is_none() => SectionFamily::Tracepoint,
        "kprobe" if options.is_none() => SectionFamily::Kprobe,
        "kretprobe" if options.is_none() => SectionFamily::Kretprobe,
        "uprobe" if options.is_none() || sleepable => SectionFamily::Uprobe,
        "uretprobe" if options.is_none() || sleepable => SectionFamily::Uretprobe,
        "fentry" if options.is_none() || sleepable => SectionFamily::Fentry,
        "fexit" if options.is_none() || sleepable => SectionFamily::Fexit,
        "lsm" if options.is_none() || sleepable => SectionFamily::Lsm,
        _ => return other(),
    };
    let attach_target = match family {
        SectionFamily::Xdp | SectionFamily::Tc(_) | SectionFamily::Tcx(_) => None,
        _ => rest.map(str::to_owned),
    };
    ParsedSection { family, attach_target, sleepable, frags }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_names_of_libbpf_and_aya_are_understood() {
        use Direction::{Egress, Ingress};
        use SectionFamily as F;
        let table: &[(&str, F, Option<&str>)] = &[
            ("xdp", F::Xdp, None),
            ("xdp/filter", F::Xdp, None),
            ("xdp.frags", F::Xdp, None),
            ("xdp.frags/filter", F::Xdp, None),
            ("?xdp", F::Xdp, None),
            ("tc", F::Tc(None), None),
            ("tc/ingress", F::Tc(Some(Ingress)), None),
            ("tc/egress", F::Tc(Some(Egress)), None),
            ("tc/my_filter", F::Tc(None), None),
            ("classifier", F::Tc(None), None),
            ("classifier/ingress", F::Tc(Some(Ingress)), None),
            ("tcx/ingress", F::Tcx(Some(Ingress)), None),
            ("tcx/egress", F::Tcx(Some(Egress)), None),
            ("tcx", F::Tcx(None), None),
            ("tp/syscalls/sys_enter_openat", F::Tracepoint, Some("syscalls/sys_enter_openat")),
            ("tracepoint/sched/sched_switch", F::Tracepoint, Some("sched/sched_switch")),
            ("tracepoint", F::Tracepoint, None),
            ("kprobe/do_unlinkat", F::Kprobe, Some("do_unlinkat")),
            ("kretprobe/do_unlinkat", F::Kretprobe, Some("do_unlinkat")),
            ("uprobe//usr/lib/libc.so:malloc", F::Uprobe, Some("/usr/lib/libc.so:malloc")),
            ("uprobe.s/libc:malloc", F::Uprobe, Some("libc:malloc")),
            ("uretprobe/libc:malloc", F::Uretprobe, Some("libc:malloc")),
            ("fentry/do_unlinkat", F::Fentry, Some("do_unlinkat")),
            ("fexit.s/do_unlinkat", F::Fexit, Some("do_unlinkat")),
            ("lsm/file_open", F::Lsm, Some("file_open")),
            ("lsm.s/file_open", F::Lsm, Some("file_open")),
        ];
        for (section, family, target) in table {
            let parsed = parse_section(section);
            assert_eq!(&parsed.family, family, "{section}");
            assert_eq!(parsed.attach_target.as_deref(), *target, "{section}");
            let head = section.split('/').next().unwrap_or_default();
            assert_eq!(parsed.sleepable, head.ends_with(".s"), "{section}");
            assert_eq!(parsed.frags, head.ends_with(".frags"), "{section}");
        }
    }

    #[test]
    fn other_program_types_are_not_mistaken_for_ours() {
        for section in [
            "kprobe.multi/do_*",
            "kprobe.session/x",
            "usdt/libc:a:b",
            "ksyscall/openat",
            "raw_tp/x",
            "xdp/devmap",
            "xdp.frags/cpumap",
            "freplace/x",
            "fmod_ret/x",
            "lsm_cgroup/x",
            "iter/task",
            "struct_ops/x",
            "action",
            "",
            "xdpfoo",
            "/",
        ] {
            assert_eq!(parse_section(section).family, SectionFamily::Other(section.to_owned()), "{section}");
        }
    }

    #[test]
    fn declared_types_are_admitted_where_the_kernel_type_agrees() {
        use ProgramType as T;
        let admitted = |section: &str| -> Vec<T> {
            let family = parse_section(section).family;
            T::ALL.into_iter().filter(|declared| family.admits(*declared)).collect()
        };
        assert_eq!(admitted("tc"), [T::Tc, T::Tcx]);
        assert_eq!(admitted("tcx/ingress"), [T::Tc, T::Tcx]);
        assert_eq!(admitted("kprobe/x"), [T::Kprobe, T::Kretprobe]);
        assert_eq!(admitted("kretprobe/x"), [T::Kprobe, T::Kretprobe]);
        assert_eq!(admitted("uretprobe/x"), [T::Uprobe, T::Uretprobe]);
        assert_eq!(admitted("xdp.frags"), [T::Xdp]);
        assert_eq!(admitted("kprobe.multi/x"), []);
    }
}
