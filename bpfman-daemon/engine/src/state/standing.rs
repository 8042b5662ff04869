//! How what was put somewhere stands there.

use std::fmt;
use std::path::{Path, PathBuf};

use bpfmand_core::ProgramId;

/// How a program, a link or the chain of a hook stands, against its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs as recorded.
    Running,
    /// Its interface is not there; it is attached when that comes.
    Waiting,
    /// It runs on where its interface was moved to.
    Elsewhere,
    /// It runs on in its network namespace. The path that it was attached by leads to another one, or no path leads there.
    OtherPath {
        /// That path; none for the daemon's own namespace, which is another one now.
        was: Option<PathBuf>,
        /// A path that leads there now, if any does.
        now: Option<PathBuf>,
    },
    /// No path leads to its network namespace, which is not known to have ended: it may run on.
    Unreachable,
    /// Its interface is gone, and the records do not say so yet.
    Gone,
    /// The program could not be loaded again after a reboot. That is tried again.
    NotLoaded {
        /// The failure of the last try.
        why: String,
    },
    /// The process that it was attached to has ended. It is not attached to another one of that number.
    Ended {
        /// Its number.
        pid: u32,
    },
    /// The kernel module whose function it probed is not loaded. It is attached again when the module is.
    ModuleGone {
        /// Its name.
        name: String,
    },
    /// It runs on in a file that is not at its path any more.
    OldFile {
        /// The path, or the name of a library.
        path: String,
        /// Whether another file is there.
        is_there: bool,
        /// The reason for which it is not attached to that one, once that was tried.
        why: Option<String>,
    },
    /// The pin of its link is not there. Whether anything runs may not be known.
    Unpinned,
    /// Someone put another program into its link.
    Replaced {
        /// Which.
        by: ProgramId,
        /// Its name, if it has one.
        name: Option<String>,
    },
    /// It runs, without a part that it needs.
    Torn {
        /// What is missing.
        lacks: HookPart,
        /// Why it is not mended, once that was tried.
        why: Option<String>,
    },
    /// Nothing of it is there.
    Lost {
        /// What became of it.
        how: Loss,
        /// Why it is not back, once that was tried.
        why: Option<String>,
    },
}

/// A part of what is at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPart {
    /// Pins of the programs and maps that a chain leads to.
    ChainPins,
    /// A program in a slot of libxdp's dispatcher.
    Slot,
    /// Links for each CPU that there is, and for no others.
    CpuLinks,
    /// Pins of a program's maps.
    MapPins,
}

/// What became of something that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its link was removed.
    LinkRemoved,
    /// Its link is there, and was detached by force.
    ForcedOff,
    /// The control group, network namespace or map that it was attached to is gone, or its link was detached by force.
    PlaceGone,
    /// Its filter was removed.
    FilterRemoved,
    /// Its filter runs another program.
    FilterReplaced {
        /// Which.
        by: ProgramId,
        /// Its name, if it has one.
        name: Option<String>,
    },
    /// libxdp's dispatcher, with it in a slot, is not there.
    DispatcherGone,
    /// The kernel module whose function it probes was loaded again.
    ModuleReloaded {
        /// Its name.
        name: String,
    },
    /// The kernel has no program of its id.
    Unloaded,
    /// The kernel has another program under its id.
    OtherProgram,
}

impl Standing {
    /// True if it runs as recorded.
    #[must_use]
    pub fn is_running(&self) -> bool {
        *self == Self::Running
    }

    /// Something that is not there any more.
    pub(crate) const fn lost(how: Loss) -> Self {
        Self::Lost { how, why: None }
    }

    /// Something that lacks a part.
    pub(crate) const fn torn(lacks: HookPart) -> Self {
        Self::Torn { lacks, why: None }
    }

    /// The same, with the reason for which it could not be put back.
    pub(crate) fn because(mut self, error: &crate::EngineError) -> Self {
        if let Self::Torn { why, .. } | Self::Lost { why, .. } | Self::OldFile { why, .. } = &mut self {
            *why = Some(error.to_string());
        }
        self
    }

    /// In one word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Running => "ok",
            Self::Waiting | Self::ModuleGone { .. } | Self::NotLoaded { .. } => "waiting",
            Self::Elsewhere | Self::OtherPath { .. } | Self::OldFile { .. } => "elsewhere",
            Self::Unreachable => "unreachable",
            Self::Gone | Self::Ended { .. } => "gone",
            Self::Unpinned => "missing",
            Self::Replaced { .. } => "replaced",
            Self::Torn { .. } => "torn",
            Self::Lost { .. } => "lost",
        }
    }

    /// What happened, in a sentence; empty while it runs.
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
            Self::Unpinned => ("the pin of its link was removed".to_owned(), &None),
            Self::Replaced { by, name } => {
                (format!("someone put {} into its link, which is left as it is", named(by, name)), &None)
            }
            Self::Torn { lacks, why } => (
                match lacks {
                    HookPart::ChainPins => "pins of its chain were removed",
                    HookPart::CpuLinks => {
                        "CPUs were switched on or off, or pins of its links for them were removed"
                    }
                    HookPart::MapPins => "pins of its maps were removed",
                    HookPart::Slot => "someone took a program of its chain out of libxdp's dispatcher",
                }
                .to_owned(),
                why,
            ),
            Self::Lost { how, why } => (
                match how {
                    Loss::LinkRemoved => "its link was removed".to_owned(),
                    Loss::ForcedOff => "its link was detached by force".to_owned(),
                    Loss::PlaceGone => {
                        "its control group, network namespace or map is gone, or its link was detached by force"
                            .to_owned()
                    }
                    Loss::FilterRemoved => "its filter was removed".to_owned(),
                    Loss::FilterReplaced { by, name } => {
                        format!("its filter was replaced by one of {}", named(by, name))
                    }
                    Loss::DispatcherGone => {
                        "libxdp's dispatcher, with it in a slot, was taken away".to_owned()
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

/// Says in a sentence that something runs where its path no longer leads.
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

/// `ok`, or the word and what happened.
impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => formatter.write_str(self.name()),
            other => write!(formatter, "{}: {}", other.name(), other.cause()),
        }
    }
}
