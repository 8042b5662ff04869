//! Health probes and figures over HTTP.

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

/// The path of figures, also of the right to read them.
pub const METRICS: &str = "/metrics";

/// An address that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no address to listen on; write HOST:PORT, :PORT, or 0 for none")]
pub struct AddressError(pub String);

/// Reads an address as the flags of the published operator write it: `:8175`, `10.0.0.1:8175`, or `0` for none.
///
/// # Errors
/// Text that is none of these.
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

/// Listens. A kernel without IPv6 has no address that stands for all of both kinds.
///
/// # Errors
/// The address is taken, or none of this machine.
pub async fn listen(address: SocketAddr) -> io::Result<Admitted> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse && address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
    .map(Admitted::new)
}

/// `/healthz`: alive; and `/readyz`, where `not_ready` says why not, if that is so.
pub fn probes(not_ready: impl Fn() -> Option<String> + Clone + Send + Sync + 'static) -> Router {
    let ready = move || async move {
        match not_ready() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

/// [`METRICS`], to everyone.
pub fn metrics(text: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    Router::new().route(METRICS, get(move || async move { shown(text()) }))
}

/// Figures as an answer.
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
