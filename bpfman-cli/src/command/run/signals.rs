//! Signals that end a command.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;

pub struct Signals([Signal; 3]);

impl Signals {
    pub fn new() -> Result<Self, CliError> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        let of = |signal: std::io::Result<Signal>| signal.map_err(CliError::Runtime);
        Ok(Self([of(interrupt)?, of(terminate)?, of(hangup)?]))
    }

    pub async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
