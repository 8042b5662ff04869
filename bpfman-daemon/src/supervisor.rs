//! What the daemon leaves to whoever starts it anew.
//!
//! The starter of processes without rights is started before the cage is built; a daemon that lost it cannot have another
//! one, and refuses every load. Where somebody starts the daemon anew, it ends, and is back within a second or two:
//! programs run on, and the new daemon has a new starter. Elsewhere it goes on with what it can do.

use std::future;
use std::io;
use std::time::Duration;

use crate::helpers::HelperProcesses;

/// How long a daemon serves at least that has begun to. systemd gives up on what it started five times in ten seconds, and
/// where starters end soon, programs can be listed and detached between two starts.
const LEAST_LIFE: Duration = Duration::from_secs(10);

/// Waits until the starter has ended, where that is to end the daemon: answers why.
///
/// # Errors
/// The runtime cannot watch one more descriptor.
pub fn starter_ends(
    helpers: Option<&HelperProcesses>,
) -> io::Result<impl Future<Output = anyhow::Error> + use<>> {
    let ends = helpers.map(HelperProcesses::starter_ends).transpose()?;
    let began = tokio::time::Instant::now();
    Ok(async move {
        let Some(ends) = ends else { return future::pending().await };
        ends.await;
        if is_there() {
            tracing::error!(
                "the process that starts others has ended: loads are refused until the daemon is started anew"
            );
            tokio::time::sleep_until(began + LEAST_LIFE).await;
            return anyhow::anyhow!(
                "the process that starts others has ended: this daemon ends, to be started anew with another"
            );
        }
        tracing::error!("the process that starts others has ended: loads are refused; restart bpfmand");
        future::pending().await
    })
}

/// True if whoever started this process starts it anew when it fails: systemd, as the shipped unit says, or a kubelet.
fn is_there() -> bool {
    let by_systemd = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    by_systemd || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}
