//! Exit of the daemon after the loss of its starter, if a service manager restarts it. The starter is started before
//! the sandbox is built: a daemon that loses it refuses every load. Programs continue to run meanwhile.

use std::future;
use std::io;
use std::time::Duration;

use crate::workers::WorkerProcesses;

/// Minimum time of service before an exit: systemd gives up after five starts in ten seconds.
const MIN_LIFETIME: Duration = Duration::from_secs(10);

/// Completes with the reason when the starter has exited and the daemon should exit too.
pub fn starter_ends(workers: &WorkerProcesses) -> io::Result<impl Future<Output = anyhow::Error> + use<>> {
    let ends = workers.starter_ends()?;
    let began = tokio::time::Instant::now();
    Ok(async move {
        ends.await;
        if is_there() {
            tracing::error!(
                "the process that starts others has ended: loads are refused until the daemon is started again"
            );
            tokio::time::sleep_until(began + MIN_LIFETIME).await;
            return anyhow::anyhow!(
                "the process that starts others has ended: this daemon ends, to be started again with another"
            );
        }
        tracing::error!("the process that starts others has ended: loads are refused; restart bpfmand");
        future::pending().await
    })
}

/// Returns whether a service manager restarts this process: systemd with the shipped unit, or a kubelet.
fn is_there() -> bool {
    let by_systemd = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    by_systemd || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}
