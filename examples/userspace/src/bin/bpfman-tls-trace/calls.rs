//! Pieces put together to calls.

use std::collections::HashMap;

use crate::piece::{Caller, Direction, Piece};

/// Threads whose calls are not whole yet, at most; of those beyond, pieces are shown as they are.
const MOST: usize = 4096;

/// The beginning of what one call carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Nanoseconds since boot.
    pub time: u64,
    /// Whose.
    pub caller: Caller,
    /// Which connection, with the process.
    pub connection: u64,
    /// Which way.
    pub direction: Direction,
    /// Bytes of the whole call.
    pub total: u32,
    /// Its beginning, as much as was sampled.
    pub bytes: Vec<u8>,
}

/// A direction of a connection: process, connection, direction.
pub type Stream = (u32, u64, Direction);

impl Call {
    /// What it is a part of.
    pub fn stream(&self) -> Stream {
        (self.caller.pid, self.connection, self.direction)
    }
}

/// Calls of which pieces are still to come. A thread is in one call at a time.
#[derive(Default)]
pub struct Calls(HashMap<u32, Call>);

impl Calls {
    /// Takes a piece, and gives the calls that end with it: none, the piece's own, or before it one whose end was lost.
    pub fn take(&mut self, piece: Piece) -> Vec<Call> {
        let thread = piece.caller.tid;
        let mut ended = Vec::new();
        let begun = match self.0.remove(&thread) {
            Some(call) if piece.offset as usize == call.bytes.len() && piece.time >= call.time => Some(call),
            // The ring was full when its end came.
            Some(cut) => {
                ended.push(cut);
                None
            }
            None => None,
        };
        let call = match begun {
            Some(mut call) => {
                call.bytes.extend(&piece.bytes);
                call
            }
            // Behind a beginning that was lost: nothing to show.
            None if piece.offset > 0 => return ended,
            None => Call {
                time: piece.time,
                caller: piece.caller,
                connection: piece.connection,
                direction: piece.direction,
                total: piece.total,
                bytes: piece.bytes,
            },
        };
        if piece.last || self.0.len() >= MOST {
            ended.push(call);
        } else {
            self.0.insert(thread, call);
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(tid: u32, offset: u32, last: bool, bytes: &[u8]) -> Piece {
        let caller = Caller { pid: 1, tid, uid: 0, comm: "curl".to_owned(), cgroup: 1 };
        Piece {
            time: 5,
            caller,
            connection: 9,
            direction: Direction::Read,
            total: 6,
            offset,
            last,
            bytes: bytes.to_vec(),
        }
    }

    fn texts(calls: Vec<Call>) -> Vec<Vec<u8>> {
        calls.into_iter().map(|call| call.bytes).collect()
    }

    #[test]
    fn pieces_of_threads_do_not_mix() {
        let mut calls = Calls::default();
        assert!(calls.take(piece(1, 0, false, b"abc")).is_empty());
        assert!(calls.take(piece(2, 0, false, b"123")).is_empty());
        assert_eq!(texts(calls.take(piece(1, 3, true, b"def"))), [b"abcdef"]);
        assert_eq!(texts(calls.take(piece(2, 3, true, b"456"))), [b"123456"]);
    }

    #[test]
    fn a_call_whose_pieces_were_lost_is_cut_and_never_joined_with_another() {
        let mut calls = Calls::default();
        assert!(calls.take(piece(1, 0, false, b"abc")).is_empty());
        assert_eq!(texts(calls.take(piece(1, 0, true, b"next"))), [b"abc".to_vec(), b"next".to_vec()]);
        assert!(calls.take(piece(1, 3, true, b"def")).is_empty(), "its beginning was lost");
    }
}
