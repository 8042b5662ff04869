//! HTTP server of profiles: `GET /profile?seconds=N&format=folded|pprof|svg`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bpfman_profile::Format;
use tokio::sync::Mutex;

use crate::lease::Scope;
use crate::take::Profiler;

const MAX_SECONDS: u64 = 300;
const SECONDS: u64 = 10;

/// Lock: one profile is taken at a time, further requests wait.
type Shared = Arc<Mutex<Profiler>>;

pub fn serve(profiler: Profiler, listen: SocketAddr) -> Result<()> {
    // Outside the runtime, so that it is dropped after it: the debuginfod client has a runtime of its own, which
    // must not be dropped in asynchronous code.
    let shared: Shared = Arc::new(Mutex::new(profiler));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        eprintln!("listening on {}", listener.local_addr()?);
        let routes = Router::new()
            .route("/profile", get(profile))
            .route("/healthz", get(async || "ok\n"))
            .with_state(Arc::clone(&shared));
        axum::serve(listener, routes).await.context("cannot serve")
    })
}

async fn profile(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let Query { seconds, format } = match Query::parse(query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(message) => return (StatusCode::BAD_REQUEST, message + "\n").into_response(),
    };
    // The blocking task keeps the lock: if the client disconnects, the next request waits for the end of this profile.
    let mut profiler = shared.lock_owned().await;
    let taken = tokio::task::spawn_blocking(move || {
        profiler.take(Scope::default(), Duration::from_secs(seconds)).map(|profile| format.write(&profile))
    });
    match taken.await {
        Ok(Ok(body)) => ([(header::CONTENT_TYPE, format.media_type())], body).into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Query {
    seconds: u64,
    format: Format,
}

impl Query {
    fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self { seconds: SECONDS, format: Format::Folded };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("seconds", text)) => match text.parse() {
                    Ok(seconds @ 1..=MAX_SECONDS) => parsed.seconds = seconds,
                    _ => return Err(format!("seconds={text}: expected 1 to {MAX_SECONDS}")),
                },
                Some(("format", text)) => {
                    parsed.format =
                        text.parse().map_err(|error: bpfman_profile::UnknownFormat| error.to_string())?;
                }
                _ => return Err(format!("\"{pair}\" is not known: expected seconds=N and format=NAME")),
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn missing_parameters_have_defaults_and_unknown_ones_fail() {
        assert_eq!(Query::parse("").unwrap(), Query { seconds: 10, format: Format::Folded });
        assert_eq!(
            Query::parse("seconds=3&format=pprof").unwrap(),
            Query { seconds: 3, format: Format::Pprof }
        );
        for query in ["seconds=0", "seconds=301", "seconds=-1", "format=png", "second=1", "format"] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }
}
