//! Readings of statistics, across restarts of the daemon, and as far as the caller is permitted.

use std::time::Duration;

use bpfman_client::{Client, Error, Reason};
use bpfman_proto::ext::v1 as ext;
use tonic::{Code, Streaming};

use super::reconnect::ReconnectBackoff;
use crate::error::CliError;
use crate::figures::{FigureRates, LastReadings, rates};

#[derive(Debug)]
pub enum FiguresUpdate {
    Rates(FigureRates),
    Away(String),
    /// The daemon is back: rates follow with the reading after the next.
    Back,
}

#[derive(Debug)]
pub struct FigureReadings {
    client: Client,
    request: ext::FollowFiguresRequest,
    /// None while the daemon is away.
    stream: Option<Streaming<ext::Figures>>,
    away: ReconnectBackoff,
    kept: LastReadings,
    untimed: Option<String>,
}

impl FigureReadings {
    /// Begins readings. If the caller may not have the kernel time runs, reads without times.
    pub async fn begin(client: Client, request: ext::FollowFiguresRequest) -> Result<Self, CliError> {
        let mut readings = Self {
            client,
            request: ext::FollowFiguresRequest { changes_only: true, ..request },
            stream: None,
            away: ReconnectBackoff::default(),
            kept: LastReadings::default(),
            untimed: None,
        };
        readings.open().await.map_err(CliError::Client)?;
        Ok(readings)
    }

    async fn open(&mut self) -> Result<(), Error> {
        let timed = ext::FollowFiguresRequest { time_runs: true, ..self.request.clone() };
        let (stream, untimed) = match self.follow(timed).await {
            Err(error) if has_no_times(&error) => {
                let without = self.follow(self.request.clone()).await?;
                (without, Some(format!("no CPU times: {error}")))
            }
            stream => (stream?, None),
        };
        (self.stream, self.untimed, self.kept) = (Some(stream), untimed, LastReadings::default());
        self.away = ReconnectBackoff::default();
        Ok(())
    }

    async fn follow(&self, request: ext::FollowFiguresRequest) -> Result<Streaming<ext::Figures>, Error> {
        Ok(self.client.services().figures.follow_figures(request).await?.into_inner())
    }

    pub async fn next(&mut self) -> Result<FiguresUpdate, CliError> {
        let Some(stream) = &mut self.stream else { return self.find_again().await };
        loop {
            match stream.message().await.map_err(Error::from) {
                Ok(Some(news)) => {
                    if let Some((then, now)) = self.kept.take(news) {
                        let note = self.untimed.clone();
                        return Ok(FiguresUpdate::Rates(FigureRates { note, ..rates(then, now) }));
                    }
                }
                // Only the permission for run times may have been withdrawn: try again without them.
                Err(error) if error.is_lost() || is_denied(&error) => return Ok(self.lose(Some(&error))),
                Err(error) => return Err(CliError::Client(error)),
                Ok(None) => return Ok(self.lose(None)),
            }
        }
    }

    fn lose(&mut self, error: Option<&Error>) -> FiguresUpdate {
        self.stream = None;
        let why = error.map_or_else(String::new, |error| format!(": {error}"));
        FiguresUpdate::Away(format!("the daemon has gone; trying again{why}"))
    }

    async fn find_again(&mut self) -> Result<FiguresUpdate, CliError> {
        loop {
            self.away.pause().await;
            match self.open().await {
                Ok(()) => return Ok(FiguresUpdate::Back),
                Err(error) if error.is_lost() => {}
                Err(error) => return Err(CliError::Client(error)),
            }
        }
    }
}

/// Returns whether statistics without times may be available.
fn has_no_times(error: &Error) -> bool {
    is_denied(error) || matches!(error.reason(), Some(Reason::Unsupported | Reason::KernelRefused))
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Refused(refused) if refused.code == Code::PermissionDenied && !refused.is_lost)
}

pub fn older(error: CliError) -> CliError {
    match &error {
        CliError::Client(Error::Refused(refused))
            if refused.code == Code::Unimplemented && refused.reason.is_none() =>
        {
            CliError::Invalid {
                what: "this daemon reports no figures: it is older than this client".to_owned(),
                hint: Some("`bpfman chain show HOOK --watch` works with it".to_owned()),
            }
        }
        _ => error,
    }
}

#[must_use]
pub fn milliseconds(interval: Duration) -> u32 {
    u32::try_from(interval.as_millis()).unwrap_or(u32::MAX)
}
