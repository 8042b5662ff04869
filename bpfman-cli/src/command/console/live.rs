//! Stream of one page: statistics, journal entries, changes, and the daemon's availability across its restarts.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bpfman_client::{Client, Error, EventPlace, EventQuery, Events, JournalEvent, Reason, Watch};
use bpfman_console::{EventSender, PageClosed};
use bpfman_proto::ext::v1 as ext;
use serde_json::json;
use tonic::Streaming;

use super::figures::PageFigures;
use super::machine::refusal;
use crate::command::reconnect::ReconnectBackoff;
use crate::error::CliError;
use crate::show::journal_event::JournalEventJson;

/// Interval of readings, in milliseconds: people read no faster.
const INTERVAL: u32 = 1000;

const NEWEST: u32 = 500;

const BATCH: usize = 500;

/// Interval of keep-alive comments to the page, and of checks of an otherwise silent daemon.
const ALIVE: Duration = Duration::from_secs(10);

pub struct LiveStream {
    pub socket: PathBuf,
    /// Position in the journal up to which the page has entries.
    pub after: Option<EventPlace>,
    pub time_runs: bool,
}

/// Streams of the daemon. One that the daemon refuses is `None`: the page shows the reason, and the others.
struct LiveStreams {
    client: Client,
    journal: Option<Events>,
    figures: Option<Streaming<ext::Figures>>,
    changes: Option<Watch>,
}

enum Over {
    Page,
    /// The daemon has stopped. The next failed connection reports the reason.
    Daemon,
}

impl From<PageClosed> for Over {
    fn from(_: PageClosed) -> Self {
        Self::Page
    }
}

impl LiveStream {
    pub async fn run(mut self, events: EventSender) {
        let told = async {
            let (mut away, mut told_away) = (ReconnectBackoff::default(), false);
            loop {
                match Client::connect_to(&self.socket).await {
                    Ok(client) => {
                        events.send("daemon", &json!({ "there": true, "message": "" })).await?;
                        told_away = false;
                        let began = Instant::now();
                        let Over::Daemon = self.tell(client, &events).await else { return Err(PageClosed) };
                        // Keep the delay for a daemon that accepts connections and closes them at once.
                        if began.elapsed() > ALIVE {
                            away = ReconnectBackoff::default();
                        }
                    }
                    Err(error) if !told_away => {
                        let why = refusal(&CliError::Client(error));
                        let told = json!({ "there": false, "message": format!("{}.", why.message), "hint": why.hint });
                        events.send("daemon", &told).await?;
                        told_away = true;
                    }
                    Err(_) => {}
                }
                away.pause().await;
                events.ping().await?;
            }
        };
        let _gone: Option<Result<(), PageClosed>> = tokio::select! {
            gone = told => Some(gone),
            () = events.closed() => None,
        };
    }

    async fn tell(&mut self, client: Client, events: &EventSender) -> Over {
        match self.follow(client, events).await {
            Ok(never) => match never {},
            Err(over) => over,
        }
    }

    async fn follow(
        &mut self,
        client: Client,
        events: &EventSender,
    ) -> Result<std::convert::Infallible, Over> {
        let mut told = self.begin(client, events).await?;
        let mut alive = tokio::time::interval(ALIVE);
        loop {
            tokio::select! {
                entry = next_entry(&mut told.journal) => match entry {
                    Ok(Some(first)) => self.entries(first, &mut told.journal, events).await?,
                    ended => part_over("journal", &mut told.journal, ended, events).await?,
                },
                figures = next_figures(&mut told.figures) => match figures {
                    Ok(Some(figures)) => events.send("figures", &PageFigures::new(&figures)).await?,
                    ended => part_over("figures", &mut told.figures, ended, events).await?,
                },
                change = next_change(&mut told.changes) => match change {
                    Ok(Some(_)) => events.send("changed", &json!({})).await?,
                    ended => part_over("changes", &mut told.changes, ended, events).await?,
                },
                _ = alive.tick() => {
                    events.ping().await?;
                    let asked = told.client.services().access.who_am_i(ext::WhoAmIRequest {}).await;
                    if asked.map_err(Error::from).is_err_and(|error| error.is_lost()) {
                        return Err(Over::Daemon);
                    }
                }
            }
        }
    }

