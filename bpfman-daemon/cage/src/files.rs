//! Where threads may write: Landlock.
//!
//! It is for threads that neither mount anything nor look at other processes: the kernel refuses both to a thread with any
//! Landlock rule, whatever the rule says (`/proc/PID/ns` and `/proc/PID/root` of others count as tracing them).

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope,
};

use crate::CageError;

/// The newest rules that are asked for; older kernels have fewer, and hold those.
pub(crate) const RULES: ABI = ABI::V6;

/// Whether this kernel holds threads to folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// It does, with so many of the rules.
    There {
        /// The version of its interface.
        version: i32,
    },
    /// It does not, for this reason.
    Absent(&'static str),
}

/// What threads may write to.
#[derive(Clone, Debug)]
pub struct WritableFolders {
    folders: Vec<PathBuf>,
}

impl WritableFolders {
    /// These folders, with all that is in them.
    #[must_use]
    pub const fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// From now on the calling thread, and those that it starts, can make, change and remove files in these folders only,
    /// execute none, listen on no TCP port, and reach no abstract socket and no process of others. What is read, and where
    /// connections go, is not restricted; nor is what is open already. Folders that are missing are made, with mode 0700.
    ///
    /// On a kernel without Landlock nothing happens, which the answer says.
    ///
    /// # Errors
    /// [`CageError::Folder`]: one cannot be made or opened. [`CageError::Landlock`]: the kernel takes no rules of a thread
    /// that has 16 already.
    pub fn confine_thread(&self) -> Result<Landlock, CageError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let changes = AccessFs::from_write(RULES);
        let mut rules = Ruleset::default()
            .handle_access(changes | AccessFs::Execute)?
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::from_all(RULES))?
            .create()?
            // The whole process has it; asking once more is nothing that the filter of calls allows.
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
