use std::io;
use std::sync::{Mutex, PoisonError};

use bpfmand_frames::{WorkerConnection, WorkerLink};

use super::WorkerRole;
use crate::ImageError;

#[derive(Debug)]
pub(crate) struct Worker {
    role: WorkerRole,
    /// Taken during a question, and not put back if the caller stops waiting: the next message would be ambiguous.
    connection: Mutex<Option<WorkerConnection>>,
}

impl Worker {
    pub(crate) fn new(role: WorkerRole, link: WorkerLink) -> Result<Self, ImageError> {
        let connection = WorkerConnection::new(link).map_err(|error| failed(role, error))?;
        Ok(Self { role, connection: Mutex::new(Some(connection)) })
    }

    pub(crate) async fn ask<T>(
        &self,
        talk: impl AsyncFnOnce(&mut WorkerConnection) -> Result<T, ExchangeError>,
    ) -> Result<T, ImageError> {
        let taken = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone =
            || io::Error::new(io::ErrorKind::NotConnected, "it was given up in the middle of a question");
        let mut connection = taken.ok_or_else(|| failed(self.role, gone()))?;
        match talk(&mut connection).await {
            Ok(answer) => {
                *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
                Ok(answer)
            }
            Err(ExchangeError::Ours(error)) => Err(error),
            Err(ExchangeError::Broken(error)) => Err(failed(self.role, error)),
        }
    }
}

#[derive(Debug)]
pub(crate) enum ExchangeError {
    Ours(ImageError),
    Broken(io::Error),
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<ImageError> for ExchangeError {
    fn from(error: ImageError) -> Self {
        Self::Ours(error)
    }
}

pub(crate) fn failed(role: WorkerRole, source: io::Error) -> ImageError {
    ImageError::Worker { role, source }
}
