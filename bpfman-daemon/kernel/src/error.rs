//! What can go wrong between this daemon and the kernel.

use std::path::PathBuf;
use std::{fmt, io};

use bpfmand_core::{
    CgroupPath, KernelLinkId, MapId, NetfilterPlace, NetnsId, ProgramFacts, ProgramText, Via,
};
use bpfmand_rejection::Rejection;

use crate::ProbeTargetError;

/// A refusal or failure of the kernel, with what was asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The verifier, or a check before it, refused a program.
    #[error("the kernel refused program \"{program}\": {source}{why}")]
    Refused {
        /// Function name.
        program: String,
        /// Why, as far as it is known.
        why: RefusalReason,
        /// The whole log; empty if the kernel refused before verifying.
        log: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Any other call that failed.
    #[error("cannot {action} {subject}: {source}")]
    Call {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// On what.
        subject: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A hook that holds one program is held by another.
    #[error("hook {hook} is already held by {holder}")]
    HookHeld {
        /// Which hook.
        hook: String,
        /// The program that holds it, as far as the kernel tells.
        holder: String,
        /// A command that shows the holder, where there is one.
        look: Option<String>,
    },
    /// A hook that runs no program, and takes none while another interface of the same packets runs one.
    #[error("hook {hook} takes no program while there is one at {holder}")]
    SharedHook {
        /// Which hook.
        hook: String,
        /// Hook of the other interface, and how the two belong together.
        holder: String,
    },
    /// The hook runs another program than the one to be replaced, or has another revision than expected.
    #[error(
        "hook {hook} is no longer as it was expected to be: someone changed it meanwhile; it was left as it is"
    )]
    HookChanged {
        /// Which hook.
        hook: String,
    },
    /// What a program was to be put before or after is not at the hook.
    #[error("{anchor} is not at {hook}, so nothing can be put before or after it")]
    NoAnchor {
        /// The link or program.
        anchor: String,
        /// Which hook.
        hook: String,
    },
    /// A program of a class that runs before all others, beside which none without the flag is put.
    #[error("link {link} {hook} has BPF_F_PREORDER: the kernel puts no link without that flag next to it")]
    Preorder {
        /// Its link.
        link: KernelLinkId,
        /// Which hook.
        hook: String,
    },
    /// A hook has as many programs as the kernel takes.
    #[error("hook {hook} has {most} programs already, the most that the kernel takes; detach one first")]
    HookFull {
        /// Which hook.
        hook: String,
        /// The most.
        most: usize,
    },
    /// A hook is gone.
    #[error("hook {hook} is gone: {reason}")]
    HookGone {
        /// Which hook.
        hook: String,
        /// Interface or namespace.
        reason: &'static str,
    },
    /// A map is not of the kind that a call is for.
    #[error("cannot {action} map {map} of type {map_type}: {reason}")]
    WrongMap {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// Id and name.
        map: String,
        /// The type's name.
        map_type: String,
        /// The reason.
        reason: String,
    },
    /// A map whose definition no kernel takes, or not this one.
    #[error("the kernel refuses map \"{map}\": {why} ({source})")]
    BadMap {
        /// Its name.
        map: String,
        /// Why the kernel refuses it.
        why: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A map without a size.
    #[error(
        "cannot create map \"{map}\": its {property} is 0 in the object, and the kernel refuses that ({source}); the \
         object's own loader sets it before it loads the object"
    )]
    UnsizedMap {
        /// Its name.
        map: String,
        /// "max_entries", "value size" or "key size".
        property: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No such interface.
    #[error("interface \"{name}\" does not exist in {}", netns.as_ref().map_or_else(|| "the daemon's network namespace".to_owned(), |p| format!("network namespace {}", p.display())))]
    NoInterface {
        /// Name as given.
        name: String,
        /// Where it was looked for.
        netns: Option<PathBuf>,
    },
    /// No such network namespace.
    #[error("{} is not a network namespace: {source}", path.display())]
    NoNamespace {
        /// Path as given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A network namespace that a record or a pin names by its identity. It may have ended, and it may live on.
    #[error(
        "{subject} cannot be reached: no name, mount or process leads to its network namespace {} any more; it has ended, or \
         something without a path keeps it, such as a descriptor or a netfilter link", netns.inode
    )]
    NamespaceNotFound {
        /// Object that was looked for in it.
        subject: String,
        /// Which namespace.
        netns: NetnsId,
    },
    /// No such control group.
    #[error("control group {path} does not exist{}", if *unified { "" } else { ": there is no hierarchy of version 2 here" })]
    NoControlGroup {
        /// From the root of the hierarchy.
        path: CgroupPath,
        /// There is a hierarchy of version 2, in which it could be.
        unified: bool,
    },
    /// No such trace point.
    #[error("trace point \"{category}/{name}\" does not exist on this kernel{}", if similar.is_empty() { String::new() } else { format!("; similar: {}", similar.join(", ")) })]
    NoTracepoint {
        /// Folder.
        category: String,
        /// Name.
        name: String,
        /// Up to three that look alike.
        similar: Vec<String>,
    },
    /// No such trace point, by its name alone.
    #[error("trace point \"{name}\" does not exist on this kernel")]
    NoRawTracepoint {
        /// Its name, without a category.
        name: String,
    },
    /// No such function, file or process to probe.
    #[error("cannot probe {target}: {reason}")]
    NoProbeTarget {
        /// What was to be probed.
        target: String,
        /// Why it cannot be.
        reason: ProbeTargetError,
    },
    /// A perf event that is counted by the CPU, on a machine that has no such counter, or none that interrupts.
    #[error(
        "this machine, or its hypervisor, has no counter for perf event {event} that a program could run at; events of \
         the kernel such as cpu-clock need none"
    )]
    NoCounter {
        /// Its name.
        event: &'static str,
    },
    /// An interface that is no netkit device's primary end.
    #[error("interface \"{name}\" is no netkit device by which programs are attached: {why}")]
    NoNetkit {
        /// As given.
        name: String,
        /// What it is instead.
        why: &'static str,
    },
    /// No such CPU, or it is switched off.
    #[error("CPU {cpu} is not online; those that are: {}", online.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    NoCpu {
        /// As given.
        cpu: u32,
        /// Those that are, ascending.
        online: Vec<u32>,
    },
    /// More samples than the machine takes.
    #[error(
        "a program cannot run at {frequency} samples a second: this machine takes at most {most} \
         (/proc/sys/kernel/perf_event_max_sample_rate)"
    )]
    TooFrequent {
        /// As given.
        frequency: u64,
        /// The most.
        most: u64,
    },
    /// Tasks that cannot be told from those of others.
    #[error("the tasks of {of} cannot be told from those of others: {reason}")]
    NoTaskGroup {
        /// A process or a control group.
        of: String,
        /// Why not.
        reason: &'static str,
    },
    /// Another daemon uses the bpffs.
    #[error(
        "the bpffs at {root} is in use by another bpfmand; end that one first, or give this one a runtime folder of its \
         own (--runtime-dir)"
    )]
    HeldByOther {
        /// Where the bpffs is mounted.
        root: String,
    },
    /// The bpffs was mounted in a mount namespace from which mounts do not come out.
    #[error(
        "the bpffs at {root} would be seen by bpfmand alone, whose mounts are its own (PrivateMounts=, PrivateTmp= or \
         ProtectSystem= of a unit; a container without mountPropagation: Bidirectional): it goes when bpfmand ends, and all \
         programs are detached then"
    )]
    PrivatePins {
        /// Where it was mounted.
        root: String,
    },
    /// The path of the bpffs leads elsewhere since this process opened it.
    #[error(
        "the bpffs is no longer mounted at {root}: programs run on and can be changed, but nobody finds their pins by \
         path; restart bpfmand, which mounts it again and puts everything back"
    )]
    NotMounted {
        /// Where it was mounted.
        root: String,
    },
    /// The kernel lacks something.
    #[error("this kernel ({release}) has no {feature}; {needs}")]
    Unsupported {
        /// What is missing.
        feature: &'static str,
        /// `uname -r`.
        release: String,
        /// What would have it.
        needs: &'static str,
    },
}

