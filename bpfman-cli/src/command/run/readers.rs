//! The tasks that read what the followed maps say.

use std::time::Duration;

use bpfman_client::{Client, MapAccess, MapFile, PerfReader, PerfRecord, RingReader};
use bpfman_proto::ext::v1 as ext;
use tokio::sync::{mpsc, watch};
use tonic::Streaming;

use super::followed::{FollowedMap, MapContents};
use crate::error::CliError;

/// What was read and is not told yet. Readers wait while there is more: the kernel's own buffers hold what comes meanwhile.
const AHEAD: usize = 256;
/// Pages of the perf buffer of each CPU.
const PERF_PAGES: usize = 64;

/// What was read of a map.
#[derive(Debug)]
pub enum MapNews {
    /// A record of a ring or perf buffer.
    Record(Vec<u8>),
    /// Records that did not fit in.
    Lost(u64),
    /// All entries.
    Entries {
        /// They are.
        entries: Vec<ext::MapContent>,
        /// There are more.
        cut: bool,
    },
    /// It can be read no more, and why.
    Failed(CliError),
}

/// Readers of some maps, by their place in the list.
pub struct MapReaders {
    news: mpsc::Receiver<(usize, MapNews)>,
    stop: watch::Sender<bool>,
}

impl MapReaders {
    /// Begins to read. When it returns, nothing that comes is missed any more; the first entries of each map are read.
    ///
    /// A map that cannot be read is told by its first news: a run goes on without it.
    pub async fn begin(client: &Client, maps: &[FollowedMap], interval: Duration) -> Self {
        let (sender, news) = mpsc::channel(AHEAD);
        let (stop, stopped) = watch::channel(false);
        for (index, map) in maps.iter().enumerate() {
            let told = Told { index, sender: sender.clone(), stopped: stopped.clone() };
            match open(client, map, interval).await {
                Ok(Opened::Ring(ring)) => drop(tokio::spawn(read_ring(ring, told))),
                Ok(Opened::Perf(cpus)) => {
                    cpus.into_iter().for_each(|cpu| drop(tokio::spawn(read_perf(cpu, told.clone()))));
                }
                Ok(Opened::Entries(stream, first)) => {
                    let last = last_of(client, map);
                    tokio::spawn(read_entries(stream, first, last, told));
                }
                Err(error) => drop(tokio::spawn(async move { told.tell(MapNews::Failed(error)).await })),
            }
        }
        Self { news, stop }
    }

    /// The next news; waits for ever where no map is read.
    pub async fn next(&mut self) -> (usize, MapNews) {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// Has all readers read what is there, and end.
    pub fn stop(&self) {
        // Nobody is left to hear it where no map is read.
        let _heard = self.stop.send(true);
    }

    /// What they read until they ended.
    pub async fn rest(&mut self) -> Option<(usize, MapNews)> {
        self.news.recv().await
    }
}

enum Opened {
    Ring(RingReader),
    Perf(Vec<PerfReader>),
    Entries(Streaming<ext::ReadMapResponse>, MapNews),
}

async fn open(client: &Client, map: &FollowedMap, interval: Duration) -> Result<Opened, CliError> {
    let write = || async {
        let opened: Result<MapFile, _> = client.open_map_of(map.program, &map.name, MapAccess::Write).await;
        opened.map_err(CliError::Client)
    };
    Ok(match map.contents {
        MapContents::Ring(_) => Opened::Ring(write().await?.ring().map_err(CliError::Client)?),
        MapContents::Perf(_) => {
            Opened::Perf(write().await?.perf_buffers(PERF_PAGES).map_err(CliError::Client)?)
        }
        MapContents::Entries { .. } | MapContents::Variables(_) => {
            let mut stream = entries(client, map, interval).await?;
            let first = next_reading(&mut stream).await?;
            Opened::Entries(stream, first)
        }
    })
}

async fn entries(
    client: &Client,
    map: &FollowedMap,
    interval: Duration,
) -> Result<Streaming<ext::ReadMapResponse>, CliError> {
    let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
    let request = ext::ReadMapRequest { program_id: map.program, map: map.name.clone(), interval_ms };
    Ok(client.services().ext.read_map(request).await?.into_inner())
}

/// A whole reading.
async fn next_reading(stream: &mut Streaming<ext::ReadMapResponse>) -> Result<MapNews, CliError> {
    let mut entries = Vec::new();
    while let Some(piece) = stream.message().await? {
        entries.extend(piece.entries);
        if piece.last {
            return Ok(MapNews::Entries { entries, cut: piece.cut });
        }
    }
    Err(tonic::Status::unavailable("the daemon reads the map no more").into())
}

/// One more reading, when all is over.
fn last_of(
    client: &Client,
    map: &FollowedMap,
) -> impl Future<Output = Result<MapNews, CliError>> + Send + 'static {
    let (client, map) = (client.clone(), map.clone());
    async move { next_reading(&mut entries(&client, &map, Duration::ZERO).await?).await }
}

/// Where a reader tells what it read.
#[derive(Clone)]
struct Told {
    index: usize,
    sender: mpsc::Sender<(usize, MapNews)>,
    stopped: watch::Receiver<bool>,
}

impl Told {
    /// False if nobody listens any more.
    async fn tell(&self, news: MapNews) -> bool {
        self.sender.send((self.index, news)).await.is_ok()
    }

    /// Returns when the readers are to end.
    async fn stop(&mut self) {
        let _gone = self.stopped.wait_for(|stopped| *stopped).await;
    }
}

async fn read_ring(mut ring: RingReader, mut told: Told) {
    loop {
        let record = tokio::select! {
            record = ring.next() => record,
            () = told.stop() => break,
        };
        let news = record.map_or_else(|error| MapNews::Failed(CliError::Runtime(error)), MapNews::Record);
        let failed = matches!(news, MapNews::Failed(_));
        if !told.tell(news).await || failed {
            return;
        }
    }
    while let Some(record) = ring.take() {
        told.tell(MapNews::Record(record)).await;
    }
}

async fn read_perf(mut cpu: PerfReader, mut told: Told) {
    let news = |record| match record {
        PerfRecord::Sample(bytes) => MapNews::Record(bytes),
        PerfRecord::Lost(count) => MapNews::Lost(count),
    };
    loop {
        let record = tokio::select! {
            record = cpu.next() => record,
            () = told.stop() => break,
        };
        let news = record.map_or_else(|error| MapNews::Failed(CliError::Runtime(error)), news);
        let failed = matches!(news, MapNews::Failed(_));
        if !told.tell(news).await || failed {
            return;
        }
    }
    while let Some(record) = cpu.take() {
        told.tell(news(record)).await;
    }
}

async fn read_entries(
    mut stream: Streaming<ext::ReadMapResponse>,
    first: MapNews,
    last: impl Future<Output = Result<MapNews, CliError>>,
    mut told: Told,
) {
    let mut news = first;
    while told.tell(news).await {
        let reading = tokio::select! {
            reading = next_reading(&mut stream) => reading,
            () = told.stop() => {
                if let Ok(news) = last.await {
                    told.tell(news).await;
                }
                return;
            }
        };
        match reading {
            Ok(next) => news = next,
            Err(error) => {
                // The end of a program is told by who ends it.
                if !*told.stopped.borrow() {
                    told.tell(MapNews::Failed(error)).await;
                }
                return;
            }
        }
    }
}
