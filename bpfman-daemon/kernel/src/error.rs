use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use bpfman_model::{
    CgroupPath, HookAttachment, KernelLinkId, MapId, NetfilterPlace, NetnsId, ProgramFacts, ProgramText,
};
use bpfmand_rejection::Rejection;

use crate::ProbeTargetError;

/// Error of a kernel operation, with its subject.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The verifier, or a check before it, refused a program.
    #[error("the kernel refused program \"{program}\": {source}{why}")]
    Refused {
        program: String,
        /// Reason, if known.
        why: RefusalReason,
        /// Complete log; empty if the kernel refused before verification.
        log: String,
        source: io::Error,
    },
    /// Any other failed call.
    #[error("cannot {action} {subject}: {source}")]
    Call { action: &'static str, subject: String, source: io::Error },
    #[error("hook {hook} is already held by {holder}")]
    HookHeld {
        hook: String,
        /// Program at the hook, as far as the kernel reports it.
        holder: String,
        /// Command that shows the program, if there is one.
        look: Option<String>,
    },
    /// The hook must stay empty while another interface with the same packets has a program.
    #[error("hook {hook} takes no program while there is one at {holder}")]
    SharedHook {
        hook: String,
        /// Hook of the other interface, and the relation of the two.
        holder: String,
    },
    /// The hook runs another program than the expected one, or has another revision.
    #[error(
        "hook {hook} is no longer as it was expected to be: someone changed it meanwhile; it was left as it is"
    )]
    HookChanged { hook: String },
    /// The anchor of a position is not at the hook.
    #[error("{anchor} is not at {hook}, so nothing can be put before or after it")]
    NoAnchor {
        /// Link or program used as anchor.
        anchor: String,
        hook: String,
    },
    /// A program with BPF_F_PREORDER cannot be the anchor of one without this flag.
    #[error("link {link} {hook} has BPF_F_PREORDER: the kernel puts no link without that flag next to it")]
    Preorder { link: KernelLinkId, hook: String },
    #[error("hook {hook} has {most} programs already, the most that the kernel takes; detach one first")]
    HookFull { hook: String, most: usize },
    #[error("hook {hook} is gone: {reason}")]
    HookGone {
        hook: String,
        /// Removed object: interface or namespace.
        reason: &'static str,
    },
    #[error("cannot {action} map {map} of type {map_type}: {reason}")]
    WrongMap {
        action: &'static str,
        /// Id and name of the map.
        map: String,
        map_type: String,
        reason: String,
    },
    /// The kernel refuses the definition of the map: every kernel does, or only this one.
    #[error("the kernel refuses map \"{map}\": {why} ({source})")]
    BadMap { map: String, why: String, source: io::Error },
    #[error(
        "cannot create map \"{map}\": its {property} is 0 in the object, and the kernel refuses that ({source}); the \
         object's own loader sets it before it loads the object"
    )]
    UnsizedMap {
        map: String,
        /// "max_entries", "value size" or "key size".
        property: &'static str,
        source: io::Error,
    },
    #[error("interface \"{name}\" does not exist in {}", netns.as_ref().map_or_else(|| "the daemon's network namespace".to_owned(), |p| format!("network namespace {}", p.display())))]
    NoInterface {
        name: String,
        /// Searched namespace; `None` for the daemon's own.
        netns: Option<PathBuf>,
    },
    #[error("{} is not a network namespace: {source}", path.display())]
    NoNamespace { path: PathBuf, source: io::Error },
    /// The network namespace of a record or a pin was not found; it may still exist.
    #[error(
        "{subject} cannot be reached: no name, mount or process leads to its network namespace {} any more; it has ended, or \
         something without a path keeps it, such as a descriptor or a netfilter link", netns.inode
    )]
    NamespaceNotFound { subject: String, netns: NetnsId },
    #[error("cgroup {path} does not exist{}", if *unified { "" } else { ": there is no hierarchy of version 2 here" })]
    NoControlGroup {
        /// Path from the root of the hierarchy.
        path: CgroupPath,
        /// Set if there is a hierarchy of version 2.
        unified: bool,
    },
    #[error("trace point \"{category}/{name}\" does not exist on this kernel{}", if similar.is_empty() { String::new() } else { format!("; similar: {}", similar.join(", ")) })]
    NoTracepoint { category: String, name: String, similar: Vec<String> },
    #[error("trace point \"{name}\" does not exist on this kernel")]
    NoRawTracepoint { name: String },
    /// The function, file or process to probe does not exist, or cannot be probed.
    #[error("cannot probe {target}: {reason}")]
    CannotProbe { target: String, reason: ProbeTargetError },
    /// The machine has no hardware counter for the perf event, or the counter cannot raise interrupts.
    #[error(
        "this machine, or its hypervisor, has no counter for perf event {event} that a program could run at; events of \
         the kernel such as cpu-clock need none"
    )]
    NoCounter { event: &'static str },
    /// The interface is not the primary end of a netkit device.
    #[error("interface \"{name}\" is no netkit device by which programs are attached: {why}")]
    NoNetkit { name: String, why: &'static str },
    #[error("CPU {cpu} is not online; those that are: {}", online.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    NoCpu { cpu: u32, online: Vec<u32> },
    #[error(
        "a program cannot run at {frequency} samples a second: this machine takes at most {most} \
         (/proc/sys/kernel/perf_event_max_sample_rate)"
    )]
    TooFrequent {
        /// Frequency in the request, in samples per second.
        frequency: u64,
        most: u64,
    },
    #[error("the tasks of {of} cannot be distinguished from those of others: {reason}")]
    NoTaskGroup {
        /// Process or cgroup.
        of: String,
        reason: &'static str,
    },
    #[error(
        "the bpffs at {root} is in use by another bpfmand; end that one first, or give this one a runtime folder of its \
         own (--runtime-dir)"
    )]
    HeldByOther { root: String },
    /// The bpffs is mounted in a mount namespace without propagation to the machine.
    #[error(
        "the bpffs at {root} would be seen by bpfmand alone, whose mounts are its own (PrivateMounts=, PrivateTmp= or \
         ProtectSystem= of a unit; a container without mountPropagation: Bidirectional): it goes when bpfmand ends, and all \
         programs are detached then"
    )]
    PrivatePins { root: String },
    /// The path of the bpffs leads elsewhere since this process opened it.
    #[error(
        "the bpffs is no longer mounted at {root}: programs run on and can be changed, but no tool finds their pins by \
         path; restart bpfmand, which mounts it again and puts everything back"
    )]
    NotMounted { root: String },
    #[error("this kernel ({release}) has no {feature}; {needs}")]
    Unsupported { feature: &'static str, release: String, needs: &'static str },
}

