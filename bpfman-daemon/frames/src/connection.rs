//! Client end of a connection to a worker, on a runtime.

use std::io;
use std::os::fd::OwnedFd;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::{Frame, HEADER, PIECE, SMALL, WorkerLink, announced, frame, header, understood, wrong};

/// Client end of a connection to a worker. It reads no byte beyond a frame.
#[derive(Debug)]
pub struct WorkerConnection {
    stream: UnixStream,
    life: Option<OwnedFd>,
}

impl WorkerConnection {
    /// Creates the client end of a link. Needs a runtime.
    pub fn new(link: WorkerLink) -> io::Result<Self> {
        link.stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(link.stream)?, life: link.life })
    }

    /// Returns the socket, for further data, and the descriptor that ends the worker when it is dropped.
    pub fn into_parts(self) -> (UnixStream, Option<OwnedFd>) {
        (self.stream, self.life)
    }

    pub async fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        let message = serde_json::to_vec(message)?;
        self.stream.write_all(&header(false, message.len())?).await?;
        self.stream.write_all(&message).await
    }

    pub async fn give(&mut self, content: &[u8]) -> io::Result<()> {
        for piece in content.chunks(PIECE) {
            self.give_piece(piece).await?;
        }
        self.give_piece(&[]).await
    }

    /// Sends a piece of content; an empty one ends it.
    pub async fn give_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        self.stream.write_all(&header(true, piece.len())?).await?;
        self.stream.write_all(piece).await
    }

    /// Receives a frame; `limit` is the maximum size of a message, in bytes.
    pub async fn next(&mut self, limit: usize) -> io::Result<Frame> {
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

    /// Receives a message of at most `limit` bytes.
    pub async fn hear<T: DeserializeOwned>(&mut self, limit: usize) -> io::Result<T> {
        match self.next(limit).await? {
            Frame::Message(message) => understood(&message),
            Frame::Piece(_) => Err(wrong("content came instead of an answer".to_owned())),
        }
    }

    /// Receives content, whole, of at most `limit` bytes.
    pub async fn take(&mut self, limit: u64) -> io::Result<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream as Blocking;

    use super::*;

    #[test]
    fn answer_that_is_too_long_cut_or_content_is_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let heard = |sent: &[u8]| {
            let (stream, mut worker) = Blocking::pair().unwrap();
            worker.write_all(sent).unwrap();
            drop(worker);
            runtime.block_on(async {
                let mut connection = WorkerConnection::new(WorkerLink { stream, life: None }).unwrap();
                connection.hear::<u8>(2).await.map_err(|error| error.kind())
            })
        };
        assert_eq!(heard(b"\x00\x01\0\0\x007"), Ok(7));
        for sent in [b"\x00\x03\0\0\x00123", b"\x01\x03\0\0\x00123", b"\x00\x02\0\0\x00ab "] {
            assert_eq!(heard(sent), Err(io::ErrorKind::InvalidData), "{sent:?}");
        }
        assert_eq!(heard(b"\x00\x02\0\0\x007"), Err(io::ErrorKind::UnexpectedEof));
    }
}
