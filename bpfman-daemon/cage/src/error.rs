/// Error while building the sandbox. The daemon then does not start.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    /// The mode in the configuration is unknown.
    #[error("\"{word}\" is none of \"on\", \"log\", \"off\"")]
    Mode {
        /// Value in the configuration.
        word: String,
    },
    /// The kernel did not drop or report a capability.
    #[error("cannot {action}: {source}; the daemon does not run with more capabilities than it needs")]
    Capabilities {
        /// Action.
        action: &'static str,
        /// Error of the kernel.
        source: caps::errors::CapsError,
    },
    /// The process was started without a required capability.
    #[error(
        "the daemon was started without {missing}; give it the capabilities of docs/cage.md (CapabilityBoundingSet= of a \
         unit, securityContext.capabilities of a pod)"
    )]
    Missing {
        /// Capabilities with their purposes.
        missing: String,
    },
    /// The process is in the user namespace of a container.
    #[error(
        "the daemon runs in a user namespace of its own, where no capability counts for eBPF: start it in the machine's \
         (PrivateUsers=no of a unit, hostUsers: true of a pod, no remapped users of a container engine)"
    )]
    UserNamespace,
    /// The kernel reports more capabilities than should remain.
    #[error("the kernel left {found}, where at most {wanted} were to stay")]
    CapabilitiesStay {
        /// Remaining capabilities.
        found: String,
        /// Expected capabilities.
        wanted: String,
    },
    /// Existing threads would keep their capabilities.
    #[error(
        "{count} threads run already, which would keep their capabilities; this is a mistake in the daemon"
    )]
    Threads {
        /// Number of threads.
        count: usize,
    },
    /// setrlimit(2) or prctl(2) failed in a worker process.
    #[error("a process for images or objects does not get rid of its {right}: {source}")]
    Worker {
        /// Right to be dropped.
        right: &'static str,
        /// Error of the kernel.
        source: rustix::io::Errno,
    },
    /// prctl(2) failed.
    #[error("the kernel does not set no_new_privs: {0}")]
    NewPrivileges(rustix::io::Errno),
    /// setrlimit(2) failed.
    #[error("the kernel does not lower the limit of memory: {0}")]
    Memory(rustix::io::Errno),
    /// A writable folder cannot be created or opened.
    #[error("cannot make or open {}, which is to be written to: {source}", folder.display())]
    Folder {
        /// Path of the folder.
        folder: std::path::PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// A Landlock rule failed.
    #[error(
        "the kernel does not hold a thread to its folders: {0}; [cage] landlock = \"off\" in bpfman.toml does without"
    )]
    Landlock(#[from] landlock::RulesetError),
    /// `/proc` is missing.
    #[error("cannot count the threads of this process: {0}")]
    Proc(#[from] std::io::Error),
    /// The table cannot be compiled: it has a mistake, or no numbers for this processor.
    #[error("the filter of system calls cannot be compiled: {0}")]
    Compile(#[from] seccompiler::BackendError),
    /// The kernel refuses the filter.
    #[error(
        "the kernel takes no filter of system calls: {0}; where it was built without seccomp, write [cage] seccomp = \"off\" in bpfman.toml"
    )]
    Install(#[from] seccompiler::Error),
}
