use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::KernelError;

/// Reports namespaces in which something may have changed. To find out what changed, read them: see
/// [`KernelNetwork::addressed_interfaces`](crate::KernelNetwork::addressed_interfaces).
pub trait NetworkWatch: Send {
    /// Watches exactly these namespaces from now on; `None` stands for the namespace of the daemon. Files that lead to
    /// no namespace are left out. Returns the namespaces with a watch that begins with this call, also because the file
    /// leads to another namespace than before: that namespace was not watched before. Fails if the kernel refuses.
    fn follow(
        &mut self,
        namespaces: &BTreeSet<Option<PathBuf>>,
    ) -> Result<BTreeSet<Option<PathBuf>>, KernelError>;

    /// Returns the watched namespaces.
    fn followed(&self) -> BTreeSet<Option<PathBuf>>;

    /// Waits until something may have changed in a namespace, at most so long. Returns the namespaces with changes;
    /// empty after the timeout. Fails if the kernel refuses.
    fn wait(&mut self, timeout: Duration) -> Result<BTreeSet<Option<PathBuf>>, KernelError>;
}
