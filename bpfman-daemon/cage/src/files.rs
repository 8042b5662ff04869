//! Landlock rules: folders that threads may write to.
//!
//! Only for threads that neither mount nor inspect other processes, which the kernel forbids to threads with rules.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope,
};

use crate::CageError;

/// Version of the Landlock rules. Older kernels enforce the rules that they support.
pub(crate) const RULES: ABI = ABI::V6;

/// Landlock support of this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// Landlock is enforced.
    There { version: i32 },
    /// Landlock is not available, for this reason.
    Absent(&'static str),
}

/// Folders that threads may write to.
#[derive(Clone, Debug)]
pub struct WritableFolders {
    folders: Vec<PathBuf>,
}

impl WritableFolders {
    /// Allows these folders with their contents.
    #[must_use]
    pub const fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// Restricts the calling thread, and threads that it starts: they can change files only in these folders, execute
    /// none, listen on no TCP port, and reach no abstract socket and no process outside. Reads, outgoing connections
    /// and open files are not restricted. Missing folders are created, with mode 0700. Without Landlock, nothing
    /// happens.
    ///
    /// # Errors
    /// [`CageError::Folder`]; [`CageError::Landlock`], for example for a thread that already has 16 layers.
    pub fn confine_thread(&self) -> Result<Landlock, CageError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let changes = AccessFs::from_write(RULES);
        let mut rules = Ruleset::default()
            .handle_access(changes | AccessFs::Execute)?
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::from_all(RULES))?
            .create()?
            // Already set for the process; the seccomp filter forbids setting it again.
            .no_new_privs(false);
        for folder in &self.folders {
            let fail = |source| CageError::Folder { folder: folder.clone(), source };
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
            let opened = PathFd::new(folder).map_err(|error| fail(std::io::Error::other(error)))?;
            rules = rules.add_rule(PathBeneath::new(opened, changes))?;
        }
        Ok(rules.restrict_self()?.landlock.into())
    }
}

impl From<LandlockStatus> for Landlock {
    fn from(status: LandlockStatus) -> Self {
        match status {
            LandlockStatus::Available { effective_abi, .. } => Self::There { version: effective_abi as i32 },
            LandlockStatus::NotEnabled => Self::Absent("this kernel was started without it (lsm=)"),
            LandlockStatus::NotImplemented => Self::Absent(
                "this kernel has none (it came with Linux 5.13), or a filter of whoever started the daemon keeps it away",
            ),
        }
    }
}
