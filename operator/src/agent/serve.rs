//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use bpfman_runtime::serve::{metrics, probes};
use tokio::net::TcpListener;

use super::metrics::AgentGauges;
use super::shared::Shared;

/// Serves for ever.
///
/// # Errors
/// The listener broke.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener) -> std::io::Result<()> {
    let asked = Arc::clone(&shared);
    axum::serve(listener, probes(move || asked.not_ready()).merge(metrics(move || figures(&shared)))).await
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
