use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bpfman_runtime::certificate::{CertificateTerms, alone};
use bpfman_runtime::connections::Admitted;
use bpfman_runtime::manager::Manager;
use bpfman_runtime::scrape::{Readers, metrics_for};
use bpfman_runtime::serve::{address, probes};
use bpfman_runtime::tls::{self, Served};

use super::metrics::AgentGauges;
use super::options::AgentOptions;
use super::shared::Shared;
use crate::figures::FIGURES;

const SERVICE: &str = "bpfman-agent-metrics";

const TERMS: CertificateTerms = CertificateTerms { seconds: 90 * 86_400 };

/// Serves probes and `/figures` until the listener fails.
pub async fn serve(shared: Arc<Shared>, listener: Admitted) -> std::io::Result<()> {
    let (asked, read) = (Arc::clone(&shared), shared);
    let routes =
        probes(move || asked.not_ready()).route(FIGURES, get(move || of_programs(Arc::clone(&read))));
    axum::serve(listener, routes).await
}

pub async fn scrapes(shared: Arc<Shared>, options: &AgentOptions) -> anyhow::Result<()> {
    let Some(address) = address(&options.metrics_bind_address).context("--metrics-bind-address")? else {
        return std::future::pending().await;
    };
    let served = Arc::new(Served::default());
    let listener = tls::listen(address, Arc::clone(&served), None).await;
    let listener = listener.with_context(|| format!("listening on {address} for metrics"))?;
    tracing::info!(metrics = %axum::serve::Listener::local_addr(&listener)?, "metrics over TLS");
    let readers = Readers::new(shared.cluster.client(), Manager::Agent);
    let files = options.metrics_certificate.files();
    let name = [format!("{SERVICE}.{}.svc", options.namespace)];
    tokio::select! {
        kept = async { match &files {
            Some(files) => files.keep(&served).await.map(|never| match never {}).context("the certificate of metrics"),
            None => alone(&name, TERMS, &served, now).await.context("making the certificate of metrics"),
        } } => kept,
        ended = metrics_for(readers, listener, move || figures(&shared)) => ended.context("serving metrics"),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

async fn of_programs(shared: Arc<Shared>) -> Response {
    // A separate task, so that a client that disconnects does not abort the measurement.
    let read = tokio::spawn(async move { shared.figures.read(&shared.daemon).await });
    match read.await.unwrap_or_else(|ended| Err(ended.to_string())) {
        Ok(figures) => Json(&*figures).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

fn figures(shared: &Shared) -> String {
    let (programs, links) = shared.memories.counts();
    let applications = shared.cache.known().applications.len() as u64;
    shared.metrics.text(&AgentGauges {
        applications,
        failing: shared.queue.failing() as u64,
        programs,
        links,
        daemon_up: shared.daemon_link.now().up,
        leading: shared.is_acting(),
    })
}
