//! Health probes and metrics over HTTP.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// Reads an address as the flags of the published operator write it: `:8175`, `10.0.0.1:8175`, or `0` for none.
///
/// # Errors
/// Text that is none of these.
pub fn address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "0" || text.is_empty() {
        return Ok(None);
    }
    let any = |port: &str| port.parse().ok().map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    match text.strip_prefix(':') {
        Some(port) => any(port),
        None => text.parse().ok(),
    }
    .map(Some)
    .ok_or_else(|| format!("`{text}` is no address to listen on; write HOST:PORT, :PORT, or 0 for none"))
}

/// Answers `/healthz` and `/readyz`: alive, and everything listed once.
///
/// # Errors
/// The address cannot be listened on.
pub async fn health(address: SocketAddr, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let ready = move || async move {
        if metrics.complete() {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "still listing")
        }
    };
    let router = Router::new().route("/healthz", get(|| async { "ok" })).route("/readyz", get(ready));
    axum::serve(TcpListener::bind(address).await?, router).await
}

/// Answers `/metrics`, without encryption.
///
/// # Errors
/// The address cannot be listened on.
pub async fn metrics(address: SocketAddr, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let text = move || async move { ([("content-type", "text/plain; version=0.0.4")], metrics.text()) };
    let router = Router::new().route("/metrics", get(text));
    axum::serve(TcpListener::bind(address).await?, router).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn addresses_are_read_as_the_published_flags_write_them() {
        assert_eq!(address(":8175").unwrap().unwrap().port(), 8175);
        assert_eq!(address("127.0.0.1:9").unwrap(), Some("127.0.0.1:9".parse().unwrap()));
        assert_eq!(address("0").unwrap(), None);
        assert!(address("8175").unwrap_err().contains("HOST:PORT"));
    }
}
