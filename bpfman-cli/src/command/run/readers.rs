//! Tasks that read the followed maps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bpfman_client::{Client, MapAccess, MapFile, PerfReader, PerfRecord, RingReader};
use bpfman_proto::ext::v1 as ext;
use tokio::sync::{Notify, mpsc, watch};
use tonic::Streaming;

use super::followed::{FollowedMap, MapContents};
use crate::error::CliError;

/// Maximum number of queued records. Readers wait while it is reached; the kernel's buffers hold further records.
const AHEAD: usize = 256;
const PERF_PAGES: usize = 64;
/// Maximum page size of all architectures, in bytes.
const PAGE_BYTES: usize = 65_536;
/// Minimum overhead of a record in a buffer, in bytes.
const RECORD_HEADER: usize = 8;

#[derive(Debug)]
pub enum MapUpdate {
    Record(Vec<u8>),
    /// Number of records that did not fit into the buffer.
    Lost(u64),
    Entries {
        entries: Vec<ext::MapContent>,
        cut: bool,
    },
    /// Error after which the map is no longer read.
    Failed(CliError),
}

pub struct MapReaders {
    /// First readings, to which later ones are compared.
    first: VecDeque<(usize, MapUpdate)>,
    records: mpsc::Receiver<(usize, MapUpdate)>,
    readings: Arc<Readings>,
    /// Set when the readers have to stop: indexes of the maps that the next readers continue.
    stop: watch::Sender<Option<Vec<usize>>>,
}

/// Newest reading of each map that is not shown yet. Older ones are dropped: a map is too large to queue, and the
/// daemon closes a connection that is not read.
#[derive(Default)]
struct Readings {
    newest: Mutex<BTreeMap<usize, MapUpdate>>,
    came: Notify,
}

impl Readings {
    fn put(&self, map: usize, reading: MapUpdate) {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).insert(map, reading);
        self.came.notify_one();
    }

    fn take(&self) -> Option<(usize, MapUpdate)> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    async fn next(&self) -> (usize, MapUpdate) {
        loop {
            if let Some(reading) = self.take() {
                return reading;
            }
            self.came.notified().await;
        }
    }
}

impl MapReaders {
    /// Begins to read: no later record is missed. Reads the entries of each map once; for an unreadable map,
    /// the error is its first result, and a run continues without it.
    pub async fn begin(client: &Client, maps: &[FollowedMap], interval: Duration) -> Self {
        let (sender, records) = mpsc::channel(AHEAD);
        let (stop, stopped) = watch::channel(None);
        let (mut first_of_all, readings) = (VecDeque::new(), Arc::new(Readings::default()));
        for (index, map) in maps.iter().enumerate() {
            let told = ResultSender { index, sender: sender.clone(), stopped: stopped.clone() };
            match open(client, map, interval).await {
                Ok(Opened::Ring(ring, bytes)) => drop(tokio::spawn(read_ring(ring, bytes, told))),
                Ok(Opened::Perf(cpus)) => {
                    cpus.into_iter().for_each(|cpu| drop(tokio::spawn(read_perf(cpu, told.clone()))));
                }
                Ok(Opened::Entries(stream, first)) => {
                    let last = last_of(client, map);
                    first_of_all.push_back((index, first));
                    tokio::spawn(read_entries(stream, last, Arc::clone(&readings), told));
                }
                Err(error) => drop(tokio::spawn(async move { told.tell(MapUpdate::Failed(error)).await })),
            }
        }
        Self { first: first_of_all, records, readings, stop }
    }

    /// Returns the next result; waits forever if no map is read.
    pub async fn next(&mut self) -> (usize, MapUpdate) {
        if let Some(first) = self.first.pop_front() {
            return first;
        }
        tokio::select! {
            Some(record) = self.records.recv() => record,
            reading = self.readings.next() => reading,
        }
    }

    /// Makes all readers read the rest and end. Ring buffers among the `kept` maps are left to the next readers.
    pub fn stop(&self, kept: Vec<usize>) {
        // There is no receiver if no map is read.
        let _heard = self.stop.send(Some(kept));
    }

    /// Returns the remaining results. A map that disappeared with its program is no failure then.
    pub async fn rest(&mut self) -> Option<(usize, MapUpdate)> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        while let Some((map, news)) = self.records.recv().await {
            if !matches!(news, MapUpdate::Failed(_)) {
                return Some((map, news));
            }
        }
        self.readings.take()
    }
}

enum Opened {
    /// Reader, and the size of the buffer in bytes.
    Ring(RingReader, usize),
    Perf(Vec<PerfReader>),
    Entries(Streaming<ext::ReadMapResponse>, MapUpdate),
}

