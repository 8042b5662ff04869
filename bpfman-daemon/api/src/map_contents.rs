//! Entries of a map, as a stream: once, or at intervals.

use std::time::Duration;

use bpfman_model::{Hint, MapFacts, Owner, Peer, ProgramId, Reason, map_type};
use bpfman_proto::ext::v1 as wire;
use bpfmand_access::AccessVerb;
use bpfmand_engine::WantedMap;
use bpfmand_kernel::{Kernel, MapEntry};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audit;
use crate::authorize::Permit;
use crate::maps::programs_of;
use crate::places::{ReadingBounds, ReadingPlace};
use crate::server::{Api, fail};
use crate::status;
use crate::status::{denied, invalid};

pub type MapStream = ReceiverStream<Result<wire::ReadMapResponse, Status>>;

/// Maximum entries and bytes of one reading, which stays in memory until the client has received it.
const MAX_ENTRIES: usize = 10_000;
const MAX_BYTES: usize = 4 << 20;
/// Limits of concurrent streams: a client has one for each map that it follows.
pub const MAP_READINGS: ReadingBounds = ReadingBounds { most: 64, most_of_one: 16, working: 3 };
const PIECE: usize = 256 << 10;
/// Minimum interval of readings, in milliseconds: each occupies a thread that other calls need.
const MIN_INTERVAL: u32 = 100;
const MAX_INTERVAL: u32 = 3_600_000;

struct Reading {
    entries: Vec<MapEntry>,
    cut: bool,
}

/// Streams a map to the caller, who needs a permission for every program that uses it.
pub async fn stream<K: Kernel>(api: Api<K>, request: wire::ReadMapRequest) -> Result<MapStream, Status> {
    let interval = match request.interval_ms {
        0 => None,
        MIN_INTERVAL..=MAX_INTERVAL => Some(Duration::from_millis(request.interval_ms.into())),
        other => {
            return Err(invalid(format!(
                "a map cannot be read every {other} ms: {MIN_INTERVAL} to {MAX_INTERVAL}, or 0 for once"
            )));
        }
    };
    let wanted = WantedMap::OfProgram { program: ProgramId(request.program_id), name: request.map };
    audit::map(&wanted);
    let found = api.engine.find_map(&wanted);
    let users: Vec<(ProgramId, Owner)> = found.iter().flat_map(|map| map.users()).collect();
    // Check permissions before existence: a caller that may read no map learns of none.
    let permit = api.authorize(&programs_of(&users))?;
    found.map_err(fail)?;
    let place = api.map_readings.enter(permit.account)?;
    let caller = audit::peer().ok_or_else(|| denied("the calling process cannot be identified"))?;
    let asked = Asked { permit, caller, wanted, place };
    let (pieces, stream) = mpsc::channel(1);
    let first = read(&api, &asked).await?;
    let ended = api.watchers.ended();
    tokio::spawn(async move {
        let work = repeat(&api, &asked, (first, interval), &pieces);
        tokio::select! {
            () = work => {}
            () = pieces.closed() => {}
            () = ended => {}
        }
    });
    Ok(ReceiverStream::new(stream))
}

struct Asked {
    permit: Permit,
    caller: Peer,
    wanted: WantedMap,
    place: ReadingPlace,
}

async fn repeat<K: Kernel>(
    api: &Api<K>,
    asked: &Asked,
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
        reading = match read(api, asked).await {
            Ok(reading) => reading,
            Err(failure) => {
                let _nobody_reads = pieces.send(Err(failure)).await;
                return;
            }
        };
    }
}

/// Reads the map once. The map is looked up and the grants are checked each time: nothing is held between readings.
async fn read<K: Kernel>(api: &Api<K>, asked: &Asked) -> Result<Reading, Status> {
    let turn = asked.place.turn().await?;
    let (wanted, caller) = (asked.wanted.clone(), asked.caller.clone());
    api.read(&asked.permit, move |api| {
        let _turn = turn;
        let map = api.engine.find_map(&wanted).map_err(fail)?;
        let users: Vec<(ProgramId, Owner)> = map.users().collect();
        let decided = api.policy_for(&caller).decide(&caller, AccessVerb::MapsRead, &programs_of(&users));
        decided.map_err(|denial| status::denial(&denial))?;
        let (details, handle) = api.engine.open_map(&map, false).map_err(fail)?;
        let most = most_at_once(api, &details.facts)?;
        let entries = api.engine.kernel().map_entries(&handle, most + 1);
        let mut entries = entries.map_err(|error| fail(error.into()))?;
        let cut = entries.len() > most;
        entries.truncate(most);
        Ok(Reading { entries, cut })
    })
    .await
}

/// Returns the maximum number of entries of one reading. Refuses a map with entries that are larger than a reading.
pub fn most_at_once<K: Kernel>(api: &Api<K>, facts: &MapFacts) -> Result<usize, Status> {
    let cpus = api.engine.kernel().features().possible_cpus;
    most_entries(facts.map_type, facts.key_size, facts.value_size, cpus).ok_or_else(|| {
        let what = format!(
            "one entry of map {} \"{}\" takes more than {} MiB, the most of one reading",
            facts.id,
            facts.name,
            MAX_BYTES >> 20
        );
        status::refusal_with(Reason::TooLarge, &what, Some(Hint::PinMap(facts.id)))
    })
}

fn most_entries(kind: u32, key: u32, value: u32, cpus: u32) -> Option<usize> {
    // Each CPU has a value, padded to a multiple of 8 bytes.
    let each = (value as usize).next_multiple_of(8) * cpus as usize;
    let values = if map_type::is_per_cpu(kind) { each } else { value as usize };
    let most = (MAX_BYTES / (key as usize + values).max(1)).min(MAX_ENTRIES);
    (most > 0).then_some(most)
}

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

    #[test]
    fn a_reading_counts_the_values_of_all_cpus() {
        assert_eq!(most_entries(map_type::ARRAY, 4, 8, 64), Some(MAX_ENTRIES));
        assert_eq!(most_entries(map_type::PERCPU_ARRAY, 4, 1599, 64), Some(40));
        assert_eq!(most_entries(map_type::ARRAY, 4, 4 << 20, 64), None);
        assert_eq!(most_entries(map_type::PERCPU_HASH, 4, 1 << 17, 32), None);
    }

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
