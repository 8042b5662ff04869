//! Readings of statistics, across restarts of the daemon, and as far as the caller is permitted.

use std::time::Duration;

use bpfman_client::{Client, Error, Reason};
use bpfman_proto::ext::v1 as ext;
use tonic::{Code, Streaming};

use super::chain_measurements::{ChainMeasurements, SeenChain};
use super::reconnect::ReconnectBackoff;
use crate::error::CliError;
use crate::figures::{FigureRates, LastReadings, rates};
use crate::show;

#[derive(Debug)]
pub enum FiguresUpdate {
    Rates(FigureRates),
    Away(String),
    /// The daemon is back. Rates need two readings, and follow with the second.
    Back,
}

impl FiguresUpdate {
    /// Prints a note if the daemon has gone or is back. With `ends_when_away`, fails if it has gone.
    pub fn noted(self, ends_when_away: bool) -> Result<Self, CliError> {
        match &self {
            Self::Rates(_) => {}
            Self::Away(why) if ends_when_away => {
                return Err(CliError::CutShort { what: why.clone(), hint: "start the command again".into() });
            }
            Self::Away(why) => show::note(why),
            Self::Back => show::note("the daemon is back"),
        }
        Ok(self)
    }
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
    /// Measurements, and the chains of the last reading that they have not processed yet.
    measured: Option<(ChainMeasurements, Option<Vec<SeenChain>>)>,
}

impl FigureReadings {
    /// Begins to read. The kernel times runs if the request has `time_runs` and the caller is permitted.
    pub async fn begin(client: Client, request: ext::FollowFiguresRequest) -> Result<Self, CliError> {
        let mut readings = Self {
            client,
            request: ext::FollowFiguresRequest { changes_only: true, ..request },
            stream: None,
            away: ReconnectBackoff::default(),
            kept: LastReadings::default(),
            untimed: None,
            measured: None,
        };
        readings.open().await.map_err(CliError::Client)?;
        Ok(readings)
    }

    /// Measures the chains of each reading while the daemon sends them.
    #[must_use]
    pub fn measuring(self, chains: ChainMeasurements) -> Self {
        Self { measured: Some((chains, None)), ..self }
    }

    pub fn measured(&self) -> Option<&ChainMeasurements> {
        self.measured.as_ref().map(|(chains, _)| chains)
    }

    async fn open(&mut self) -> Result<(), Error> {
        let (stream, untimed) = match self.follow(self.request.clone()).await {
            Err(error) if self.request.time_runs && has_no_times(&error) => {
                let untimed = ext::FollowFiguresRequest { time_runs: false, ..self.request.clone() };
                let without = self.follow(untimed).await?;
                (without, Some(format!("no CPU times: {error}")))
            }
            stream => (stream?, None),
        };
        (self.stream, self.untimed, self.kept) = (Some(stream), untimed, LastReadings::default());
        self.away = ReconnectBackoff::default();
        if let Some((chains, _)) = &mut self.measured {
            chains.restart();
        }
        Ok(())
    }

    async fn follow(&self, request: ext::FollowFiguresRequest) -> Result<Streaming<ext::Figures>, Error> {
        Ok(self.client.services().figures.follow_figures(request).await?.into_inner())
    }

    pub async fn next(&mut self) -> Result<FiguresUpdate, CliError> {
        if let Some((chains, seen)) = &mut self.measured
            && let Some(seen) = seen.take()
        {
            chains.follow(&seen).await;
        }
        let Some(stream) = &mut self.stream else { return self.find_again().await };
        loop {
            match stream.message().await.map_err(Error::from) {
                Ok(Some(news)) => {
                    if let Some((then, now)) = self.kept.take(news) {
                        let mut notes: Vec<String> = self.untimed.iter().cloned().collect();
                        let rates = rates(then, now);
                        if let Some((chains, seen)) = &mut self.measured {
                            notes.extend(chains.note());
                            *seen = Some(rates.chains.iter().map(SeenChain::from).collect());
                        }
                        let note = (!notes.is_empty()).then(|| notes.join("; "));
                        return Ok(FiguresUpdate::Rates(FigureRates { note, ..rates }));
                    }
                }
                // Perhaps only the permission for run times was withdrawn: reconnect, and read without them.
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

/// Returns whether the error may concern only run times: other statistics may be available.
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
                hint: Some("`bpfman chain show HOOK --watch` works with it".into()),
            }
        }
        _ => error,
    }
}

#[must_use]
pub fn milliseconds(interval: Duration) -> u32 {
    u32::try_from(interval.as_millis()).unwrap_or(u32::MAX)
}
