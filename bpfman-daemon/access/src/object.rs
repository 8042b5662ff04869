//! Objects of calls, for permission checks.

use std::fmt;
use std::path::{Path, PathBuf};

use bpfman_image_name::ImageReference;
use bpfman_model::{
    Glob, HookKind, Interface, InterfaceMatch, OrderIntent, Owner, OwningApplication, ProgramType,
};

use crate::{ObjectClass, OwnedObject};

/// Object of a call. A call is allowed if one grant allows all of its objects.
#[derive(Clone, Debug)]
pub enum AccessObject<'a> {
    Type(ProgramType),
    /// Number of a kernel's program type that has no name here.
    UnnamedType(u32),
    Image(ImageReference),
    /// A file with bytecode, by its absolute path.
    File(&'a Path),
    Hook {
        kind: HookKind,
        interface: &'a Interface,
        /// True if the interface is certainly in the caller's own network namespace.
        in_callers_netns: bool,
    },
    /// A network namespace itself.
    Netns {
        /// File of the namespace; `None` for the daemon's own.
        netns: Option<&'a Path>,
        /// True if the namespace is certainly the caller's own.
        in_callers_netns: bool,
    },
    /// Hooks of all matching interfaces, present and future.
    Hooks {
        kind: HookKind,
        interfaces: &'a InterfaceMatch,
    },
    /// Target of a probe, or of a program of fentry, fexit or LSM.
    Target {
        /// Name of the type, such as `uprobe`.
        kind: &'static str,
        /// Binary, function, tracepoint or hook.
        name: &'a str,
    },
    /// All targets with matching names, such as kernel functions.
    Targets {
        /// Name of the type, such as `kprobe`.
        kind: &'static str,
        names: &'a Glob,
    },
    /// Position of a member, by priority.
    Priority(i32),
    /// Position of a member, relative to others.
    Order(&'a OrderIntent),
    /// Position of a member, by index.
    Position,
    /// Hook that is not known yet.
    AnyHook,
    /// Existing object with an owner.
    Owned {
        thing: OwnedObject<'a>,
        owner: &'a Owner,
    },
    /// Application that owns everything that the call makes.
    Application(&'a OwningApplication),
    /// File that a session executes, by its SHA-256; `None` if it is not known.
    Executable(Option<&'a str>),
    /// Instructions that a session loads.
    Instructions {
        /// SHA-256, as hexadecimal digits.
        digest: &'a str,
        /// Lists of recorded programs that contain the digest.
        listed: &'a [PathBuf],
    },
}

impl AccessObject<'_> {
    /// Returns whether the object is an attach point or namespace that is certainly the caller's own.
    #[must_use]
    pub const fn is_in_callers_netns(&self) -> bool {
        matches!(self, Self::Hook { in_callers_netns: true, .. } | Self::Netns { in_callers_netns: true, .. })
    }

    /// Returns whether the object is an attach point or namespace that may be another than the caller's.
    #[must_use]
    pub const fn is_in_other_netns(&self) -> bool {
        matches!(
            self,
            Self::Hook { in_callers_netns: false, .. } | Self::Netns { in_callers_netns: false, .. }
        )
    }

    /// Returns the class, for which a call's row has a rule.
    #[must_use]
    pub const fn class(&self) -> ObjectClass {
        match self {
            Self::Image(_) | Self::File(_) | Self::Executable(_) | Self::Instructions { .. } => {
                ObjectClass::Bytecode
            }
            Self::Type(_)
            | Self::UnnamedType(_)
            | Self::Hook { .. }
            | Self::Netns { .. }
            | Self::Hooks { .. }
            | Self::Target { .. }
            | Self::Targets { .. }
            | Self::Priority(_)
            | Self::Order(_)
            | Self::Position
            | Self::AnyHook => ObjectClass::Place,
            Self::Owned { thing, .. } => thing.class(),
            Self::Application(_) => ObjectClass::Application,
        }
    }
}

impl fmt::Display for AccessObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(program_type) => write!(f, "type {program_type}"),
            Self::UnnamedType(number) => write!(f, "type {}", bpfman_model::uapi::prog_type::name(*number)),
            Self::Image(reference) => write!(f, "image {reference}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Hook { kind, interface, .. } => f.write_str(&kind.at(interface)),
            Self::Netns { netns: Some(path), .. } => write!(f, "network namespace {}", path.display()),
            Self::Netns { netns: None, .. } => f.write_str("the daemon's network namespace"),
            Self::Hooks { kind, interfaces } => {
                let mut names: Vec<_> = interfaces.patterns().iter().map(Glob::as_str).collect();
                names.extend((!interfaces.indexes().is_empty()).then_some("(by number)"));
                f.write_str(&kind.at(&Interface { name: names.join(","), netns: None }))?;
                interfaces.netns().iter().try_for_each(|pattern| write!(f, " in {pattern}"))
            }
            Self::Target { kind, name } => write!(f, "{kind}:{name}"),
            Self::Targets { kind, names } => write!(f, "{kind}:{}", names.as_str()),
            Self::Priority(priority) => write!(f, "priority {priority}"),
            Self::Order(_) => f.write_str("a place by role, or before others"),
            Self::Position => f.write_str("a place by its number"),
            Self::AnyHook => f.write_str("any hook"),
            Self::Owned { thing, owner } => write!(f, "{thing} of {owner}"),
            Self::Application(name) => write!(f, "application {name}"),
            Self::Executable(Some(digest)) => write!(f, "executable sha256:{digest}"),
            Self::Executable(None) => f.write_str("an executable without a digest"),
            Self::Instructions { digest, .. } => write!(f, "instructions sha256:{digest}"),
        }
    }
}
