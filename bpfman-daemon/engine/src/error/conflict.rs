//! Conflicts with the current holder of a hook.

use std::fmt;
use std::path::PathBuf;

use bpfman_model::{Hint, Interface, KernelLinkId, ProgramFacts, ProgramId, XdpRunsIn};

/// Third-party program that holds a hook which accepts only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConflict {
    /// Hook as commands name it.
    pub hook: String,
    pub interface: Interface,
    /// Program that holds the hook; none if the kernel does not report it.
    pub program: Option<ProgramFacts>,
    pub attached: Attached,
    /// Processes that hold the program or its link, as "name (pid, unit)".
    pub held_by: Vec<String>,
}

/// Type of the conflicting attachment, which determines the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Attached by a link.
    Link {
        /// Possible links: more than one only if one program is at interfaces of the same number in several namespaces.
        links: Vec<KernelLinkId>,
        mode: XdpRunsIn,
    },
    /// Attached by a link of bpfman's own, which came with its moved interface.
    Moved,
    /// Attached by a netlink message.
    Netlink { mode: XdpRunsIn },
    /// A dispatcher in libxdp's protocol, with programs of libxdp's users behind it.
    LibxdpDispatcher(Dispatcher),
    /// The kernel does not report the type.
    Unknown,
}

/// A dispatcher in libxdp's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatcher {
    /// Version of the protocol; `None` for dispatchers from before the protocol had versions.
    pub version: Option<u8>,
    /// Number of programs that it calls, if known.
    pub count: Option<usize>,
    /// Programs that are pinned in libxdp's folder, in the order in which they run.
    pub programs: Vec<DispatcherProgram>,
    /// Folder of libxdp's pins, if it has any.
    pub folder: Option<PathBuf>,
    /// Reason why programs of bpfman cannot join it.
    pub cannot_join: Option<&'static str>,
    pub mode: XdpRunsIn,
}

/// Program in a libxdp dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatcherProgram {
    /// Run priority: 0 runs first.
    pub priority: u32,
    /// Kernel id of the program.
    pub id: ProgramId,
    /// Function name, of which the kernel keeps 15 bytes.
    pub name: String,
}

impl HookConflict {
    pub(crate) fn is_dispatcher(&self) -> bool {
        matches!(&self.attached, Attached::LibxdpDispatcher(dispatcher) if dispatcher.cannot_join.is_none())
    }

    #[must_use]
    pub fn hint(&self) -> Hint {
        let Self { interface, .. } = self;
        match &self.attached {
            Attached::Link { links, .. } => match links.first() {
                Some(link) => Hint::Adopt(*link),
                None => Hint::KernelLinks,
            },
            Attached::Moved => Hint::Lines(vec![
                "it is of bpfman: it was attached before the interface was moved here, and runs on; once its links, listed \
                 as elsewhere, are detached, the hook is free"
                    .into(),
                Hint::ListLinks,
            ]),
            Attached::Netlink { mode } => Hint::DetachXdp { interface: interface.clone(), mode: *mode },
            Attached::LibxdpDispatcher(dispatcher) => {
                let why = dispatcher.cannot_join.map(|why| format!(", since {why}")).unwrap_or_default();
                Hint::Lines(vec![
                    format!("bpfman cannot join them{why}").into(),
                    Hint::UnloadDispatcher(interface.clone()),
                ])
            }
            Attached::Unknown => Hint::Holder { command: "bpftool net".to_owned() },
        }
    }
}

impl fmt::Display for HookConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hook {} is already held by ", self.hook)?;
        match &self.program {
            Some(program) => {
                write!(f, "program {} \"{}\" (tag {})", program.id, program.name, program.tag_text())?;
            }
            None => f.write_str("a program of someone else")?,
        }
        match &self.attached {
            Attached::Link { links, mode } => {
                let links: Vec<String> = links.iter().map(ToString::to_string).collect();
                write!(f, ", attached by link {} in {mode} mode", links.join(" or "))?;
            }
            Attached::Moved => f.write_str(", which bpfman attached before the interface was moved here")?,
            Attached::Netlink { mode } => write!(f, ", attached by netlink in {mode} mode")?,
            Attached::LibxdpDispatcher(dispatcher) => {
                f.write_str(", a dispatcher of libxdp")?;
                if let Some(version) = dispatcher.version {
                    write!(f, " (version {version})")?;
                }
                write!(f, " in {} mode", dispatcher.mode)?;
                for (number, program) in dispatcher.programs.iter().enumerate() {
                    f.write_str(if number == 0 { ", which runs " } else { ", " })?;
                    write!(
                        f,
                        "\"{}\" (program {}, priority {})",
                        program.name, program.id, program.priority
                    )?;
                }
                if let Some(count) = dispatcher.count
                    && count != dispatcher.programs.len()
                {
                    write!(f, ", {} of its {count} programs unknown", count - dispatcher.programs.len())?;
                }
                if let Some(folder) = &dispatcher.folder {
                    write!(f, ", pinned in {}", folder.display())?;
                }
            }
            Attached::Unknown => {}
        }
        match &self.held_by[..] {
            [] => Ok(()),
            holders => write!(f, "; held by {}", holders.join(", ")),
        }
    }
}
