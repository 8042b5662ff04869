//! Watching the interfaces and addresses of many namespaces.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::KernelError;

/// Tells where something may have changed. What it is, a look tells: see
/// [`KernelNetwork::addressed_interfaces`](crate::KernelNetwork::addressed_interfaces).
pub trait NetworkWatch: Send {
    /// Watches exactly these namespaces from now on; none stands for the daemon's own. Files that lead to no namespace
    /// are left out. Answers those whose watch begins with this call, also because the file leads to another namespace
    /// than before: what was there before was not watched.
    ///
    /// # Errors
    /// The kernel refuses.
    fn follow(
        &mut self,
        namespaces: &BTreeSet<Option<PathBuf>>,
    ) -> Result<BTreeSet<Option<PathBuf>>, KernelError>;

    /// The namespaces that are watched.
    fn followed(&self) -> BTreeSet<Option<PathBuf>>;

    /// Waits until something may have changed in one of them, at most so long. Answers in which; none if the time is up.
    ///
    /// # Errors
    /// The kernel refuses.
    fn wait(&mut self, timeout: Duration) -> Result<BTreeSet<Option<PathBuf>>, KernelError>;
}
