//! `/healthz`, `/readyz`, `/metrics` and `/figures`.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bpfman_runtime::serve::{metrics, probes};
use tokio::net::TcpListener;

use super::metrics::AgentGauges;
use super::shared::Shared;
use crate::figures::FIGURES;

/// Serves for ever.
///
/// # Errors
/// The listener broke.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener) -> std::io::Result<()> {
    let (asked, read) = (Arc::clone(&shared), Arc::clone(&shared));
    let routes = probes(move || asked.not_ready())
        .merge(metrics(move || figures(&shared)))
        .route(FIGURES, get(move || of_programs(Arc::clone(&read))));
    axum::serve(listener, routes).await
}

/// What programs take, or why the daemon does not tell.
async fn of_programs(shared: Arc<Shared>) -> Response {
    match shared.figures.read(&shared.daemon).await {
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
