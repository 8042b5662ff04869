//! What a call is about.

use std::fmt;
use std::path::Path;

use bpfman_image_name::ImageReference;
use bpfmand_core::{
    Glob, HookKind, Interface, InterfaceMatch, OrderIntent, Owner, OwningApplication, ProgramType,
};

use crate::{ObjectClass, OwnedThing};

/// One thing that a call is about. A call is allowed if one grant allows all of its objects.
#[derive(Clone, Debug)]
pub enum AccessObject<'a> {
    /// Programs of this type.
    Type(ProgramType),
    /// An image.
    Image(ImageReference),
    /// A file with bytecode, by its absolute path.
    File(&'a Path),
    /// A hook of one interface.
    Hook {
        /// Of which kind.
        kind: HookKind,
        /// Where.
        interface: &'a Interface,
        /// True if the interface's network namespace is the caller's own for certain.
        in_callers_netns: bool,
    },
    /// A network namespace itself.
    Netns {
        /// Its file; none for the daemon's own.
        netns: Option<&'a Path>,
        /// True if it is the caller's own for certain.
        in_callers_netns: bool,
    },
    /// Hooks of all interfaces that match, now and later.
    Hooks {
        /// Of which kind.
        kind: HookKind,
        /// Where.
        interfaces: &'a InterfaceMatch,
    },
    /// What a probe is put on, or a program of fentry, fexit or LSM is loaded for.
    Target {
        /// The type's name, such as `uprobe`.
        kind: &'static str,
        /// The binary, function, tracepoint or hook.
        name: &'a str,
    },
    /// All targets whose names match, such as kernel functions.
    Targets {
        /// The type's name, such as `kprobe`.
        kind: &'static str,
        /// Which.
        names: &'a Glob,
    },
    /// The place of a member that has this priority.
    Priority(i32),
    /// The place of a member that names others.
    Order(&'a OrderIntent),
    /// The place of a member by its number among all.
    Position,
    /// A hook that is known only later.
    AnyHook,
    /// A thing that is there already.
    Owned {
        /// The thing.
        thing: OwnedThing<'a>,
        /// Its owner.
        owner: &'a Owner,
    },
    /// The application that everything belongs to that the call makes.
    Application(&'a OwningApplication),
}

impl AccessObject<'_> {
    /// The class that a call's row has a rule for.
    #[must_use]
    pub const fn class(&self) -> ObjectClass {
        match self {
            Self::Image(_) | Self::File(_) => ObjectClass::Bytecode,
            Self::Type(_)
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
        }
    }
}
