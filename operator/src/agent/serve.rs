//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::Shared;
use super::metrics::Gauges;

/// Serves for ever.
///
/// # Errors
/// The listener broke.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shared);
    axum::serve(listener, routes).await
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    match shared.not_ready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let (programs, links) = shared.counts.sum();
    let applications = shared.world.known().applications.len() as u64;
    let gauges = Gauges {
        applications,
        failing: shared.queue.failing() as u64,
        programs,
        links,
        daemon_up: shared.daemon_link.now().up,
        leading: shared.leading(),
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.text(&gauges))
}
