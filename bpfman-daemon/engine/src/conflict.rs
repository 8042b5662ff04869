//! Hooks that are held by programs of others: who is in the way, and what can be done.

use std::fmt;
use std::path::PathBuf;

use bpfmand_core::{
    HookEntry, HookKey, HookKind, Interface, KernelLinkId, ProgramFacts, ProgramId, Via, XdpRunsIn,
};
use bpfmand_kernel::{Kernel, KernelError};

use crate::chain::hook_text;
use crate::libxdp::config::{self, Read};
use crate::{Engine, EngineError};

/// A program of others that holds a hook which takes only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConflict {
    /// The hook as commands name it.
    pub hook: String,
    /// The interface in it.
    pub interface: Interface,
    /// What holds it; none if the kernel does not tell.
    pub program: Option<ProgramFacts>,
    /// How it is attached.
    pub attached: Attached,
    /// Processes that hold the program or its link, "name (pid, unit)".
    pub held_by: Vec<String>,
}

/// How a program that is in the way is attached, which decides what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    /// By a link.
    Link {
        /// Those that may be it: more than one only where one program is at interfaces of the same number in several
        /// namespaces.
        links: Vec<KernelLinkId>,
        /// Where it runs.
        mode: XdpRunsIn,
    },
    /// By a netlink message.
    Netlink {
        /// Where it runs.
        mode: XdpRunsIn,
    },
    /// It is a dispatcher in libxdp's protocol, with programs of libxdp's users behind it.
    LibxdpDispatcher(Dispatcher),
    /// In a way that the kernel does not tell.
    Unknown,
}

/// A dispatcher in libxdp's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatcher {
    /// Version of the protocol; none before it had a version.
    pub version: Option<u8>,
    /// How many programs it calls, where that is known.
    pub count: Option<usize>,
    /// Those of them that are pinned where libxdp keeps pins, in the order in which packets meet them.
    pub programs: Vec<DispatcherProgram>,
    /// Where libxdp keeps their pins, if they are there.
    pub folder: Option<PathBuf>,
    /// Why programs of bpfman cannot join it.
    pub cannot_join: Option<&'static str>,
    /// Where it runs.
    pub mode: XdpRunsIn,
}

/// A program in libxdp's dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatcherProgram {
    /// 0 runs first.
    pub priority: u32,
    /// The kernel's id.
    pub id: ProgramId,
    /// Its function's name, of which the kernel keeps 15 bytes.
    pub name: String,
}

impl<K: Kernel> Engine<K> {
    /// Attaches to a hook that takes one program. Where another is there, it is named.
    ///
    /// The kernel alone decides whether the hook is free; the look at who holds it comes after that, and if the other one
    /// has left in between, the attach is tried again.
    pub(crate) fn attach_where_free(
        &self,
        key: &HookKey,
        interface: &Interface,
        mut attach: impl FnMut() -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        const MOST_TRIES: usize = 4;
        let mut left = MOST_TRIES;
        loop {
            left -= 1;
            match attach() {
                Err(EngineError::Kernel(KernelError::HookHeld { .. })) => {}
                other => return other,
            }
            let contents = self.kernel.hook_contents(interface.netns.as_deref(), key)?;
            let Some(entry) = contents.entries.first() else {
                if left > 0 {
                    continue;
                }
                return Err(self.conflict(key, interface, None));
            };
            return Err(self.conflict(key, interface, Some(entry)));
        }
    }

    /// Names a program of others at a hook that takes one program, before a chain is built that cannot be attached. What
    /// runs `ours` is a link of ours that is about to go. Where the look fails the kernel decides.
    pub(crate) fn refuse_taken(
        &self,
        key: &HookKey,
        interface: &Interface,
        ours: Option<ProgramId>,
    ) -> Result<(), EngineError> {
        if key.kind != HookKind::Xdp {
            return Ok(());
        }
        let Ok(contents) = self.kernel.hook_contents(interface.netns.as_deref(), key) else { return Ok(()) };
        // A program on the card leaves room for one in the driver or the stack.
        let on_card = |via: &Via| matches!(via, Via::XdpLink { mode, .. } | Via::XdpNetlink { mode } if *mode == XdpRunsIn::Offload);
        let is_theirs =
            |entry: &&HookEntry| (ours.is_none() || entry.program != ours) && !on_card(&entry.via);
        let Some(entry) = contents.entries.iter().find(is_theirs) else { return Ok(()) };
        match self.conflict(key, interface, Some(entry)) {
            // Ours may join it.
            EngineError::HookHeld(held) if matches!(held.attached, Attached::LibxdpDispatcher(_)) => Ok(()),
            error => Err(error),
        }
    }

