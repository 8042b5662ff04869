//! Client end of a connection to a reader, with deadline and size limit of answers.

use std::io::{self, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfmand_frames::{Frame, HEADER, PIECE, SMALL, WorkerLink, Writing, announced, frame, understood, wrong};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::memory_limit::MemoryShare;

/// Size of the read buffer, in bytes: most answers take one call.
const AHEAD: usize = 8 << 10;

#[derive(Debug)]
pub(crate) struct ReaderConnection {
    stream: BufReader<TimedStream>,
    room: Arc<MemoryShare>,
    life: Option<OwnedFd>,
}

#[derive(Debug)]
struct TimedStream {
    stream: UnixStream,
    until: Instant,
}

impl TimedStream {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl ReaderConnection {
    pub(crate) fn new(link: WorkerLink, room: Arc<MemoryShare>) -> Self {
        let stream = TimedStream { stream: link.stream, until: Instant::now() };
        Self { stream: BufReader::with_capacity(AHEAD, stream), room, life: link.life }
    }

    pub(crate) fn into_link(self) -> WorkerLink {
        WorkerLink { stream: self.stream.into_inner().stream, life: self.life }
    }

    pub(crate) fn share(&self) -> Arc<MemoryShare> {
        Arc::clone(&self.room)
    }

    pub(crate) fn charge_to(&mut self, share: Arc<MemoryShare>) {
        self.room = share;
    }

    pub(crate) fn begin(&mut self, time: Duration) {
        self.stream.get_mut().until = Instant::now() + time;
    }

    pub(crate) fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut writing = Writing::new(self.stream.get_mut());
        writing.message(message)?;
        writing.send()
    }

    pub(crate) fn send_with(&mut self, message: &impl Serialize, content: &[u8]) -> io::Result<()> {
        let mut writing = Writing::new(self.stream.get_mut());
        writing.message(message)?;
        writing.content(content)?;
        writing.send()
    }

    pub(crate) fn hear<T: DeserializeOwned>(&mut self, limit: usize) -> io::Result<T> {
        match self.next(limit)? {
            Frame::Message(message) => understood(&message),
            Frame::Piece(_) => Err(wrong("content came instead of an answer".to_owned())),
        }
    }

    pub(crate) fn take_exactly(&mut self, size: usize) -> io::Result<Vec<u8>> {
        let content = self.take(size)?;
        if content.len() == size {
            return Ok(content);
        }
        Err(wrong(format!("{} bytes came instead of {size}", content.len())))
    }

    pub(crate) fn take(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            match self.next(SMALL)? {
                Frame::Message(_) => return Err(wrong("a message came within content".to_owned())),
                Frame::Piece(piece) if piece.is_empty() => return Ok(content),
                Frame::Piece(piece) => content.extend(piece),
            }
            if content.len() > limit {
                return Err(wrong(format!("more than {limit} bytes came")));
            }
        }
    }

    fn next(&mut self, limit: usize) -> io::Result<Frame> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header)?;
        let (is_piece, length) = announced(header)?;
        if !is_piece && length > limit {
            return Err(wrong(format!("an answer of {length} bytes came, and {limit} are the most")));
        }
        // Allocate as data arrives: the announced length is not trusted.
        let mut bytes = Vec::with_capacity(length.min(PIECE));
        while bytes.len() < length {
            let next = (length - bytes.len()).min(PIECE);
            self.room.take(next, is_piece, self.stream.get_ref().until)?;
            if Read::take(&mut self.stream, next as u64).read_to_end(&mut bytes)? < next {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(frame(is_piece, bytes))
    }
}

impl Read for TimedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(late)
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes).map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}
