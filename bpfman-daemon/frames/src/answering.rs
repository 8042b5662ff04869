//! Server end of a connection, which blocks until the next question.

use std::io::{self, BufReader, Read as _};
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Frame, HEADER, Writing, announced, frame, understood, wrong};

/// Size of the read buffer, in bytes: most questions take one call.
const AHEAD: usize = 8 << 10;

/// Server end of a connection.
#[derive(Debug)]
pub struct Answering {
    stream: BufReader<UnixStream>,
}

impl Answering {
    /// Creates the server end on a blocking stream.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::with_capacity(AHEAD, stream) }
    }

    /// Returns the next question; `None` if the connection was closed.
    pub fn question<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        match self.next() {
            Ok(Frame::Message(message)) => understood(&message).map(Some),
            Ok(Frame::Piece(_)) => Err(wrong("content came instead of a question".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Receives a message; an error if the connection was closed.
    pub fn hear<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        self.question()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Returns a list of frames to be written together.
    pub fn writing(&mut self) -> Writing<'_, UnixStream> {
        Writing::new(self.stream.get_mut())
    }

    pub fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut writing = self.writing();
        writing.message(message)?;
        writing.send()
    }

    pub fn send_with(&mut self, message: &impl Serialize, content: &[u8]) -> io::Result<()> {
        let mut writing = self.writing();
        writing.message(message)?;
        writing.content(content)?;
        writing.send()
    }

    pub fn give(&mut self, content: &[u8]) -> io::Result<()> {
        let mut writing = self.writing();
        writing.content(content)?;
        writing.send()
    }

    /// Sends a piece of content; an empty one ends it.
    pub fn give_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut writing = self.writing();
        writing.piece(piece)?;
        writing.send()
    }

    /// Receives content, whole. The client limits its size.
    pub fn take(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let piece = self.piece()?;
            if piece.is_empty() {
                return Ok(content);
            }
            content.extend(piece);
        }
    }

    fn piece(&mut self) -> io::Result<Vec<u8>> {
        match self.next()? {
            Frame::Piece(piece) => Ok(piece),
            Frame::Message(_) => Err(wrong("a message came within content".to_owned())),
        }
    }

    fn next(&mut self) -> io::Result<Frame> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header)?;
        let (is_piece, length) = announced(header)?;
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(frame(is_piece, bytes))
    }

    /// Returns a reader of content that is still arriving.
    pub fn content(&mut self) -> Content<'_> {
        Content { served: self, piece: io::Cursor::new(Vec::new()), at_end: false }
    }
}

/// Reader of arriving content, which must be read to its end.
#[derive(Debug)]
pub struct Content<'a> {
    served: &'a mut Answering,
    piece: io::Cursor<Vec<u8>>,
    at_end: bool,
}

impl io::Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || buffer.is_empty() || self.at_end {
                return Ok(read);
            }
            self.piece = io::Cursor::new(self.served.piece()?);
            self.at_end = self.piece.get_ref().is_empty();
        }
    }
}
