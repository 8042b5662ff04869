//! HTTP endpoints `/applications` and `/states`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use kube::core::admission::AdmissionResponse;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::review::{Reviewer, read};
use bpfman_runtime::tls::TlsListener;

/// Maximum size of a request: two objects of at most 1.5 MiB, escaped in JSON.
const LIMIT: usize = 16 << 20;

/// Usual size of a request. Larger ones, or without a length, are read a few at a time: anyone can send them.
const USUAL: u64 = 256 << 10;
const LARGE_AT_A_TIME: usize = 4;

/// Timeout of a request, twice the time that the API server waits.
const ANSWERED: Duration = Duration::from_secs(10);

/// Serves until the listener fails.
pub async fn serve(listener: TlsListener, reviewer: Arc<Reviewer>) -> std::io::Result<()> {
    let router = Router::new()
        .route("/applications", post(application))
        .route("/states", post(state))
        .layer(DefaultBodyLimit::max(LIMIT))
        .layer(from_fn_with_state(Arc::new(Semaphore::new(LARGE_AT_A_TIME)), few_large))
        .layer(from_fn(in_time))
        .with_state(reviewer);
    axum::serve(listener, router).await
}

/// Limits the time, so that a slow sender does not occupy a slot for large requests.
async fn in_time(request: Request, next: Next) -> Response {
    timeout(ANSWERED, next.run(request)).await.unwrap_or_else(|_| {
        let says = format!("the request was not there and answered within {} s\n", ANSWERED.as_secs());
        (StatusCode::REQUEST_TIMEOUT, says).into_response()
    })
}

async fn few_large(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let length =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length <= USUAL) {
        return next.run(request).await;
    }
    match places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => {
            let says =
                format!("{LARGE_AT_A_TIME} requests of more than {USUAL} bytes are being read: try again\n");
            (StatusCode::SERVICE_UNAVAILABLE, says).into_response()
        }
    }
}

async fn application(State(reviewer): State<Arc<Reviewer>>, body: Bytes) -> Response {
    match read(&body) {
        Ok(request) => match reviewer.application(&request) {
            Ok(response) => answer(response),
            Err(not_yet) => (StatusCode::SERVICE_UNAVAILABLE, not_yet.to_string()).into_response(),
        },
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn state(State(reviewer): State<Arc<Reviewer>>, body: Bytes) -> Response {
    match read(&body) {
        Ok(request) => answer(reviewer.state(&request).await),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

fn answer(response: AdmissionResponse) -> Response {
    Json(response.into_review()).into_response()
}