impl KernelError {
    pub(crate) fn call(
        action: &'static str,
        subject: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Call { action, subject: subject.into(), source: source.into() }
    }

    /// The kernel does not describe its own types.
    pub(crate) const fn no_btf(release: String) -> Self {
        Self::Unsupported {
            feature: "type information of itself (BTF): there is no /sys/kernel/btf/vmlinux",
            release,
            needs: "fentry, fexit and LSM programs and CO-RE relocations need it; Linux 5.4 or later has it if it is built \
                    with CONFIG_DEBUG_INFO_BTF",
        }
    }

    /// Something else has the priority at a netfilter hook, where programs share theirs with nobody.
    pub(crate) fn priority_taken(place: &NetfilterPlace) -> Self {
        Self::HookHeld {
            hook: format!("netfilter {place}"),
            holder: "another program, or a table of nft or iptables, of this priority: take one that nobody there has".to_owned(),
            look: Some("nft list hooks".to_owned()),
        }
    }

    /// A map of sockets runs one program at each hook, and only one of the two verdicts.
    pub(crate) fn sockmap_held(map: MapId) -> Self {
        Self::HookHeld {
            hook: format!("of map {map}"),
            holder: "another program of this kind; what chooses by streams and what chooses by packets exclude each other".to_owned(),
            look: None,
        }
    }

