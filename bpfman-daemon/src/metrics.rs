//! Metrics for Prometheus: listeners and access.

use std::net::TcpListener as StdTcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use bpfmand_access::AccessVerb;
use bpfmand_api::{AccessSource as _, WantedIdentity};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelFacts as _, RunClock};
use bpfmand_observe::serve::{ReadPermission, Scrapes, TcpReaders, serve_tcp, serve_unix};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::metrics_settings::MetricsSettings;
use crate::policy::PolicySource;
use crate::socket;

/// The kernel's run statistics, enabled while this value lives if root wants them.
pub struct RunStatistics(Option<Mutex<Box<dyn RunClock>>>);

impl RunStatistics {
    /// Enables run statistics if `wanted`. A failure is only logged, since everything else works without them.
    pub fn begin(kernel: &LinuxKernel, wanted: bool) -> Self {
        if !wanted {
            return Self(None);
        }
        let begun = kernel.count_runs();
        let begun =
            begun.inspect_err(|error| tracing::warn!(%error, "metrics.run_statistics: runs are not counted"));
        Self(begun.ok().map(Mutex::new))
    }

    pub fn are_on(&self) -> bool {
        const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
        self.0.is_some() || std::fs::read_to_string(SWITCH).is_ok_and(|text| text.trim() == "1")
    }
}

pub struct ServedMetrics {
    tasks: Vec<JoinHandle<()>>,
    socket: Option<PathBuf>,
}

impl ServedMetrics {
    /// Starts serving. Connections to the unix socket need the same group as those to `clients`, the daemon's socket.
    pub fn serve(
        settings: &MetricsSettings,
        clients: &Path,
        tcp: Option<(StdTcpListener, TcpReaders)>,
        scrapes: &Arc<Scrapes>,
        policy: &Arc<PolicySource>,
    ) -> anyhow::Result<Self> {
        let mut served = Self { tasks: Vec::new(), socket: None };
        if let Some((path, is_named)) = &settings.socket {
            match listen(path, clients) {
                Ok(listener) => {
                    let may_read = may_read(Arc::clone(policy));
                    served.tasks.push(tokio::spawn(serve_unix(listener, Arc::clone(scrapes), may_read)));
                    served.socket = Some(path.clone());
                }
                Err(error) if *is_named => return Err(error.context("configuration: metrics.socket")),
                Err(error) => tracing::warn!("metrics have no unix socket: {error:#}"),
            }
        }
        if let Some((listener, readers)) = tcp {
            let address = listener.local_addr()?;
            let listener = TcpListener::from_std(listener)?;
            served.tasks.push(tokio::spawn(serve_tcp(listener, Arc::clone(scrapes), readers)));
            tracing::info!(%address, "serving metrics");
        }
        Ok(served)
    }

    pub fn end(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(socket) = self.socket
            && let Err(error) = std::fs::remove_file(&socket)
        {
            tracing::debug!(%error, "the socket of metrics stays behind");
        }
    }
}

fn listen(path: &Path, clients: &Path) -> anyhow::Result<UnixListener> {
    let group = std::fs::metadata(clients).context("the socket of clients has no group")?.gid();
    Ok(UnixListener::from_std(socket::make(path, Some(group))?)?)
}

/// Allows readers that may list programs, by the grants in force at that time.
fn may_read(policy: Arc<PolicySource>) -> ReadPermission {
    Box::new(move |stream| {
        let peer = match socket::peer(stream, WantedIdentity::Process) {
            Ok(peer) => peer,
            Err(error) => return Some(format!("the user of this connection is unknown: {error}")),
        };
        policy.policy().decide(&peer, AccessVerb::Read, &[]).err().map(|denial| denial.message)
    })
}
