//! Status of a program, a link or a chain in the kernel.

use std::fmt;
use std::path::{Path, PathBuf};

use bpfman_model::ProgramId;

/// Status of a program, a link or the chain of a hook, compared with its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Runs as recorded.
    Running,
    /// The interface does not exist; the link is attached when the interface appears.
    Waiting,
    /// Still runs, at an interface that was moved to another namespace.
    Elsewhere,
    /// Still runs in its network namespace, but its path leads to another namespace, or nowhere.
    OtherPath {
        /// The former path; `None` for the daemon's own namespace, which has changed.
        was: Option<PathBuf>,
        /// A path that leads to the namespace now, if any.
        now: Option<PathBuf>,
    },
    /// No path leads to the network namespace, which is not known to have ended: the program may still run.
    Unreachable,
    /// The interface is gone, and the records have not been updated yet.
    Gone,
    /// The program could not be loaded again after a reboot. Loading is retried.
    NotLoaded {
        /// Failure of the last attempt.
        why: String,
    },
    /// Its chain runs without the program: an extension replaces one of its functions, or no chain could be built that
    /// keeps it from sending packets past the machine's programs.
    Withheld { why: String },
    /// The attached process has ended. The link is never attached to another process that reuses the pid.
    Ended { pid: u32 },
    /// The kernel module of the probed function is not loaded. The probe is attached again when the module is loaded.
    ModuleGone { name: String },
    /// Still runs in a file that is no longer at its path.
    OldFile {
        /// The path, or the name of a library.
        path: String,
        /// True if another file is at the path.
        is_there: bool,
        /// Failure of the attempt to attach to that file, if there was one.
        why: Option<String>,
    },
    /// An operation changes it, and has not finished within the wait of a list.
    Changing,
    /// The pin of the link is gone. The program may or may not run.
    Unpinned,
    /// Could not be attached again since the reboot. Each check tries again.
    Unattached {
        /// Failure of the last attempt, if there was one.
        why: Option<String>,
    },
    /// The cgroup or network namespace that it was attached to is gone.
    PlaceGone {
        /// Place, and what is left of it.
        place: GonePlace,
        /// Failure of the attempt to attach to a later one, if there was one.
        why: Option<String>,
    },
    /// Another process replaced the program of the link.
    Replaced {
        /// Kernel id of the other program.
        by: ProgramId,
        /// Name of the other program, if it has one.
        name: Option<String>,
    },
    /// Runs, but lacks a part that it needs.
    Torn {
        lacks: HookPart,
        /// Failure of the repair, if one was tried.
        why: Option<String>,
    },
    /// Nothing remains.
    Lost {
        /// Cause of the loss.
        how: Loss,
        /// Failure of the repair, if one was tried.
        why: Option<String>,
    },
}

/// Place of a link that no process can use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GonePlace {
    /// A cgroup that was deleted.
    Group,
    /// A cgroup that was deleted; another one was made with its path.
    OtherGroup,
    /// A network namespace that has ended.
    Namespace,
    /// A network namespace that a netfilter link keeps, and to which no path leads.
    KeptNamespace,
}

impl GonePlace {
    const fn cause(self) -> &'static str {
        match self {
            Self::Group => "its cgroup is gone",
            Self::OtherGroup => {
                "its cgroup was deleted, another one has its path, to which each check attaches it"
            }
            Self::Namespace => "its network namespace is gone",
            Self::KeptNamespace => {
                "no name, mount or process leads to its network namespace any more, which does not end before it is detached"
            }
        }
    }
}

/// Part of the objects at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPart {
    /// Pins of the programs and maps of a chain.
    ChainPins,
    /// A program in a slot of libxdp's dispatcher.
    Slot,
    /// Links for exactly the existing CPUs.
    CpuLinks,
    ProgramPin,
    /// Pin of a program whose path another object or a folder occupies.
    OwnProgramPin,
    /// Pins of a program's maps.
    MapPins,
    /// Pins of a program's maps, in place of which other objects are pinned.
    OwnMapPins,
}

/// Cause of a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The link was removed.
    LinkRemoved,
    /// The link exists, but was detached by force.
    ForcedOff,
    /// The map that it was attached to is gone, or the link was detached by force.
    MapGone,
    /// The filter was removed.
    FilterRemoved,
    /// The filter runs another program.
    FilterReplaced {
        /// Kernel id of the other program.
        by: ProgramId,
        /// Name of the other program, if it has one.
        name: Option<String>,
    },
    /// libxdp's dispatcher with the program in a slot does not exist.
    DispatcherGone,
    /// The daemon detached it, because it could send packets past the machine's programs.
    Sends,
    /// The kernel module of the probed function was loaded again.
    ModuleReloaded { name: String },
    /// The kernel has no program with the recorded id.
    Unloaded,
    /// The kernel has another program under the recorded id.
    OtherProgram,
}

impl Standing {
    /// Returns whether the status is [`Self::Running`].
    #[must_use]
    pub fn is_running(&self) -> bool {
        *self == Self::Running
    }

    pub(crate) const fn lost(how: Loss) -> Self {
        Self::Lost { how, why: None }
    }

    pub(crate) const fn torn(lacks: HookPart) -> Self {
        Self::Torn { lacks, why: None }
    }

    pub(crate) fn because(mut self, error: &crate::EngineError) -> Self {
        if let Self::Torn { why, .. }
        | Self::Lost { why, .. }
        | Self::OldFile { why, .. }
        | Self::Unattached { why }
        | Self::PlaceGone { why, .. } = &mut self
        {
            *why = Some(error.to_string());
        }
        self
    }

