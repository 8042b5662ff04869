use std::sync::Arc;

use axum::Router;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;

use super::readers::{ReaderVerdict, Readers};
use crate::serve::{METRICS, shown};
use crate::tls::TlsListener;

/// Serves `/metrics` over TLS to readers that the API server allows.
pub async fn metrics_for(
    readers: Readers,
    listener: TlsListener,
    text: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> std::io::Result<()> {
    let readers = Arc::new(readers);
    let answer = move |headers: HeaderMap| async move {
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match readers.authorize(authorization, METRICS).await {
            Ok(ReaderVerdict::Allowed) => shown(text()),
            Ok(ReaderVerdict::Unknown) => {
                let says = "metrics are for accounts of the cluster: send a token of one\n";
                (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], says).into_response()
            }
            Ok(ReaderVerdict::Refused { user }) => {
                let says = format!(
                    "{user} may not get {METRICS}: bind it to the ClusterRole bpfman-metrics-reader\n"
                );
                (StatusCode::FORBIDDEN, says).into_response()
            }
            Err(unsaid) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unsaid}\n")).into_response(),
        }
    };
    axum::serve(listener, Router::new().route(METRICS, get(answer))).await
}
