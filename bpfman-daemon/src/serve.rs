//! The daemon's sockets: served until a signal, until the starter ends, or while nothing needs the daemon.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bpfmand_api::{Activity, Api, SocketSystem};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_observe::serve::{Scrapes, TcpReaders};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::csi::Csi;
use crate::metrics::ServedMetrics;
use crate::policy::PolicySource;
use crate::workers::WorkerProcesses;
use crate::{socket, subordinate_users, supervisor};

/// Time for requests in progress at shutdown, and again for their threads: below a second. A start settles the rest.
pub const GRACE: Duration = Duration::from_millis(400);

pub struct Metrics<'m> {
    pub tcp: Option<(std::net::TcpListener, TcpReaders)>,
    pub scrapes: &'m Arc<Scrapes>,
    pub policy: &'m Arc<PolicySource>,
}

pub async fn serve(
    config: &Config,
    api: &Api<LinuxKernel>,
    (csi, metrics): (Option<Csi>, Metrics<'_>),
    workers: &WorkerProcesses,
    is_needed: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
    let socket = socket::open(&config.socket, config.socket_group)?;
    socket::make_agent_lock(&config.socket);
    let listener = UnixListener::from_std(socket.listener)?;
    let csi = csi.map(Csi::serve).transpose()?;
    let Metrics { tcp, scrapes, policy } = metrics;
    let metrics = ServedMetrics::serve(&config.metrics, &config.socket, tcp, scrapes, policy)?;
    let ready = [sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status("serving")];
    if let Err(error) = sd_notify::notify(&ready) {
        tracing::warn!(%error, "systemd was not notified that the daemon is ready");
    }
    tracing::info!(socket = %config.socket.display(), "serving");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    subordinate_users::read();
    socket::compare_pods(config.pod_logs.clone());
    let system = SocketSystem {
        identify: socket::peer,
        unread: |stream| bpfmand_kernel::linux::unread_by_peer(stream),
        account_uid: subordinate_users::account_uid,
        trim: bpfmand_kernel::linux::trim_heap,
    };
    let server = api.serve(listener, system, async {
        let _dropped = stopped.await;
    });
    let mut server = Box::pin(server);
    let activity = api.activity();
    let mut starter_ends = Box::pin(supervisor::starter_ends(workers)?);
    let mut failed = None;
    loop {
        tokio::select! {
            () = &mut server => anyhow::bail!("the server ended"),
            _ = terminate.recv() => tracing::info!("SIGTERM: ending"),
            _ = interrupt.recv() => tracing::info!("SIGINT: ending"),
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: holding programs against the policy");
                let api = api.clone();
                tokio::task::spawn_blocking(move || {
                    let Ok(_inside) = api.gate().enter() else { return };
                    if let Err(error) = api.hold_against_policy() {
                        tracing::warn!(%error, "running programs cannot be held against the policy");
                    }
                });
                continue;
            }
            () = idle(&activity, config.idle, &is_needed) => tracing::info!("idle: ending"),
            why = &mut starter_ends => failed = Some(why),
        }
        break;
    }
    let _still_there = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    api.end_streams();
    metrics.end();
    drop(stop);
    let end_csi = async {
        if let Some(csi) = csi {
            csi.end(GRACE).await;
        }
    };
    let (result, ()) = tokio::join!(tokio::time::timeout(GRACE, server), end_csi);
    if socket.ours
        && let Err(error) = std::fs::remove_file(&config.socket)
    {
        tracing::warn!(%error, "the socket stays behind");
    }
    // A client that ignores the shutdown of the connection keeps it open, which loses nothing.
    if result.is_err() && activity.idle().is_none() {
        tracing::warn!("requests were still in progress; the next start settles them");
    }
    failed.map_or(Ok(()), Err)
}

/// Completes when no request was in progress for `limit` and the daemon is not needed; never without a limit.
async fn idle(activity: &Activity, limit: Option<Duration>, is_needed: impl Fn() -> bool) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        match activity.idle() {
            Some(idle) if idle >= limit && !is_needed() => return,
            Some(idle) if idle >= limit => tokio::time::sleep(limit).await,
            Some(idle) => tokio::time::sleep(limit.saturating_sub(idle)).await,
            None => tokio::time::sleep(limit).await,
        }
    }
}
