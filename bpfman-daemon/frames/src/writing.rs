//! Frames of a question or an answer, written together because each write wakes the other end.

use std::io::{self, Write};

use serde::Serialize;

use crate::{PIECE, header};

/// Frames that are written together, in several parts if they are long.
#[derive(Debug)]
pub struct Writing<'w, W: Write> {
    to: &'w mut W,
    waiting: Vec<u8>,
}

impl<'w, W: Write> Writing<'w, W> {
    pub const fn new(to: &'w mut W) -> Self {
        Self { to, waiting: Vec::new() }
    }

    pub fn message(&mut self, message: &impl Serialize) -> io::Result<()> {
        let message = serde_json::to_vec(message)?;
        self.add(false, &message)
    }

    /// Adds a piece of content; an empty one ends it.
    pub fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        self.add(true, piece)
    }

    pub fn content(&mut self, content: &[u8]) -> io::Result<()> {
        content.chunks(PIECE).try_for_each(|piece| self.piece(piece))?;
        self.piece(&[])
    }

    fn add(&mut self, is_piece: bool, bytes: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(&header(is_piece, bytes.len())?);
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < PIECE {
            return Ok(());
        }
        self.to.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    pub fn send(self) -> io::Result<()> {
        self.to.write_all(&self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Default)]
    struct Written(Vec<Vec<u8>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn short_frames_are_written_at_once_and_long_content_in_pieces() {
        let frames = |content: &[u8]| {
            let mut written = Written::default();
            let mut writing = Writing::new(&mut written);
            writing.message(&7).unwrap();
            writing.content(content).unwrap();
            writing.send().unwrap();
            written.0
        };
        assert_eq!(frames(b"ab"), [b"\x00\x01\0\0\x007\x01\x02\0\0\0ab\x01\0\0\0\0".to_vec()]);
        let long = frames(&vec![3; 2 * PIECE]);
        assert_eq!(long.len(), 3);
        assert_eq!(long.concat().len(), 2 * PIECE + 1 + 4 * crate::HEADER);
    }
}
