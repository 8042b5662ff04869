//! Health probes and metrics over HTTP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bpfman_metrics::OPENMETRICS;
use thiserror::Error;
use tokio::net::TcpListener;

use crate::connections::Admitted;

/// Path of the metrics, which is also the path of the permission to read them.
pub const METRICS: &str = "/metrics";

/// Error of an invalid address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no address to listen on; write HOST:PORT, :PORT, or 0 for none")]
pub struct AddressError(pub String);

/// Parses an address, as the published operator does: `:8175`, `10.0.0.1:8175`, or `0` for none.
pub fn address(text: &str) -> Result<Option<SocketAddr>, AddressError> {
    if text == "0" || text.is_empty() {
        return Ok(None);
    }
    let any = |port: &str| port.parse().ok().map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    match text.strip_prefix(':') {
        Some(port) => any(port),
        None => text.parse().ok(),
    }
    .map(Some)
    .ok_or_else(|| AddressError(text.to_owned()))
}

/// Listens on an address. If the kernel has no IPv6, listens on `0.0.0.0` in place of `[::]`.
pub async fn listen(address: SocketAddr) -> io::Result<Admitted> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse && address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
    .map(Admitted::new)
}

/// Returns the routes `/healthz`, which always succeeds, and `/readyz`, which fails with a reason.
pub fn probes(not_ready: impl Fn() -> Option<String> + Clone + Send + Sync + 'static) -> Router {
    let ready = move || async move {
        match not_ready() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

/// Returns the route [`METRICS`], without access control.
pub fn metrics(text: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    Router::new().route(METRICS, get(move || async move { shown(text()) }))
}

/// Returns a response with metrics.
#[must_use]
pub fn shown(text: String) -> Response {
    ([(CONTENT_TYPE, OPENMETRICS)], text).into_response()
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
        assert!(address("8175").unwrap_err().to_string().contains("HOST:PORT"));
    }
}