async fn open(client: &Client, map: &FollowedMap, interval: Duration) -> Result<Opened, CliError> {
    let write = || async {
        let opened: Result<MapFile, _> = client.open_map_of(map.program, &map.name, MapAccess::Write).await;
        opened.map_err(CliError::Client)
    };
    Ok(match map.contents {
        MapContents::Ring(_) => {
            let map = write().await?;
            let bytes = map.description().max_entries as usize;
            Opened::Ring(map.ring().map_err(CliError::Client)?, bytes)
        }
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

async fn next_reading(stream: &mut Streaming<ext::ReadMapResponse>) -> Result<MapUpdate, CliError> {
    let mut entries = Vec::new();
    while let Some(piece) = stream.message().await? {
        entries.extend(piece.entries);
        if piece.last {
            return Ok(MapUpdate::Entries { entries, cut: piece.cut });
        }
    }
    Err(tonic::Status::unavailable("the daemon reads the map no more").into())
}

fn last_of(
    client: &Client,
    map: &FollowedMap,
) -> impl Future<Output = Result<MapUpdate, CliError>> + Send + 'static {
    let (client, map) = (client.clone(), map.clone());
    async move { next_reading(&mut entries(&client, &map, Duration::ZERO).await?).await }
}

#[derive(Clone)]
struct ResultSender {
    index: usize,
    sender: mpsc::Sender<(usize, MapUpdate)>,
    stopped: watch::Receiver<Option<Vec<usize>>>,
}

impl ResultSender {
    /// Sends a result; returns false if the receiver is gone.
    async fn tell(&self, news: MapUpdate) -> bool {
        self.sender.send((self.index, news)).await.is_ok()
    }

    /// Returns when the readers have to end; true if another reader continues with the map.
    async fn stop(&mut self) -> bool {
        let stopped = self.stopped.wait_for(Option::is_some).await;
        stopped.is_ok_and(|kept| kept.as_ref().is_some_and(|kept| kept.contains(&self.index)))
    }

    /// Sends the rest of a buffer of this size, and no more: programs may write forever.
    async fn tell_rest(&self, mut bytes: usize, mut take: impl FnMut() -> Option<MapUpdate> + Send) {
        while bytes > 0
            && let Some(news) = take()
        {
            let record = if let MapUpdate::Record(record) = &news { record.len() } else { 0 };
            bytes = bytes.saturating_sub(record + RECORD_HEADER);
            if !self.tell(news).await {
                return;
            }
        }
    }
}

async fn read_ring(mut ring: RingReader, bytes: usize, mut told: ResultSender) {
    let is_kept = loop {
        let record = tokio::select! {
            biased;
            is_kept = told.stop() => break is_kept,
            record = ring.next() => record,
        };
        let news = record.map_or_else(|error| MapUpdate::Failed(CliError::Runtime(error)), MapUpdate::Record);
        let failed = matches!(news, MapUpdate::Failed(_));
        if !told.tell(news).await || failed {
            return;
        }
    };
    if !is_kept {
        told.tell_rest(bytes, || ring.take().map(MapUpdate::Record)).await;
    }
}

async fn read_perf(mut cpu: PerfReader, mut told: ResultSender) {
    let news = |record| match record {
        PerfRecord::Sample(bytes) => MapUpdate::Record(bytes),
        PerfRecord::Lost(count) => MapUpdate::Lost(count),
    };
    loop {
        let record = tokio::select! {
            biased;
            // The buffer belongs to this client and ends with its reader, even if the map is kept.
            _ = told.stop() => break,
            record = cpu.next() => record,
        };
        let news = record.map_or_else(|error| MapUpdate::Failed(CliError::Runtime(error)), news);
        let failed = matches!(news, MapUpdate::Failed(_));
        if !told.tell(news).await || failed {
            return;
        }
    }
    told.tell_rest(PERF_PAGES * PAGE_BYTES, || cpu.take().map(news)).await;
}

async fn read_entries(
    mut stream: Streaming<ext::ReadMapResponse>,
    last: impl Future<Output = Result<MapUpdate, CliError>>,
    readings: Arc<Readings>,
    mut told: ResultSender,
) {
    loop {
        let reading = tokio::select! {
            reading = next_reading(&mut stream) => reading,
            _ = told.stop() => {
                if let Ok(reading) = last.await {
                    readings.put(told.index, reading);
                }
                return;
            }
        };
        match reading {
            Ok(reading) => readings.put(told.index, reading),
            Err(error) => {
                told.tell(MapUpdate::Failed(error)).await;
                return;
            }
        }
    }
}
