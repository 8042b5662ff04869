//! Health probes over HTTP, and metrics over HTTPS or HTTP.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;
use super::readers::{Readers, Verdict};
use crate::admission::tls::Greeted;

/// The path of metrics, also of the right to read them.
const METRICS: &str = "/metrics";

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
            (StatusCode::OK, "ok".to_owned())
        } else {
            let troubles = metrics.troubles();
            let lines = [&["still listing".to_owned()], &troubles[..]].concat();
            (StatusCode::SERVICE_UNAVAILABLE, lines.join("\n"))
        }
    };
    let router = Router::new().route("/healthz", get(|| async { "ok" })).route("/readyz", get(ready));
    axum::serve(TcpListener::bind(address).await?, router).await
}

/// Answers `/metrics` to everyone, without encryption.
///
/// # Errors
/// The address cannot be listened on.
pub async fn metrics(address: SocketAddr, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let text = move || async move { shown(&metrics) };
    let router = Router::new().route(METRICS, get(text));
    axum::serve(TcpListener::bind(address).await?, router).await
}

/// Answers `/metrics` over TLS, to whom the API server lets read them.
///
/// # Errors
/// The listener ended.
pub async fn metrics_for(readers: Readers, listener: Greeted, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let readers = Arc::new(readers);
    let text = move |headers: HeaderMap| async move {
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match readers.judge(authorization, METRICS).await {
            Ok(Verdict::Allowed) => shown(&metrics),
            Ok(Verdict::Unknown) => {
                let says = "metrics are for accounts of the cluster: send a token of one\n";
                (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], says).into_response()
            }
            Ok(Verdict::Refused { user }) => {
                let says = format!(
                    "{user} may not get {METRICS}: bind it to the ClusterRole bpfman-metrics-reader\n"
                );
                (StatusCode::FORBIDDEN, says).into_response()
            }
            Err(unsaid) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unsaid}\n")).into_response(),
        }
    };
    axum::serve(listener, Router::new().route(METRICS, get(text))).await
}

fn shown(metrics: &Metrics) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.text()).into_response()
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
