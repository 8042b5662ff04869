use bpfman_client::{Client, EventPlace, EventQuery, Events, JournalEvent, Reason};

use bpfman_model::Hint;

use super::connect_fresh;
use super::open_output::OpenOutput;
use super::reconnect::ReconnectBackoff;
use crate::args::events::ShowEvents;
use crate::args::{Global, OutputForm};
use crate::error::CliError;
use crate::show;
use crate::show::journal_event::{JournalEventJson, header, tell};

pub async fn run(global: &Global, command: ShowEvents) -> Result<(), CliError> {
    print_events(global, command.query(), command.follow).await
}

/// Prints events; with `follows`, also after a restart of the daemon. Catches no signal, since no line is buffered.
pub async fn print_events(global: &Global, query: EventQuery, follows: bool) -> Result<(), CliError> {
    let client = connect_fresh(global).await?;
    let mut output = OpenOutput::of_stdout();
    let mut events = client.events(query.clone()).await.map_err(older)?;
    // Entries up to this number existed when the command began.
    let newest = events.newest();
    if global.output == OutputForm::Table && !global.quiet {
        show::write(&header())?;
    }
    loop {
        let next = tokio::select! {
            () = output.closed() => return Ok(()),
            next = events.next() => next,
        };
        match next {
            Ok(Some(event)) if shown(global, &event, events.epoch())? => continue,
            Ok(Some(_)) => return Ok(()),
            Ok(None) if !follows && events.position() >= newest => return Ok(()),
            Err(error) if !error.is_lost() => return Err(CliError::Client(error)),
            _ if !follows => return Err(cut_short(events.position(), newest)),
            _ => {}
        }
        events = tokio::select! {
            () = output.closed() => return Ok(()),
            events = resume(&client, &query, events.place()) => events?,
        };
    }
}

fn shown(global: &Global, event: &JournalEvent, epoch: &str) -> Result<bool, CliError> {
    JournalEventJson::new(event).map_or(Ok(true), |event| tell(global, &event, epoch))
}

async fn resume(client: &Client, query: &EventQuery, mut place: EventPlace) -> Result<Events, CliError> {
    let number = place.number;
    show::note(&format!("the daemon has gone; entries after number {number} come when it is back"));
    let mut away = ReconnectBackoff::default();
    loop {
        away.pause().await;
        match client.events(query.clone().resuming(place.clone())).await {
            Ok(events) => {
                show::note("the daemon is back");
                return Ok(events);
            }
            Err(error) if error.is_lost() => {}
            Err(error) if error.reason() == Some(Reason::Conflict) && place.number > 0 => {
                show::warn(&format!("{error}; all that the journal keeps comes"));
                place = EventPlace::default();
            }
            Err(error) => return Err(CliError::Client(error)),
        }
    }
}

fn cut_short(position: u64, newest: u64) -> CliError {
    CliError::CutShort {
        what: format!("the daemon ended after it had sent entries up to number {position} of {newest}"),
        hint: Hint::Events { after: position },
    }
}

fn older(error: bpfman_client::Error) -> CliError {
    match &error {
        bpfman_client::Error::Refused(refused)
            if refused.code == tonic::Code::Unimplemented && refused.reason.is_none() =>
        {
            CliError::Invalid {
                what: "this daemon streams no events: it is older than this client".to_owned(),
                hint: Some(Hint::NewestHistory),
            }
        }
        _ => CliError::Client(error),
    }
}
