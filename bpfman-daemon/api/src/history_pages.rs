//! Journal as a stream of pages, each read when the client can receive it: a slow client holds none.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bpfman_proto::ext::v1 as wire;
use bpfmand_kernel::Kernel;
use tokio_stream::Stream;
use tonic::Status;

use crate::authorize::Permit;
use crate::history::{HistoryFilter, HistoryViewer};
use crate::places::{ReadingBounds, ReadingPlace};
use crate::server::Api;
use crate::status;

const PAGE: usize = 256;
/// Limits of concurrent calls that read the journal. A page parses a whole file of it.
pub const HISTORY_READERS: ReadingBounds = ReadingBounds { most: 64, most_of_one: 16, working: 2 };

type Page = Result<wire::HistoryResponse, Status>;
type Reading = Pin<Box<dyn Future<Output = (Page, Option<HistoryFilter>)> + Send>>;
type Begin = Box<dyn FnMut(HistoryFilter) -> Reading + Send>;

pub struct HistoryStream {
    begin: Begin,
    reading: Option<Reading>,
    rest: Option<HistoryFilter>,
}

pub(crate) fn stream<K: Kernel>(
    api: Api<K>,
    permit: Permit,
    place: ReadingPlace,
    asked: HistoryFilter,
    viewer: HistoryViewer,
) -> HistoryStream {
    let shared = Arc::new((api, permit, place, viewer));
    let begin = move |asked: HistoryFilter| -> Reading {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let (api, permit, place, viewer) = &*shared;
            let viewer = viewer.clone();
            let page = async {
                let turn = place.turn().await?;
                let read = move |api: &_| {
                    let _turn = turn;
                    next(api, asked, &viewer)
                };
                api.read(permit, read).await
            };
            match page.await {
                Ok((page, rest)) => (Ok(page), rest),
                Err(status) => (Err(status), None),
            }
        })
    };
    HistoryStream { begin: Box::new(begin), reading: None, rest: Some(asked) }
}

fn next<K: Kernel>(
    api: &Api<K>,
    asked: HistoryFilter,
    viewer: &HistoryViewer,
) -> Result<(wire::HistoryResponse, Option<HistoryFilter>), Status> {
    let reader = if asked.accesses { api.journal.access_reader() } else { api.journal.reader() };
    let reader = reader.ok_or_else(no_journal)?;
    let wanted = |entry: &_| asked.entries.wants(entry) && viewer.may_read(entry);
    let limit = asked.limit.min(PAGE);
    let page = reader.page(asked.before, &asked.since, limit, wanted);
    let page = page.map_err(|error| Status::internal(error.to_string()))?;
    let answered = page.entries.len();
    let rest = page.before.map(|before| asked.after(answered, before)).filter(|rest| rest.limit > 0);
    let entries = page.entries.into_iter().map(|entry| viewer.line(entry)).collect();
    Ok((wire::HistoryResponse { entries, damaged: page.damaged }, rest))
}

/// Returns the error of a program that serves the daemon's calls without files for a journal.
pub(crate) fn no_journal() -> Status {
    let hint = "ask bpfmand itself: it keeps a journal in its state folder";
    status::unsupported_with("this daemon keeps no journal on disk", hint)
}

impl Stream for HistoryStream {
    type Item = Page;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Page>> {
        let this = &mut *self;
        loop {
            if this.reading.is_none() {
                let Some(rest) = this.rest.take() else { return Poll::Ready(None) };
                this.reading = Some((this.begin)(rest));
            }
            let Some(reading) = &mut this.reading else { return Poll::Ready(None) };
            let (page, rest) = ready!(reading.as_mut().poll(context));
            (this.reading, this.rest) = (None, rest);
            // A page may be empty although others follow, because files are searched one by one.
            match page {
                Ok(page) if page.entries.is_empty() && page.damaged == 0 && this.rest.is_some() => {}
                page => return Poll::Ready(Some(page)),
            }
        }
    }
}
