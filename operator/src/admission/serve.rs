//! Answers over HTTP: `/applications` and `/states`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use kube::core::admission::AdmissionResponse;

use super::review::{Reviewer, read};
use bpfman_runtime::tls::Greeted;

/// A request has an object before and after, and the API server takes objects of 1.5 MiB, escaped in JSON.
const LIMIT: usize = 16 << 20;

/// Answers until the end.
///
/// # Errors
/// The listener ended.
pub async fn serve(listener: Greeted, reviewer: Arc<Reviewer>) -> std::io::Result<()> {
    let router = Router::new()
        .route("/applications", post(application))
        .route("/states", post(state))
        .layer(DefaultBodyLimit::max(LIMIT))
        .with_state(reviewer);
    axum::serve(listener, router).await
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
