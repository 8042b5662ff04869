//! All entries of a map, once, page by page: however many there are, the daemon holds few of them.

use std::sync::Arc;

use bpfman_proto::ext::v1 as wire;
use bpfmand_access::AccessVerb;
use bpfmand_core::{Owner, Peer, ProgramId};
use bpfmand_engine::UsedMap;
use bpfmand_kernel::{Kernel, MapPage, MapPlace};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::authorize::Permit;
use crate::map_contents::most_at_once;
use crate::map_entries::refused;
use crate::maps::programs_of;
use crate::places::ReadingPlace;
use crate::server::{Api, fail};
use crate::status::denied;
use crate::{audit, status};

pub type DumpStream = ReceiverStream<Result<wire::DumpMapResponse, Status>>;

/// Pages that are read before the client took those before.
const AHEAD: usize = 2;

/// Who reads which map.
struct Dump<K: Kernel> {
    api: Api<K>,
    permit: Permit,
    caller: Peer,
    place: ReadingPlace,
    /// Programs that reach the map, and whose they are: about these the grants are asked.
    users: Arc<[(ProgramId, Owner)]>,
    handle: Arc<K::Handle>,
}

/// Reads a map for a caller who may. The map is held until the last page is taken: it is the same one to the end, also if its
/// program is unloaded meanwhile.
pub async fn stream<K: Kernel>(api: Api<K>, permit: Permit, map: UsedMap) -> Result<DumpStream, Status> {
    let place = api.map_readings.enter(permit.uid)?;
    let caller = audit::peer().ok_or_else(|| denied("the calling process cannot be identified"))?;
    let users = map.users().collect();
    let handle = api
        .read(&permit, move |api| {
            let (details, handle) = api.engine.open_map(&map, false).map_err(fail)?;
            most_at_once(api, &details.facts).map(|_| handle)
        })
        .await?;
    let ended = api.watchers.ended();
    let dump = Dump { api, permit, caller, place, users, handle: Arc::new(handle) };
    // A map that has no entries to list is refused before the answer begins.
    let first = dump.page(MapPlace::default()).await?;
    let (pages, stream) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        tokio::select! {
            () = dump.send_all(first, &pages) => {}
            () = pages.closed() => {}
            () = ended => {}
        }
    });
    Ok(ReceiverStream::new(stream))
}

impl<K: Kernel> Dump<K> {
    async fn send_all(&self, first: MapPage, pages: &mpsc::Sender<Result<wire::DumpMapResponse, Status>>) {
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
            read = self.page(next).await;
        }
    }

    /// The entries behind a place. The grants are asked anew: whoever may read no more gets nothing more.
    async fn page(&self, from: MapPlace) -> Result<MapPage, Status> {
        let turn = self.place.turn().await?;
        let (caller, users) = (self.caller.clone(), Arc::clone(&self.users));
        let handle = Arc::clone(&self.handle);
        let read = move |api: &Api<K>| {
            let _turn = turn;
            let policy = api.policy_for(&caller);
            let decided = policy.decide(&caller, AccessVerb::MapsRead, &programs_of(&users));
            decided.map_err(|denial| status::denial(&denial))?;
            api.engine.kernel().map_page(&handle, &from).map_err(refused)
        };
        self.api.read(&self.permit, read).await
    }
}
