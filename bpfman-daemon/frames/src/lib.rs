//! Words between the daemon and the processes that read what strangers wrote: messages as JSON, content as pieces of bytes.
//!
//! A frame is its kind (one byte), its length (four bytes, least significant first), and so many bytes. Content is pieces
//! and an empty one at its end. Who asks waits for an answer with others to do, on a runtime or with a deadline, and has
//! an end of its own; who answers is the same everywhere: [`Answering`].

mod answering;
mod writing;

use std::io;

use serde::de::DeserializeOwned;

pub use answering::{Answering, Content};
pub use writing::Writing;

/// Bytes of any message: more than the signatures of one digest take, in their encoding.
pub const MESSAGE_LIMIT: usize = 64 << 20;
/// Bytes of an answer that says little.
pub const SMALL: usize = 64 << 10;
/// Bytes of a piece.
pub const PIECE: usize = 128 << 10;
/// Bytes in front of a frame.
pub const HEADER: usize = 5;

/// A frame.
#[derive(Debug)]
pub enum Frame {
    /// A message.
    Message(Vec<u8>),
    /// A piece of content; empty at the end of it.
    Piece(Vec<u8>),
}

/// The kind of a frame, and its length.
///
/// # Errors
/// No frame is that long.
pub fn header(is_piece: bool, length: usize) -> io::Result<[u8; HEADER]> {
    let limit = if is_piece { PIECE } else { MESSAGE_LIMIT };
    if length > limit {
        return Err(wrong(format!("a frame of {length} bytes is too long")));
    }
    let [a, b, c, d] = u32::try_from(length).map_err(io::Error::other)?.to_le_bytes();
    Ok([u8::from(is_piece), a, b, c, d])
}

/// What a header says: whether a piece follows, and how many bytes.
///
/// # Errors
/// It announces what no frame is.
pub fn announced([kind, length @ ..]: [u8; HEADER]) -> io::Result<(bool, usize)> {
    let (is_piece, length) = (kind == 1, u32::from_le_bytes(length) as usize);
    if kind > 1 || length > if is_piece { PIECE } else { MESSAGE_LIMIT } {
        return Err(wrong("it announces no frame".to_owned()));
    }
    Ok((is_piece, length))
}

/// A frame of a kind and these bytes.
#[must_use]
pub fn frame(is_piece: bool, bytes: Vec<u8>) -> Frame {
    if is_piece { Frame::Piece(bytes) } else { Frame::Message(bytes) }
}

/// Says that the other end does not keep to this language.
#[must_use]
pub fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A message, read.
///
/// # Errors
/// It is none.
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