    pub(crate) fn conflict(
        &self,
        key: &HookKey,
        interface: &Interface,
        entry: Option<&HookEntry>,
    ) -> EngineError {
        let program =
            entry.and_then(|entry| entry.program).and_then(|id| self.kernel.program(id).unwrap_or(None));
        let attached = match entry.map(|entry| &entry.via) {
            Some(Via::XdpLink { links, mode }) => Attached::Link { links: links.clone(), mode: *mode },
            Some(Via::XdpNetlink { mode }) => Attached::Netlink { mode: *mode },
            _ => Attached::Unknown,
        };
        let (mode, link) = match &attached {
            Attached::Link { links, mode } => (Some(*mode), links.first().copied()),
            Attached::Netlink { mode } => (Some(*mode), None),
            _ => (None, None),
        };
        let dispatcher = program.as_ref().zip(mode).and_then(|(program, mode)| {
            let is_linked = matches!(attached, Attached::Link { .. });
            self.dispatcher(key, program, mode, is_linked)
        });
        EngineError::HookHeld(Box::new(HookConflict {
            hook: hook_text(key, interface),
            interface: interface.clone(),
            held_by: self.holders(program.as_ref().map(|program| program.id), link),
            program,
            attached: dispatcher.map_or(attached, Attached::LibxdpDispatcher),
        }))
    }

    /// What can be told of a dispatcher of libxdp.
    fn dispatcher(
        &self,
        key: &HookKey,
        program: &ProgramFacts,
        mode: XdpRunsIn,
        is_linked: bool,
    ) -> Option<Dispatcher> {
        let glance = self.glance_at_dispatcher(key, program).ok().flatten()?;
        // Without the lock it is told as well as can be: nothing is decided by it.
        let _lock = self.kernel.lock_folder(&self.libxdp_pins).ok();
        let programs = self.slots_of(&glance).unwrap_or_default().into_iter().map(|slot| DispatcherProgram {
            priority: slot.slot.priority,
            id: slot.program.id,
            name: slot.program.name,
        });
        let (version, count) = match &glance.config {
            Read::Slots(slots) => (Some(config::VERSION), Some(slots.len())),
            Read::Version(version) => (Some(*version), None),
            Read::Other => (None, None),
        };
        let cannot_join = if !self.kernel.features().freplace {
            Some("this kernel lets no program take the place of another's function (freplace)")
        } else if is_linked {
            Some("it is attached by a link, which libxdp does not do")
        } else {
            None
        };
        Some(Dispatcher {
            version,
            count,
            programs: programs.collect(),
            folder: Some(glance.folder)
                .filter(|folder| self.kernel.list_folder(folder).is_ok_and(|names| !names.is_empty())),
            cannot_join,
            mode,
        })
    }
}

impl HookConflict {
    /// True if a dispatcher of libxdp holds the hook that programs of bpfman may join.
    pub(crate) fn is_dispatcher(&self) -> bool {
        matches!(&self.attached, Attached::LibxdpDispatcher(dispatcher) if dispatcher.cannot_join.is_none())
    }

    /// What can be done about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self { interface, .. } = self;
        let ip = |words: &str| match &interface.netns {
            None => format!("`ip {words}`"),
            Some(netns) => format!("`nsenter --net={} ip {words}`", netns.display()),
        };
        let off = |mode: XdpRunsIn| {
            let word = match mode {
                XdpRunsIn::Generic => "xdpgeneric",
                XdpRunsIn::Native => "xdpdrv",
                XdpRunsIn::Offload => "xdpoffload",
            };
            ip(&format!("link set dev {} {word} off", interface.name))
        };
        match &self.attached {
            Attached::Link { links, .. } => {
                let link = links.first().map(ToString::to_string).unwrap_or_default();
                format!(
                    "`bpfman adopt {link}` makes it a member of a chain of bpfman without a gap; then attach yours \
                     before or after it"
                )
            }
            Attached::Netlink { mode } => format!(
                "it is attached without a link, so nobody can take it over without a gap: {} removes it, and packets \
                 pass unfiltered until something is attached in its place",
                off(*mode)
            ),
            Attached::LibxdpDispatcher(dispatcher) => format!(
                "bpfman cannot join them{}: `xdp-loader status` shows them, and `xdp-loader unload {name} --all` \
                 removes them; load them with bpfman to have them in one chain with yours",
                dispatcher.cannot_join.map(|why| format!(", since {why}")).unwrap_or_default(),
                name = interface.name,
            ),
            Attached::Unknown => {
                "`bpftool net` shows who holds the hook; bpfman never replaces programs of others".to_owned()
            }
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
