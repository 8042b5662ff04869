use std::io;
use std::sync::{Mutex, PoisonError};

use bpfmand_frames::{Frame, HEADER, PIECE, SMALL, announced, frame, header, understood, wrong};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{WorkerLink, WorkerRole};
use crate::ImageError;

#[derive(Debug)]
pub(crate) struct Asking {
    role: WorkerRole,
    /// Taken during a question, and not put back if the caller stops waiting: the next message would be ambiguous.
    connection: Mutex<Option<WorkerConnection>>,
}

impl Asking {
    pub(crate) fn new(role: WorkerRole, link: WorkerLink) -> Result<Self, ImageError> {
        let connect = || {
            link.stream.set_nonblocking(true)?;
            UnixStream::from_std(link.stream)
        };
        let stream = connect().map_err(|error| failed(role, error))?;
        Ok(Self { role, connection: Mutex::new(Some(WorkerConnection { stream, _life: link.life })) })
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

#[derive(Debug)]
pub(crate) struct WorkerConnection {
    stream: UnixStream,
    _life: Option<std::os::fd::OwnedFd>,
}

impl WorkerConnection {
    pub(crate) async fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        let message = serde_json::to_vec(message)?;
        self.stream.write_all(&header(false, message.len())?).await?;
        self.stream.write_all(&message).await
    }

    pub(crate) async fn give(&mut self, content: &[u8]) -> io::Result<()> {
        for piece in content.chunks(PIECE) {
            self.give_piece(piece).await?;
        }
        self.give_piece(&[]).await
    }

    pub(crate) async fn give_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        self.stream.write_all(&header(true, piece.len())?).await?;
        self.stream.write_all(piece).await
    }

    pub(crate) async fn next(&mut self, limit: usize) -> io::Result<Frame> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).await?;
        let (is_piece, length) = announced(header)?;
        if !is_piece && length > limit {
            return Err(wrong(format!("an answer of {length} bytes came, and {limit} are the most")));
        }
        // Allocate as data arrives: the announced length is not trusted.
        let mut bytes = Vec::with_capacity(length.min(PIECE));
        (&mut self.stream).take(length as u64).read_to_end(&mut bytes).await?;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(frame(is_piece, bytes))
    }

    pub(crate) async fn hear<T: DeserializeOwned>(&mut self, limit: usize) -> io::Result<T> {
        match self.next(limit).await? {
            Frame::Message(message) => understood(&message),
            Frame::Piece(_) => Err(wrong("content came instead of an answer".to_owned())),
        }
    }

    pub(crate) async fn take(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            match self.next(SMALL).await? {
                Frame::Message(_) => return Err(wrong("a message came within content".to_owned())),
                Frame::Piece(piece) if piece.is_empty() => return Ok(content),
                Frame::Piece(piece) => content.extend(piece),
            }
            if content.len() as u64 > limit {
                return Err(wrong(format!("more than {limit} bytes came")));
            }
        }
    }
}
