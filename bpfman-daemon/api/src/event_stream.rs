//! Stream of the journal: existing entries, then each new entry as it is written.
//!
//! The state of a follower is a number. Its task reads a page of the files when the client can receive one, and sleeps
//! until the writer announces another number. A slow or stalled client holds one page and delays no other.

use std::sync::Arc;

use bpfman_model::Peer;
use bpfman_proto::ext::v1 as wire;
use bpfmand_journal::JournalCursor;
use bpfmand_kernel::Kernel;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audit;
use crate::authorize::Permit;
use crate::event_request::EventRequest;
use crate::history_pages::no_journal;
use crate::places::ReadingPlace;
use crate::server::Api;
use crate::status::{denied, failed};

pub type EventStream = ReceiverStream<Result<wire::FollowEventsResponse, Status>>;

const PAGE: usize = 256;
/// Number of entries without a match after which a client receives the current position, to resume from there.
const SILENT: u64 = 1000;

struct Follower<K: Kernel> {
    api: Api<K>,
    permit: Permit,
    caller: Peer,
    asked: Arc<EventRequest>,
    place: ReadingPlace,
}

pub async fn stream<K: Kernel>(
    api: Api<K>,
    request: wire::FollowEventsRequest,
) -> Result<EventStream, Status> {
    let mut asked = EventRequest::parse(request)?;
    let permit = api.authorize(&[])?;
    let caller = audit::peer().ok_or_else(|| denied("the calling process cannot be identified"))?;
    if api.journal.reader().is_none() {
        return Err(no_journal());
    }
    let place = api.events.places.enter(permit.account)?;
    let mut written = api.events.written();
    let last = *written.borrow_and_update();
    let renumbered_after = asked.resume(&api.journal)?;
    asked.ensure_known(last)?;
    let epoch = api.journal.epoch().to_owned();
    let follower = Follower { api, permit, caller, asked: Arc::new(asked), place };
    let cursor = follower.begin(last).await?;
    let (pages, stream) = mpsc::channel(1);
    let position = cursor.position();
    let begun =
        wire::FollowEventsResponse { position, newest: last, epoch, renumbered_after, ..Default::default() };
    let begun = pages.try_send(Ok(begun));
    begun.map_err(|_full| Status::internal("the stream of events has no room for its beginning"))?;
    let (ended, activity) = (follower.api.watchers.ended(), follower.api.activity());
    let until = follower.asked.until_now.then_some(last);
    tokio::spawn(async move {
        // A daemon with a stream is not idle.
        let _running = activity.begin();
        tokio::select! {
            () = follower.follow(cursor, until, written, &pages) => {}
            () = pages.closed() => {}
            () = ended => {}
        }
    });
    Ok(ReceiverStream::new(stream))
}

impl<K: Kernel> Follower<K> {
    async fn begin(&self, last: u64) -> Result<JournalCursor, Status> {
        let mut found = self.asked.newest_wanted(last);
        while let Some(so_far) = found.filter(|found| found.before.is_some()) {
            let asked = Arc::clone(&self.asked);
            let look = move |reader: &_, viewer: &_| {
                asked.look_back(reader, so_far, viewer).map_err(|error| failed(error.to_string()))
            };
            found = Some(self.read(look).await?);
        }
        Ok(self.asked.begin(last, found))
    }

    async fn follow(
        &self,
        mut cursor: JournalCursor,
        until: Option<u64>,
        mut written: watch::Receiver<u64>,
        pages: &mpsc::Sender<Result<wire::FollowEventsResponse, Status>>,
    ) {
        let mut told = cursor.position();
        loop {
            let last = *written.borrow_and_update();
            let up_to = until.unwrap_or(last);
            while cursor.position() < up_to {
                let Ok(place) = pages.reserve().await else { return };
                let page = match self.page(cursor, up_to).await {
                    Ok((page, next)) => {
                        cursor = next;
                        page
                    }
                    Err(failure) => return place.send(Err(failure)),
                };
                let position = cursor.position();
                let is_last = until.is_some_and(|until| position >= until);
                let says_something = !page.entries.is_empty() || page.missed.is_some() || page.damaged > 0;
                if says_something || is_last || position - told >= SILENT {
                    told = position;
                    place.send(Ok(page));
                }
            }
            if until.is_some() || written.changed().await.is_err() {
                return;
            }
        }
    }

    async fn page(
        &self,
        mut cursor: JournalCursor,
        up_to: u64,
    ) -> Result<(wire::FollowEventsResponse, JournalCursor), Status> {
        let asked = Arc::clone(&self.asked);
        let journal = Arc::clone(&self.api.journal);
        self.read(move |reader, viewer| {
            let page = reader.forward(&mut cursor, up_to, PAGE, |entry| asked.wants(entry, viewer));
            let page = page.map_err(|error| failed(error.to_string()))?;
            let missed = page.missed.map(|gap| wire::MissedEvents { first: gap.first, last: gap.last });
            let entries = page.entries.into_iter().map(|entry| viewer.line(entry)).collect();
            let (position, newest) = (cursor.position(), journal.last());
            let damaged = page.damaged;
            let page = wire::FollowEventsResponse {
                missed,
                entries,
                position,
                damaged,
                newest,
                ..Default::default()
            };
            Ok((page, cursor))
        })
        .await
    }

    /// Reads files on a thread. The grants are checked again, because the caller may have lost its permission.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&bpfmand_journal::HistoryReader, &crate::history::HistoryViewer) -> Result<T, Status>
        + Send
        + 'static,
    ) -> Result<T, Status> {
        let turn = self.place.turn().await?;
        let caller = self.caller.clone();
        self.api
            .read(&self.permit, move |api| {
                let _turn = turn;
                let viewer = api.viewer_of(caller)?;
                let reader = api.journal.reader().ok_or_else(no_journal)?;
                read(&reader, &viewer)
            })
            .await
    }
}