    /// Returns the name of the status, in one word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Running => "ok",
            Self::Waiting
            | Self::ModuleGone { .. }
            | Self::NotLoaded { .. }
            | Self::Withheld { .. }
            | Self::Unattached { .. } => "waiting",
            Self::Elsewhere | Self::OtherPath { .. } | Self::OldFile { .. } => "elsewhere",
            Self::Unreachable => "unreachable",
            Self::Gone | Self::Ended { .. } | Self::PlaceGone { .. } => "gone",
            Self::Changing => "changing",
            Self::Unpinned => "unpinned",
            Self::Replaced { .. } => "replaced",
            Self::Torn { .. } => "torn",
            Self::Lost { .. } => "lost",
        }
    }

    /// Returns a sentence about the cause; empty while the object runs.
    #[must_use]
    pub fn cause(&self) -> String {
        let named = |by: &ProgramId, name: &Option<String>| match name {
            Some(name) => format!("program {by} \"{name}\""),
            None => format!("program {by}"),
        };
        let (what, why) = match self {
            Self::Running => return String::new(),
            Self::Waiting => {
                ("its interface is not there, and it is attached when it comes".to_owned(), &None)
            }
            Self::Elsewhere => {
                ("its interface was moved to another network namespace, where it runs on".to_owned(), &None)
            }
            Self::OtherPath { was, now } => (other_path(was.as_deref(), now.as_deref()), &None),
            Self::Unreachable => (
                "no name, mount or process leads to its network namespace any more, where it may run on; it is \
                 kept until the namespace ends or can be reached"
                    .to_owned(),
                &None,
            ),
            Self::Gone => ("its interface no longer exists".to_owned(), &None),
            Self::NotLoaded { why } => {
                return format!(
                    "the program could not be loaded again, which is tried when a kernel module is loaded and every few \
                     minutes: {why}"
                );
            }
            Self::Withheld { why } => {
                return format!("it is left out until its chain can be built with it: {why}");
            }
            Self::Ended { pid } => {
                (format!("process {pid}, which it was attached to, has ended"), &None)
            }
            Self::ModuleGone { name } => (
                format!("kernel module {name} is not loaded, and it is attached again when the module is"),
                &None,
            ),
            Self::OldFile { path, is_there: true, why } => (
                format!("the file at {path} was replaced or written, and it runs on in what was there before"),
                why,
            ),
            Self::OldFile { path, is_there: false, why } => (
                format!("{path} leads to no file any more, and it runs on in the one that was there before"),
                why,
            ),
            Self::Changing => ("an operation changes it and has not finished yet".to_owned(), &None),
            Self::Unpinned => ("the pin of its link was removed".to_owned(), &None),
            Self::Unattached { why } => {
                ("it is not attached again since the reboot, which each check tries".to_owned(), why)
            }
            Self::PlaceGone { place, why } => (place.cause().to_owned(), why),
            Self::Replaced { by, name } => {
                (format!("someone put {} into its link, which is left as it is", named(by, name)), &None)
            }
            Self::Torn { lacks, why } => (
                match lacks {
                    HookPart::ChainPins => "pins of its chain were removed",
                    HookPart::CpuLinks => {
                        "CPUs were switched on or off, or pins of its links for them were removed"
                    }
                    HookPart::ProgramPin => "its pin was removed",
                    HookPart::OwnProgramPin => "its pin was replaced by another object",
                    HookPart::MapPins => "pins of its maps were removed",
                    HookPart::OwnMapPins => "pins of its maps were replaced by pins of other objects",
                    HookPart::Slot => "someone took a program of its chain out of libxdp's dispatcher",
                }
                .to_owned(),
                why,
            ),
            Self::Lost { how, why } => (
                match how {
                    Loss::LinkRemoved => "its link was removed".to_owned(),
                    Loss::ForcedOff => "its link was detached by force".to_owned(),
                    Loss::MapGone => "its map is gone, or its link was detached by force".to_owned(),
                    Loss::FilterRemoved => "its filter was removed".to_owned(),
                    Loss::FilterReplaced { by, name } => {
                        format!("its filter was replaced by one of {}", named(by, name))
                    }
                    Loss::DispatcherGone => {
                        "libxdp's dispatcher, with it in a slot, was taken away".to_owned()
                    }
                    Loss::Sends => {
                        "it could send packets past the machine's programs of tc or tcx, and was detached until its chain can be \
                         built so that it drops them"
                            .to_owned()
                    }
                    Loss::ModuleReloaded { name } => {
                        format!("kernel module {name} was loaded again, which ended its probe")
                    }
                    Loss::Unloaded => "the kernel no longer has it".to_owned(),
                    Loss::OtherProgram => "the kernel has another program under its id".to_owned(),
                },
                why,
            ),
        };
        match why {
            Some(why) => format!("{what}; {why}"),
            None => what,
        }
    }
}

fn other_path(was: Option<&Path>, now: Option<&Path>) -> String {
    let was = was.map_or_else(
        || "the daemon was moved to another network namespace".to_owned(),
        |was| format!("{} does not lead to its network namespace any more", was.display()),
    );
    match now {
        Some(now) => format!("{was}; it runs on there, by now reached as {}", now.display()),
        None => format!("{was}; it runs on there"),
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => formatter.write_str(self.name()),
            other => write!(formatter, "{}: {}", other.name(), other.cause()),
        }
    }
}
