//! Words between the one who asks and a helper: messages as JSON, content as pieces of bytes.
//!
//! A frame is its kind (one byte), its length (four bytes, least significant first), and so many bytes. Content is pieces
//! and an empty one at its end.

use std::io;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{HelperLink, HelperRole};
use crate::ImageError;

/// Bytes of any message: more than the signatures of one digest take, in their encoding.
const MESSAGE_LIMIT: usize = 64 << 20;
/// Bytes of an answer that says little.
pub(crate) const SMALL: usize = 64 << 10;
/// Bytes of a piece.
pub(crate) const PIECE: usize = 128 << 10;
/// Bytes in front of a frame.
pub(crate) const HEADER: usize = 5;

/// A frame.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A message.
    Message(Vec<u8>),
    /// A piece of content; empty at the end of it.
    Piece(Vec<u8>),
}

/// The kind of a frame, and its length.
pub(crate) fn header(is_piece: bool, length: usize) -> io::Result<[u8; HEADER]> {
    let limit = if is_piece { PIECE } else { MESSAGE_LIMIT };
    if length > limit {
        return Err(wrong(format!("a frame of {length} bytes is too long")));
    }
    let [a, b, c, d] = u32::try_from(length).map_err(io::Error::other)?.to_le_bytes();
    Ok([u8::from(is_piece), a, b, c, d])
}

/// What a header says: whether a piece follows, and how many bytes.
pub(crate) fn announced([kind, length @ ..]: [u8; HEADER]) -> io::Result<(bool, usize)> {
    let (is_piece, length) = (kind == 1, u32::from_le_bytes(length) as usize);
    if kind > 1 || length > if is_piece { PIECE } else { MESSAGE_LIMIT } {
        return Err(wrong("it announces no frame".to_owned()));
    }
    Ok((is_piece, length))
}

/// A frame of a kind and these bytes.
pub(crate) fn frame(is_piece: bool, bytes: Vec<u8>) -> Frame {
    if is_piece { Frame::Piece(bytes) } else { Frame::Message(bytes) }
}

/// Says that the other end does not keep to this language.
pub(crate) fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The end of the one who asks, for one question at a time.
#[derive(Debug)]
pub(crate) struct Asking {
    role: HelperRole,
    /// Taken while a question is asked. Whoever stops waiting leaves it untaken for ever: nobody knows what comes next.
    connection: Mutex<Option<HelperConnection>>,
}

impl Asking {
    /// To be called on a runtime.
    pub(crate) fn new(role: HelperRole, link: HelperLink) -> Result<Self, ImageError> {
        let connect = || {
            link.stream.set_nonblocking(true)?;
            UnixStream::from_std(link.stream)
        };
        let stream = connect().map_err(|error| failed(role, error))?;
        Ok(Self { role, connection: Mutex::new(Some(HelperConnection { stream, _life: link.life })) })
    }

    /// One question and its answer. What fails in between ends the helper.
    pub(crate) async fn ask<T>(
        &self,
        talk: impl AsyncFnOnce(&mut HelperConnection) -> Result<T, Talk>,
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
            Err(Talk::Ours(error)) => Err(error),
            Err(Talk::Broken(error)) => Err(failed(self.role, error)),
        }
    }
}

/// Why a talk ended.
#[derive(Debug)]
pub(crate) enum Talk {
    /// By a failure of this side.
    Ours(ImageError),
    /// By the helper: it is gone, or does not keep to the language.
    Broken(io::Error),
}

impl From<io::Error> for Talk {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<ImageError> for Talk {
    fn from(error: ImageError) -> Self {
        Self::Ours(error)
    }
}

/// Says that a helper does not do its work.
pub(crate) fn failed(role: HelperRole, source: io::Error) -> ImageError {
    ImageError::Helper { role, source }
}

/// A connection to a helper.
#[derive(Debug)]
pub(crate) struct HelperConnection {
    stream: UnixStream,
    _life: Option<std::os::fd::OwnedFd>,
}

impl HelperConnection {
    pub(crate) async fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        let message = serde_json::to_vec(message)?;
        self.stream.write_all(&header(false, message.len())?).await?;
        self.stream.write_all(&message).await
    }

    /// Content, whole.
    pub(crate) async fn give(&mut self, content: &[u8]) -> io::Result<()> {
        for piece in content.chunks(PIECE) {
            self.give_piece(piece).await?;
        }
        self.give_piece(&[]).await
    }

    /// A piece of content; an empty one ends it.
    pub(crate) async fn give_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        self.stream.write_all(&header(true, piece.len())?).await?;
        self.stream.write_all(piece).await
    }

    /// The next frame, of at most `limit` bytes if it is a message.
    pub(crate) async fn next(&mut self, limit: usize) -> io::Result<Frame> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).await?;
        let (is_piece, length) = announced(header)?;
        if !is_piece && length > limit {
            return Err(wrong(format!("an answer of {length} bytes came, and {limit} are the most")));
        }
        // What is announced is not there yet: room is made as it comes.
        let mut bytes = Vec::with_capacity(length.min(PIECE));
        (&mut self.stream).take(length as u64).read_to_end(&mut bytes).await?;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(frame(is_piece, bytes))
    }

    /// An answer of at most `limit` bytes.
    pub(crate) async fn hear<T: DeserializeOwned>(&mut self, limit: usize) -> io::Result<T> {
        match self.next(limit).await? {
            Frame::Message(message) => understood(&message),
            Frame::Piece(_) => Err(wrong("content came instead of an answer".to_owned())),
        }
    }

    /// Content of at most `limit` bytes.
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

/// A message, read.
pub(crate) fn understood<T: DeserializeOwned>(message: &[u8]) -> io::Result<T> {
    serde_json::from_slice(message).map_err(|error| wrong(format!("a message is none: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_are_too_long_or_of_no_kind_are_refused() {
        assert_eq!(announced(header(true, PIECE).unwrap()).unwrap(), (true, PIECE));
        assert_eq!(announced(header(false, 0).unwrap()).unwrap(), (false, 0));
        assert!(header(true, PIECE + 1).is_err() && header(false, MESSAGE_LIMIT + 1).is_err());
        for bytes in [[2, 0, 0, 0, 0], [1, 1, 0, 2, 0], [0, 1, 0, 0, 4], [0xff; HEADER]] {
            assert!(announced(bytes).is_err(), "{bytes:?}");
        }
    }
}