    async fn begin(&mut self, client: Client, events: &EventSender) -> Result<LiveStreams, Over> {
        let query = match self.after.clone() {
            Some(place) => EventQuery::new().resuming(place),
            None => EventQuery::of(ext::FollowEventsRequest {
                after: Some(0),
                newest: NEWEST,
                ..Default::default()
            }),
        };
        let mut journal = client.events(query).await;
        // The journal is not the one that the page knows: send all entries.
        if journal.as_ref().is_err_and(|error| error.reason() == Some(Reason::Conflict))
            && self.after.is_some()
        {
            self.after = None;
            let told = json!({ "reset": true, "events": [], "position": 0, "epoch": "" });
            events.send("journal", &told).await?;
            journal = client.events(EventQuery::new().after(0)).await;
        }
        let figures = self.figures(&client, events).await?;
        let changes = client.watch().await;
        Ok(LiveStreams {
            journal: granted("journal", journal, events).await?,
            figures: granted("figures", figures, events).await?,
            changes: granted("changes", changes, events).await?,
            client,
        })
    }

    /// Begins readings. If timing of runs is denied, reports that to the page and reads without it.
    async fn figures(
        &self,
        client: &Client,
        events: &EventSender,
    ) -> Result<Result<Streaming<ext::Figures>, Error>, Over> {
        let request = |time_runs| ext::FollowFiguresRequest {
            interval_ms: INTERVAL,
            time_runs,
            others: true,
            ..Default::default()
        };
        let mut calls = client.services().figures;
        let timed = calls.follow_figures(request(self.time_runs)).await.map_err(Error::from);
        let begun = match timed {
            Err(error) if self.time_runs && error.reason() == Some(Reason::Denied) => {
                let _none: Option<()> = granted("timing", Err(error), events).await?;
                calls.follow_figures(request(false)).await.map_err(Error::from)
            }
            begun => begun,
        };
        Ok(begun.map(tonic::Response::into_inner))
    }

    async fn entries(
        &mut self,
        first: JournalEvent,
        journal: &mut Option<Events>,
        events: &EventSender,
    ) -> Result<(), Over> {
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let next = tokio::select! {
                biased;
                next = next_entry(journal) => next,
                () = std::future::ready(()) => break,
            };
            match next {
                Ok(Some(event)) => batch.push(event),
                // The next iteration handles the end of the stream, or its error.
                _ => break,
            }
        }
        let place = journal.as_ref().map(Events::place).unwrap_or_default();
        let told: Vec<_> = batch.iter().filter_map(JournalEventJson::new).collect();
        let told = json!({ "events": told, "position": place.number, "epoch": place.epoch });
        events.send("journal", &told).await?;
        self.after = Some(place);
        Ok(())
    }
}

/// Returns a stream of the daemon; none if it is refused, which is reported to the page.
async fn granted<T>(what: &str, begun: Result<T, Error>, events: &EventSender) -> Result<Option<T>, Over> {
    match begun {
        Ok(part) => Ok(Some(part)),
        Err(error) if error.is_lost() => Err(Over::Daemon),
        Err(error) => {
            let mut told = refusal(&CliError::Client(error)).told();
            told["what"] = what.into();
            events.send("refused", &told).await?;
            Ok(None)
        }
    }
}

/// Handles the end of a stream: the daemon stopped, or the caller lost the permission.
async fn part_over<T, E>(
    what: &str,
    part: &mut Option<T>,
    ended: Result<Option<E>, Error>,
    events: &EventSender,
) -> Result<(), Over> {
    let lost = || Error::from(tonic::Status::unavailable("the daemon has ended"));
    let error = ended.err().unwrap_or_else(lost);
    if error.is_lost() || error.reason().is_none() {
        return Err(Over::Daemon);
    }
    *part = granted(what, Err(error), events).await?;
    Ok(())
}

async fn next_entry(journal: &mut Option<Events>) -> Result<Option<JournalEvent>, Error> {
    match journal {
        Some(journal) => journal.next().await,
        None => std::future::pending().await,
    }
}

async fn next_figures(figures: &mut Option<Streaming<ext::Figures>>) -> Result<Option<ext::Figures>, Error> {
    match figures {
        Some(figures) => Ok(figures.message().await?),
        None => std::future::pending().await,
    }
}

async fn next_change(changes: &mut Option<Watch>) -> Result<Option<bpfman_client::WatchedChange>, Error> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}
