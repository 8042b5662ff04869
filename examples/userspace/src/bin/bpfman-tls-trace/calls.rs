use std::collections::HashMap;

use crate::piece::{Caller, Direction, Piece};

/// Maximum number of threads whose pieces are joined; pieces of further threads are shown separately.
const MAX_THREADS: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Nanoseconds since boot.
    pub time: u64,
    pub caller: Caller,
    pub connection: u64,
    pub direction: Direction,
    pub total: u32,
    pub bytes: Vec<u8>,
}

pub type Stream = (u32, u64, Direction);

impl Call {
    pub fn stream(&self) -> Stream {
        (self.caller.pid, self.connection, self.direction)
    }
}

#[derive(Default)]
pub struct Calls(HashMap<u32, Call>);

impl Calls {
    pub fn take(&mut self, piece: Piece) -> Vec<Call> {
        let thread = piece.caller.tid;
        let mut ended = Vec::new();
        let begun = match self.0.remove(&thread) {
            Some(call) if piece.offset as usize == call.bytes.len() && piece.time >= call.time => Some(call),
            // The end was lost because the ring buffer was full.
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
            // The beginning was lost, so there is nothing to show.
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
        if piece.last || self.0.len() >= MAX_THREADS {
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
    fn call_with_lost_pieces_is_cut_and_never_joined_with_another() {
        let mut calls = Calls::default();
        assert!(calls.take(piece(1, 0, false, b"abc")).is_empty());
        assert_eq!(texts(calls.take(piece(1, 0, true, b"next"))), [b"abc".to_vec(), b"next".to_vec()]);
        assert!(calls.take(piece(1, 3, true, b"def")).is_empty(), "its beginning was lost");
    }
}
