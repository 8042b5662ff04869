//! All entries of a map, once, page by page: however many there are, the daemon holds few of them.

use std::sync::Arc;

use bpfman_model::{Owner, Peer, ProgramId};
use bpfman_proto::ext::v1 as wire;
use bpfmand_access::AccessVerb;
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

/// Number of pages that are read before the client has received the earlier ones.
const AHEAD: usize = 2;

struct Dump<K: Kernel> {
    api: Api<K>,
    permit: Permit,
    caller: Peer,
    place: ReadingPlace,
    /// Programs that reach the map, and their owners: the objects of the permission check.
    users: Arc<[(ProgramId, Owner)]>,
    handle: Arc<K::Handle>,
}

/// Dumps a map for an authorized caller. The map stays open until the last page, even if its program is unloaded.
pub async fn stream<K: Kernel>(api: Api<K>, permit: Permit, map: UsedMap) -> Result<DumpStream, Status> {
    let place = api.map_readings.enter(permit.account)?;
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
    // A map without entries to list is refused before the answer begins.
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

    /// Reads the entries after a position. The grants are checked again.
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
