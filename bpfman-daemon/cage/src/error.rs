/// Error while building the sandbox. The daemon then does not start.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    #[error("\"{word}\" is none of \"on\", \"log\", \"off\"")]
    Mode { word: String },
    #[error("cannot {action}: {source}; the daemon does not run with more capabilities than it needs")]
    Capabilities { action: &'static str, source: caps::errors::CapsError },
    #[error(
        "the daemon was started without {missing}; give it the capabilities of docs/cage.md (CapabilityBoundingSet= of a \
         unit, securityContext.capabilities of a pod)"
    )]
    Missing { missing: String },
    /// The process is in the user namespace of a container.
    #[error(
        "the daemon runs in a user namespace of its own, where no capability counts for eBPF: start it in the machine's \
         (PrivateUsers=no of a unit, hostUsers: true of a pod, no remapped users of a container engine)"
    )]
    UserNamespace,
    #[error("the kernel left {found}, where at most {wanted} were to stay")]
    CapabilitiesStay { found: String, wanted: String },
    #[error(
        "{count} threads run already, which would keep their capabilities; this is a mistake in the daemon"
    )]
    Threads { count: usize },
    #[error("a process for images or objects does not get rid of its {right}: {source}")]
    Worker { right: &'static str, source: rustix::io::Errno },
    #[error("the kernel does not set no_new_privs: {0}")]
    NewPrivileges(rustix::io::Errno),
    #[error("the kernel does not lower the limit of memory: {0}")]
    Memory(rustix::io::Errno),
    #[error("cannot make or open {}, which is to be written to: {source}", folder.display())]
    Folder { folder: std::path::PathBuf, source: std::io::Error },
    #[error(
        "the kernel does not hold a thread to its folders: {0}; [cage] landlock = \"off\" in bpfman.toml does without"
    )]
    Landlock(#[from] landlock::RulesetError),
    #[error("cannot count the threads of this process: {0}")]
    Proc(#[from] std::io::Error),
    /// The table cannot be compiled: it has a mistake, or no numbers for this processor.
    #[error("the filter of system calls cannot be compiled: {0}")]
    Compile(#[from] seccompiler::BackendError),
    #[error(
        "the kernel takes no filter of system calls: {0}; where it was built without seccomp, write [cage] seccomp = \"off\" in bpfman.toml"
    )]
    Install(#[from] seccompiler::Error),
}
