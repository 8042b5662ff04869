//! Messages between the daemon and the processes that parse untrusted input: messages as JSON, content as pieces of
//! bytes.
//!
//! A frame is its kind (one byte), its length (four bytes, little-endian), and its bytes. Content is a sequence of
//! pieces, ended by an empty one. [`Answering`] is the server end. Clients wait for answers on a runtime
//! (`WorkerConnection`, with the feature `tokio`) or with a deadline.

mod answering;
#[cfg(feature = "tokio")]
mod connection;
pub mod environment;
mod link;
pub mod order;
pub mod tls;
pub mod worker_program;
mod writing;

use std::io;

use serde::de::DeserializeOwned;

pub use answering::{Answering, Content};
#[cfg(feature = "tokio")]
pub use connection::WorkerConnection;
pub use link::WorkerLink;
pub use writing::Writing;

/// Maximum size of a message, in bytes: more than the encoded signatures of one digest.
pub const MESSAGE_LIMIT: usize = 64 << 20;
/// Maximum size of a short answer, in bytes.
pub const SMALL: usize = 64 << 10;
/// Maximum size of a piece, in bytes.
pub const PIECE: usize = 128 << 10;
/// Size of a frame header, in bytes.
pub const HEADER: usize = 5;

/// Frame of a connection.
#[derive(Debug)]
pub enum Frame {
    Message(Vec<u8>),
    /// A piece of content; empty at its end.
    Piece(Vec<u8>),
}

/// Returns the header of a frame.
pub fn header(is_piece: bool, length: usize) -> io::Result<[u8; HEADER]> {
    let limit = if is_piece { PIECE } else { MESSAGE_LIMIT };
    if length > limit {
        return Err(wrong(format!("a frame of {length} bytes is too long")));
    }
    let [a, b, c, d] = u32::try_from(length).map_err(io::Error::other)?.to_le_bytes();
    Ok([u8::from(is_piece), a, b, c, d])
}

/// Parses a header: whether a piece follows, and its length.
pub fn announced([kind, length @ ..]: [u8; HEADER]) -> io::Result<(bool, usize)> {
    let (is_piece, length) = (kind == 1, u32::from_le_bytes(length) as usize);
    if kind > 1 || length > if is_piece { PIECE } else { MESSAGE_LIMIT } {
        return Err(wrong("it announces no frame".to_owned()));
    }
    Ok((is_piece, length))
}

#[must_use]
pub fn frame(is_piece: bool, bytes: Vec<u8>) -> Frame {
    if is_piece { Frame::Piece(bytes) } else { Frame::Message(bytes) }
}

/// Returns an error about a violation of the protocol.
#[must_use]
pub fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

pub fn understood<T: DeserializeOwned>(message: &[u8]) -> io::Result<T> {
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