impl KernelError {
    pub(crate) fn call(
        action: &'static str,
        subject: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Call { action, subject: subject.into(), source: source.into() }
    }

    pub(crate) const fn no_btf(release: String) -> Self {
        Self::Unsupported {
            feature: "type information of itself (BTF): there is no /sys/kernel/btf/vmlinux",
            release,
            needs: "fentry, fexit and LSM programs and CO-RE relocations need it; Linux 5.4 or later has it if it is built \
                    with CONFIG_DEBUG_INFO_BTF",
        }
    }

    /// Priorities of programs are unique at a netfilter hook.
    pub(crate) fn priority_taken(place: &NetfilterPlace) -> Self {
        Self::HookHeld {
            hook: format!("netfilter {place}"),
            holder: "another program, or a table of nft or iptables, of this priority: take one that none there has".to_owned(),
            look: Some("nft list hooks".to_owned()),
        }
    }

    /// A sockmap runs one program per hook, and only one of the two verdict programs.
    pub(crate) fn sockmap_held(map: MapId) -> Self {
        Self::HookHeld {
            hook: format!("of map {map}"),
            holder: "another program of this kind; what chooses by streams and what chooses by packets exclude each other".to_owned(),
            look: None,
        }
    }

    /// Names of struct_ops are unique in the kernel.
    pub(crate) fn struct_ops_held(map: MapId) -> Self {
        Self::HookHeld {
            hook: format!("for the functions of map {map}"),
            holder: "what is known to the kernel by the same name, or by none besides it".to_owned(),
            look: Some("bpftool struct_ops show".to_owned()),
        }
    }

    /// Returns the verifier's rejection, if it refused a program.
    #[must_use]
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Refused { why: RefusalReason::Verifier(rejection), .. } => Some(rejection),
            _ => None,
        }
    }

    /// Returns the complete verifier log, if there is one.
    #[must_use]
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Refused { log, .. } if !log.is_empty() => Some(log),
            _ => None,
        }
    }
}

/// Reason why the kernel refused a program.
#[derive(Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Refused before verification, without a reason.
    Unsaid,
    /// Refused before verification, with a probable reason.
    Supposed(String),
    /// Rejected by the verifier.
    Verifier(Box<Rejection>),
}

impl RefusalReason {
    pub(crate) fn no_log(left: Duration) -> Self {
        Self::Supposed(format!(
            "the verifier's log is left out, since it worked long on refused loads of this owner: try again in {} s",
            left.as_secs().max(1)
        ))
    }

    pub(crate) fn read(log: &str, text: &ProgramText) -> Self {
        if log.is_empty() { Self::Unsaid } else { Self::Verifier(Box::new(Rejection::read_of(log, text))) }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsaid => Ok(()),
            Self::Supposed(what) => write!(f, "; {what}"),
            Self::Verifier(rejection) => write!(f, "; verifier: {rejection}"),
        }
    }
}

pub(crate) fn holder(program: &ProgramFacts, via: &HookAttachment) -> String {
    let how = match via {
        HookAttachment::XdpLink { links, mode } => match links.as_slice() {
            [link] => format!(", {mode}, by link {link}"),
            _ => format!(", {mode}, by a link"),
        },
        HookAttachment::XdpNetlink { mode } => format!(", {mode}, by netlink (`ip link set xdp`)"),
        HookAttachment::TcxLink { .. } | HookAttachment::TcxProgram | HookAttachment::Filter(_) => {
            String::new()
        }
    };
    format!("program {} (\"{}\", tag {}){how}", program.id, program.name, program.tag_text())
}