    /// The kernel calls what it knows by a name, and knows each name once.
    pub(crate) fn struct_ops_held(map: MapId) -> Self {
        Self::HookHeld {
            hook: format!("for the functions of map {map}"),
            holder: "what is known to the kernel by the same name, or by none besides it".to_owned(),
            look: Some("bpftool struct_ops show".to_owned()),
        }
    }

    /// What the verifier has against a program, if it refused one.
    #[must_use]
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Refused { why: RefusalReason::Verifier(rejection), .. } => Some(rejection),
            _ => None,
        }
    }

    /// The whole verifier log, if there is one.
    #[must_use]
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Refused { log, .. } if !log.is_empty() => Some(log),
            _ => None,
        }
    }
}

/// Why the kernel refused a program.
#[derive(Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// It refused before its verifier ran, and says nothing.
    Unsaid,
    /// The same, and this is known besides.
    Supposed(String),
    /// The verifier says it in its log.
    Verifier(Box<Rejection>),
}

impl RefusalReason {
    /// Reads the verifier's log on a program.
    pub(crate) fn read(log: &str, text: &ProgramText) -> Self {
        if log.is_empty() { Self::Unsaid } else { Self::Verifier(Box::new(Rejection::read_of(log, text))) }
    }
}

/// What is said behind the kernel's answer.
impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsaid => Ok(()),
            Self::Supposed(what) => write!(f, "; {what}"),
            Self::Verifier(rejection) => write!(f, "; verifier: {rejection}"),
        }
    }
}

/// The program that holds an XDP hook, in words.
pub(crate) fn holder(program: &ProgramFacts, via: &Via) -> String {
    let how = match via {
        Via::XdpLink { links, mode } => match links.as_slice() {
            [link] => format!(", {mode}, by link {link}"),
            _ => format!(", {mode}, by a link"),
        },
        Via::XdpNetlink { mode } => format!(", {mode}, by netlink (`ip link set xdp`)"),
        Via::TcxLink { .. } | Via::TcxProgram | Via::Filter(_) => String::new(),
    };
    format!("program {} (\"{}\", tag {}){how}", program.id, program.name, program.tag_text())
}
