//! The entries of a map, as a stream: once, or again and again.

use std::time::Duration;

use bpfman_proto::ext::v1 as wire;
use bpfmand_access::AccessObject;
use bpfmand_core::{Owner, ProgramId};
use bpfmand_engine::WantedMap;
use bpfmand_kernel::{Kernel, MapEntry};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audit;
use crate::authorize::Permit;
use crate::server::{Api, fail};
use crate::status::invalid;

pub type MapStream = ReceiverStream<Result<wire::ReadMapResponse, Status>>;

/// Entries of one reading, and bytes.
const MOST_ENTRIES: usize = 10_000;
const MOST_BYTES: usize = 16 << 20;
/// Bytes of one piece.
const PIECE: usize = 256 << 10;
/// How often a map may be read, in milliseconds: each reading takes a thread that others need too.
const LEAST_INTERVAL: u32 = 100;
const MOST_INTERVAL: u32 = 3_600_000;

/// A whole reading.
struct Reading {
    entries: Vec<MapEntry>,
    cut: bool,
}

/// Reads a map for the caller, who needs a right over every program that uses it.
pub async fn stream<K: Kernel>(api: Api<K>, request: wire::ReadMapRequest) -> Result<MapStream, Status> {
    let interval = match request.interval_ms {
        0 => None,
        LEAST_INTERVAL..=MOST_INTERVAL => Some(Duration::from_millis(request.interval_ms.into())),
        other => {
            return Err(invalid(format!(
                "a map cannot be read every {other} ms: {LEAST_INTERVAL} to {MOST_INTERVAL}, or 0 for once"
            )));
        }
    };
    let wanted = WantedMap::OfProgram { program: ProgramId(request.program_id), name: request.map };
    audit::map(&wanted);
    let found = api.engine.find_map(&wanted);
    let users: Vec<(ProgramId, Owner)> = found.iter().flat_map(|map| map.users()).collect();
    let owned: Vec<_> = users
        .iter()
        .map(|(id, owner)| AccessObject::Owned { name: format!("program {id}"), owner })
        .collect();
    // Who may read no map learns of none.
    let permit = api.authorize(&owned)?;
    found.map_err(fail)?;
    let (pieces, stream) = mpsc::channel(1);
    let first = read(&api, &permit, &wanted).await?;
    let ended = api.watchers.ended();
    tokio::spawn(async move {
        let work = repeat(&api, &permit, &wanted, (first, interval), &pieces);
        tokio::select! {
            () = work => {}
            () = pieces.closed() => {}
            () = ended => {}
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// Sends readings until one fails, none is wanted any more, or one was all.
async fn repeat<K: Kernel>(
    api: &Api<K>,
    permit: &Permit,
    wanted: &WantedMap,
    (first, interval): (Reading, Option<Duration>),
    pieces: &mpsc::Sender<Result<wire::ReadMapResponse, Status>>,
) {
    let mut reading = first;
    loop {
        if !send(reading, pieces).await {
            return;
        }
        let Some(interval) = interval else { return };
        tokio::time::sleep(interval).await;
        reading = match read(api, permit, wanted).await {
            Ok(reading) => reading,
            Err(failure) => {
                let _nobody_reads = pieces.send(Err(failure)).await;
                return;
            }
        };
    }
}

/// One reading. The map is found anew: nothing is held between two of them.
async fn read<K: Kernel>(api: &Api<K>, permit: &Permit, wanted: &WantedMap) -> Result<Reading, Status> {
    let wanted = wanted.clone();
    api.read(permit, move |api| {
        let map = api.engine.find_map(&wanted).map_err(fail)?;
        let (details, handle) = api.engine.open_map(&map, false).map_err(fail)?;
        let one = (details.facts.key_size as usize + details.facts.value_size as usize).max(1);
        let most = (MOST_BYTES / one).clamp(1, MOST_ENTRIES);
        let entries = api.engine.kernel().map_entries(&handle, most + 1);
        let mut entries = entries.map_err(|error| fail(error.into()))?;
        let cut = entries.len() > most;
        entries.truncate(most);
        Ok(Reading { entries, cut })
    })
    .await
}

/// False if nobody reads any more.
async fn send(reading: Reading, pieces: &mpsc::Sender<Result<wire::ReadMapResponse, Status>>) -> bool {
    let mut piece = wire::ReadMapResponse::default();
    let mut bytes = 0;
    for MapEntry { key, value } in reading.entries {
        bytes += key.len() + value.len();
        piece.entries.push(wire::MapContent { key, value });
        if bytes >= PIECE {
            bytes = 0;
            if pieces.send(Ok(std::mem::take(&mut piece))).await.is_err() {
                return false;
            }
        }
    }
    (piece.last, piece.cut) = (true, reading.cut);
    pieces.send(Ok(piece)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reading_comes_in_pieces_and_says_where_it_ends() {
        let entry = |byte| MapEntry { key: vec![byte; 4], value: vec![byte; PIECE] };
        let (pieces, mut received) = mpsc::channel(8);
        assert!(send(Reading { entries: vec![entry(1), entry(2)], cut: true }, &pieces).await);
        drop(pieces);
        let mut seen = Vec::new();
        while let Some(piece) = received.recv().await {
            let piece = piece.unwrap();
            seen.push((piece.entries.len(), piece.last, piece.cut));
        }
        assert_eq!(seen, [(1, false, false), (1, false, false), (0, true, true)]);
    }
}
