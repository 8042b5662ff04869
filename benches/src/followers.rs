//! Latency of events at their followers, and the cost of followers to a caller.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::{Endpoint, Uri};

use crate::client::Client;
use crate::daemon::Daemon;
use crate::samples::{Results, ms};

const ROUNDS: usize = 500;
const MANY: usize = 16;
const NONE: u32 = 4_000_000_000;

type Events = Streaming<ext::FollowEventsResponse>;

pub async fn run() -> anyhow::Result<()> {
    let mut results = Results::new("followers")?;
    for (followers, silent) in [(0, 0), (1, 0), (MANY, 0), (1, MANY - 1)] {
        let daemon = Daemon::start()?;
        let mut client = Client::connect(&daemon.socket()).await?;
        let (told, mut heard) = mpsc::unbounded_channel();
        for _ in 0..followers {
            let mut events = follow(&daemon.socket()).await?;
            let told = told.clone();
            tokio::spawn(async move {
                while let Ok(Some(page)) = events.message().await {
                    let now = Instant::now();
                    for _ in &page.entries {
                        let _nobody_counts = told.send(now);
                    }
                }
            });
        }
        let mut unread = Vec::new();
        for _ in 0..silent {
            unread.push(follow(&daemon.socket()).await?);
        }
        let (mut calls, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            anyhow::ensure!(client.unload(NONE).await.is_err(), "nothing has this id");
            calls.push(ms(start));
            for place in 0..followers {
                let at = heard.recv().await.context("a stream ended")?;
                let took = at.duration_since(start).as_secs_f64() * 1000.0;
                if place == 0 {
                    first.push(took);
                }
                if place + 1 == followers {
                    last.push(took);
                }
            }
        }
        let name = format!("{followers} followers, {silent} that read nothing");
        results.add(&format!("refused call: {name}"), "ms", calls)?;
        results.add(&format!("its event at the first: {name}"), "ms", first)?;
        results.add(&format!("its event at the last: {name}"), "ms", last)?;
        let (all, _) = daemon.resident()?;
        results.add(&format!("resident: {name}"), "MB", vec![all])?;
        drop(unread);
    }
    Ok(())
}

async fn follow(socket: &Path) -> anyhow::Result<Events> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await?;
    let mut node = BpfmanNodeClient::new(channel);
    let mut events = node.follow_events(ext::FollowEventsRequest::default()).await?.into_inner();
    // The first message confirms that no later event is missed.
    events.message().await?.context("a stream ended before it began")?;
    Ok(events)
}
