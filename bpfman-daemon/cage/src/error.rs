//! Why the cage could not be built.

/// What failed, and what root can do. The daemon does not start then.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    /// A word of the configuration.
    #[error("\"{word}\" is none of \"on\", \"log\", \"off\"")]
    Mode {
        /// As it was written.
        word: String,
    },
    /// The kernel keeps a capability, or does not tell.
    #[error("cannot {action}: {source}; the daemon does not run with more capabilities than it needs")]
    Capabilities {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: caps::errors::CapsError,
    },
    /// Whoever started this process kept from it what all of its work takes.
    #[error(
        "the daemon was started without {missing}; give it the capabilities of docs/cage.md (CapabilityBoundingSet= of a \
         unit, securityContext.capabilities of a pod)"
    )]
    Missing {
        /// Each, with what it is for.
        missing: String,
    },
    /// After all was done, the kernel tells of others.
    #[error("the kernel left {found}, where at most {wanted} were to stay")]
    CapabilitiesStay {
        /// What is there.
        found: String,
        /// What was to be there.
        wanted: String,
    },
    /// Threads that are there already keep what they have.
    #[error(
        "{count} threads run already, which would keep their capabilities; this is a mistake in the daemon"
    )]
    Threads {
        /// How many.
        count: usize,
    },
    /// setrlimit(2) or prctl(2) refused what a process for images or objects gives up.
    #[error("a process for images or objects does not get rid of its {right}: {source}")]
    Helper {
        /// What it was to lose.
        right: &'static str,
        /// What the kernel said.
        source: rustix::io::Errno,
    },
    /// prctl(2) refused it.
    #[error("the kernel does not set no_new_privs: {0}")]
    NewPrivileges(rustix::io::Errno),
    /// setrlimit(2) refused it.
    #[error("the kernel does not lower the limit of memory: {0}")]
    Memory(rustix::io::Errno),
    /// A folder that threads may write to.
    #[error("cannot make or open {}, which is to be written to: {source}", folder.display())]
    Folder {
        /// Which.
        folder: std::path::PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Rules about files.
    #[error(
        "the kernel does not hold a thread to its folders: {0}; [cage] landlock = \"off\" in bpfman.toml does without"
    )]
    Landlock(#[from] landlock::RulesetError),
    /// `/proc` is not there.
    #[error("cannot count the threads of this process: {0}")]
    Proc(#[from] std::io::Error),
    /// The table cannot be compiled: a mistake in it, or a processor that it has no numbers for.
    #[error("the filter of system calls cannot be compiled: {0}")]
    Compile(#[from] seccompiler::BackendError),
    /// The kernel does not take the filter.
    #[error(
        "the kernel takes no filter of system calls: {0}; where it was built without seccomp, write [cage] seccomp = \"off\" in bpfman.toml"
    )]
    Install(#[from] seccompiler::Error),
}
