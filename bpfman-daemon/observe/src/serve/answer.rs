//! Handling of a connection with one request.

use std::convert::Infallible;
use std::sync::Arc;

use bpfman_metrics::OPENMETRICS;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{REQUEST_TIMEOUT, Scrapes};

const PATH: &str = "/metrics";

const HEAD: usize = 16 << 10;

/// Answers a connection's request; `refusal` is the reason why the client lacks permission.
pub async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    scrapes: Arc<Scrapes>,
    refusal: Option<String>,
) {
    let refusal = refusal.map(Arc::new);
    let service = service_fn(move |request| {
        let (scrapes, refusal) = (Arc::clone(&scrapes), refusal.clone());
        async move { Ok::<_, Infallible>(respond(&request, &scrapes, refusal.as_deref()).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(HEAD)
        // A scrape every few seconds does not need keep-alive, and an idle connection would occupy a slot.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(REQUEST_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics broke off"),
        Err(_) => tracing::debug!("a connection for metrics is ended: its reader is too slow"),
    }
}

async fn respond(
    request: &Request<Incoming>,
    scrapes: &Scrapes,
    refusal: Option<&String>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path != PATH {
        return said(
            StatusCode::NOT_FOUND,
            format!("there is nothing at this path; metrics are at {PATH}\n"),
        );
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut answer = said(StatusCode::METHOD_NOT_ALLOWED, "metrics are read by GET\n".to_owned());
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    if let Some(why) = refusal {
        return said(StatusCode::FORBIDDEN, format!("{why}\n"));
    }
    match scrapes.text().await {
        Some(text) => {
            let mut answer = Response::new(Full::new(text));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
            answer
        }
        None => said(
            StatusCode::INTERNAL_SERVER_ERROR,
            "gathering metrics failed; the daemon's log has more\n".to_owned(),
        ),
    }
}

fn said(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
