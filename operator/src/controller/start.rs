use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use bpfman_runtime::serve;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::admission;
use crate::clock::ServerClock;
use crate::controller::console::{ConsoleRights, serve_console};
use crate::controller::decide::summarize::Presence;
use crate::controller::deploy::{self, DeployImages, Deployed};
use crate::controller::flags::ControllerFlags;
use crate::controller::metrics::ControllerMetrics;
use crate::controller::run::Controller;
use crate::controller::watches;
use crate::controller::write::act::ApiWriter;
use crate::controller::write::leader::{Election, Leadership};
use bpfman_runtime::backoff::random;
use bpfman_runtime::connect::{self, Pings};
use bpfman_runtime::manager::Manager;
use bpfman_runtime::note::EventWriter;
use bpfman_runtime::scrape::{Readers, metrics_for};
use bpfman_runtime::tls::{self, Served};

const WAITING: usize = 1024;

/// Runs the controller until SIGTERM or SIGINT.
pub async fn start(flags: ControllerFlags) -> anyhow::Result<()> {
    let home = flags.namespace.clone();
    let images = match flags.no_deploy {
        true => None,
        false => Some(DeployImages { home: home.clone(), ..DeployImages::from_environment()? }),
    };
    let probes = serve::address(&flags.health_probe_bind_address)?;
    let scrapes = serve::address(&flags.metrics_bind_address)?;
    let console = serve::address(&flags.console_bind_address)?;
    let mut config =
        Config::infer().await.context("no API server: neither a pod's account nor a kubeconfig")?;
    Manager::Controller.introduce(&mut config);
    let clock = ServerClock::default();
    let client = connect::client(&config, Pings::CONTROLLER)
        .context("the configuration of the API server")?
        .with_layer(&clock.listening())
        .build();
    let identity = identity();
    let metrics = Arc::new(ControllerMetrics::default());

    let duration = Duration::from_secs(flags.lease_seconds);
    let (election, leadership) = match flags.leader_elect {
        true => {
            let (election, leadership) = Election::new(&client, &flags.namespace, identity.clone(), duration);
            (Some(Arc::new(election)), leadership)
        }
        false => (None, Leadership::alone()),
    };
    let (publish, deployed) = watch::channel(Deployed::default());
    let (out, events) = mpsc::channel(WAITING);
    watches::start(&client, &metrics, &out);
    tokio::spawn(watches::agents(client.clone(), home, deployed.clone(), metrics.clone(), out.clone()));
    let presence = if flags.assume_agents { Presence::Everywhere } else { Presence::ByPod };
    let writer = ApiWriter {
        client: client.clone(),
        events: EventWriter::new(client.clone(), Manager::Controller, identity),
        metrics: metrics.clone(),
        leadership: leadership.clone(),
    };
    let controller = Controller::new(
        writer,
        flags.namespace.clone(),
        leadership.clone(),
        deployed,
        presence,
        clock.clone(),
    );
    let controller = controller.run(events);
    let deploying = if_any(
        images
            .map(|images| deploy::run(client.clone(), images, flags.namespace.clone(), leadership, publish)),
    );
    let electing = if_any(election.as_ref().map(|election| election.run()));
    let served = Arc::new(Served::default());
    let probing = if_any(probes.map(async |address| {
        let metrics = metrics.clone();
        let probes = serve::probes(move || metrics.not_ready());
        answer(address, probes).await.with_context(|| format!("probes on {address}"))
    }));
    let scraping = if_any(scrapes.map(async |address| {
        let scraped = scraped(address, &flags, &client, &metrics, &served).await;
        scraped.with_context(|| format!("metrics on {address}"))
    }));
    let showing = if_any(console.map(async |address| {
        let listener = tls::listen(address, served.clone(), None).await;
        let listener = listener.with_context(|| format!("the console on {address}"))?;
        let rights = ConsoleRights::new(client.clone());
        serve_console(rights, listener, out.clone())
            .await
            .with_context(|| format!("the console on {address}"))
    }));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = tokio::select! {
        () = controller => Err(anyhow::anyhow!("the watches ended")),
        () = deploying => Err(anyhow::anyhow!("the deployment ended")),
        () = electing => Err(anyhow::anyhow!("the election ended")),
        ended = probing => ended,
        ended = scraping => ended,
        ended = showing => ended,
        ended = admission::run(client.clone(), &flags.admission, &flags.namespace, served.clone(), clock) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    if let Some(election) = election {
        info!("giving the lease back");
        election.release().await;
    }
    ended
}

async fn scraped(
    address: SocketAddr,
    flags: &ControllerFlags,
    client: &Client,
    metrics: &Arc<ControllerMetrics>,
    served: &Arc<Served>,
) -> anyhow::Result<()> {
    let metrics = metrics.clone();
    let text = move || metrics.text();
    if !flags.metrics_secure {
        return Ok(answer(address, serve::metrics(text)).await?);
    }
    let listener = tls::listen(address, served.clone(), None).await?;
    Ok(metrics_for(Readers::new(client.clone(), Manager::Controller), listener, text).await?)
}

async fn if_any<W: Future>(work: Option<W>) -> W::Output {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn answer(at: SocketAddr, routes: Router) -> std::io::Result<()> {
    axum::serve(serve::listen(at).await?, routes).await
}

fn identity() -> String {
    let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    let host = host
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()));
    let token = (random() * f64::from(u32::MAX)) as u32;
    format!("{}_{token:08x}", host.unwrap_or_else(|_| "controller".to_owned()))
}
