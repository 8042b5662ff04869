use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bpfman_examples::source::MapSource;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::reasons::Reasons;
use crate::tables::{Counters, Tables};

struct Served {
    tables: Tables,
    counters: Counters,
    reasons: Reasons,
}

/// Serializes requests: reading all flows takes tens of milliseconds of CPU time, and megabytes.
type Shared = State<Arc<Mutex<Served>>>;

pub fn serve(maps: &MapSource, address: SocketAddr) -> Result<()> {
    let served = Served {
        tables: Tables::open(maps)?,
        counters: Counters::open(maps)?,
        reasons: Reasons::of_this_kernel(),
    };
    let router = Router::new()
        .route("/flows", get(flows))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(Mutex::new(served)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        eprintln!("serving /flows and /metrics on http://{}", listener.local_addr()?);
        axum::serve(listener, router).await.context("cannot serve")
    })
}

async fn flows(State(served): Shared) -> Response {
    let served = served.lock().await;
    answer("application/x-ndjson", lines(&served))
}

async fn metrics(State(served): Shared) -> Response {
    let served = served.lock().await;
    answer("text/plain; version=0.0.4", exposition(&served))
}

fn answer(kind: &'static str, body: Result<String>) -> Response {
    match body {
        Ok(body) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

fn lines(served: &Served) -> Result<String> {
    let (clock, mut text) = (Clock::now(), String::new());
    for seen in served.tables.read()? {
        writeln!(text, "{}", seen.to_json(&served.reasons, clock))?;
    }
    Ok(text)
}

fn exposition(served: &Served) -> Result<String> {
    let mut text = String::new();
    for (unit, index) in [("packets", 0), ("bytes", 1)] {
        writeln!(text, "# HELP flows_{unit}_total {unit} by what became of them.")?;
        writeln!(text, "# TYPE flows_{unit}_total counter")?;
        for (name, packets, bytes) in served.counters.totals()? {
            writeln!(text, "flows_{unit}_total{{kind=\"{name}\"}} {}", [packets, bytes][index])?;
        }
    }
    writeln!(text, "# HELP flows_drops_total Packets that the kernel dropped, by its reason.")?;
    writeln!(text, "# TYPE flows_drops_total counter")?;
    for (reason, count) in served.counters.drops()? {
        let name = reason.map_or_else(|| "of a subsystem".to_owned(), |reason| served.reasons.name(reason));
        writeln!(text, "flows_drops_total{{reason=\"{name}\"}} {count}")?;
    }
    writeln!(text, "# HELP flows_events_lost_total Events that found the ring full.")?;
    writeln!(text, "# TYPE flows_events_lost_total counter")?;
    writeln!(text, "flows_events_lost_total {}", served.counters.lost()?)?;
    Ok(text)
}
