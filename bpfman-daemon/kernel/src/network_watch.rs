use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::KernelError;

/// Reports namespaces in which something may have changed;
/// [`KernelNetwork::addressed_interfaces`](crate::KernelNetwork::addressed_interfaces) reads them.
pub trait NetworkWatch: Send {
    /// Watches exactly these namespaces (`None`: the daemon's own). Returns those whose watch begins now.
    fn follow(
        &mut self,
        namespaces: &BTreeSet<Option<PathBuf>>,
    ) -> Result<BTreeSet<Option<PathBuf>>, KernelError>;

    fn followed(&self) -> BTreeSet<Option<PathBuf>>;

    /// Waits for changes; returns the namespaces with changes, empty after the timeout.
    fn wait(&mut self, timeout: Duration) -> Result<BTreeSet<Option<PathBuf>>, KernelError>;
}
