//! All entries of a map, once, page by page: however many there are, the daemon holds few of them.

use bpfman_proto::ext::v1 as wire;
use bpfmand_engine::UsedMap;
use bpfmand_kernel::{Kernel, MapPage, MapPlace};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::authorize::Permit;
use crate::map_contents::most_at_once;
use crate::map_entries::refused;
use crate::server::{Api, fail};

pub type DumpStream = ReceiverStream<Result<wire::DumpMapResponse, Status>>;

/// Of all dumps, so many work at once: the others leave threads to calls that only look.
static WORKING: Semaphore = Semaphore::const_new(2);
/// Pages that are read before the client took those before.
const AHEAD: usize = 2;

/// Reads a map for a caller who may. The map is held until the last page is taken: it is the same one to the end, also if its
/// program is unloaded meanwhile.
pub async fn stream<K: Kernel>(api: Api<K>, permit: Permit, map: UsedMap) -> Result<DumpStream, Status> {
    let place = api.map_readings.enter(permit.uid)?;
    let handle = api
        .read(&permit, move |api| {
            let (details, handle) = api.engine.open_map(&map, false).map_err(fail)?;
            most_at_once(api, &details.facts).map(|_| handle)
        })
        .await?;
    let handle = Arc::new(handle);
    // A map that has no entries to list is refused before the answer begins.
    let first = page(&api, &permit, &handle, MapPlace::default()).await?;
    let (pages, stream) = mpsc::channel(AHEAD);
    let ended = api.watchers.ended();
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = send_all(&api, &permit, &handle, (first, &pages)) => {}
            () = pages.closed() => {}
            () = ended => {}
        }
    });
    Ok(ReceiverStream::new(stream))
}

async fn send_all<K: Kernel>(
    api: &Api<K>,
    permit: &Permit,
    handle: &Arc<K::Handle>,
    (first, pages): (MapPage, &mpsc::Sender<Result<wire::DumpMapResponse, Status>>),
) {
    let mut read = Ok(first);
    loop {
        let (message, next) = match read {
            Ok(MapPage { keys, values, count, next, cut_short }) => {
                let (count, last) = (count as u32, next.is_none());
                (Ok(wire::DumpMapResponse { keys, values, count, last, cut_short }), next)
            }
            Err(failure) => (Err(failure), None),
        };
        if pages.send(message).await.is_err() {
            return;
        }
        let Some(next) = next else { return };
        read = page(api, permit, handle, next).await;
    }
}

async fn page<K: Kernel>(
    api: &Api<K>,
    permit: &Permit,
    handle: &Arc<K::Handle>,
    from: MapPlace,
) -> Result<MapPage, Status> {
    let _turn = WORKING.acquire().await.map_err(|_closed| Status::internal("no map is read any more"))?;
    let handle = Arc::clone(handle);
    let read = move |api: &Api<K>| api.engine.kernel().map_page(&handle, &from).map_err(refused);
    api.read(permit, read).await
}
