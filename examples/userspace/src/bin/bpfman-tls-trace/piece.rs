//! Records that `tls_trace.bpf.c` writes to its ring buffer, parsed by hand.

const PIECE_BYTES: usize = 1024;
const COMM_LENGTH: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Read,
    Write,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub pid: u32,
    pub tid: u32,
    pub uid: u32,
    pub comm: String,
    pub cgroup: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Nanoseconds since boot.
    pub time: u64,
    pub caller: Caller,
    /// Identifies the connection among those that are open in the process at the same time.
    pub connection: u64,
    pub direction: Direction,
    pub total: u32,
    pub offset: u32,
    pub last: bool,
    pub bytes: Vec<u8>,
}

impl Piece {
    pub fn parse(record: &[u8]) -> Option<Self> {
        let mut rest = record;
        let [time, cgroup, connection] = [long(&mut rest)?, long(&mut rest)?, long(&mut rest)?];
        let [pid, tid, uid, direction] =
            [word(&mut rest)?, word(&mut rest)?, word(&mut rest)?, word(&mut rest)?];
        let [total, offset, length, last] =
            [word(&mut rest)?, word(&mut rest)?, word(&mut rest)?, word(&mut rest)?];
        let (comm, rest) = rest.split_at_checked(COMM_LENGTH)?;
        let comm = comm.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            time,
            caller: Caller { pid, tid, uid, comm: String::from_utf8_lossy(comm).into_owned(), cgroup },
            connection,
            direction: match direction {
                0 => Direction::Read,
                1 => Direction::Write,
                _ => return None,
            },
            total,
            offset,
            last: last != 0,
            bytes: rest.get(..PIECE_BYTES)?.get(..length as usize)?.to_vec(),
        })
    }
}

fn long(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u64::from_ne_bytes(*bytes))
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(direction: u32, length: u32) -> Vec<u8> {
        let mut record = Vec::new();
        for long in [7_u64, 8, 9] {
            record.extend(long.to_ne_bytes());
        }
        for word in [1_u32, 2, 3, direction, 100, 0, length, 1] {
            record.extend(word.to_ne_bytes());
        }
        record.extend(b"curl\0xxxxxxxxxxx");
        record.extend([b'a'; PIECE_BYTES]);
        record
    }

    #[test]
    fn a_piece_is_read_field_by_field() {
        let piece = Piece::parse(&record(1, 3)).unwrap();
        assert_eq!((piece.time, piece.connection, piece.total, piece.last), (7, 9, 100, true));
        assert_eq!((piece.direction, piece.bytes.as_slice()), (Direction::Write, b"aaa".as_slice()));
        let caller = Caller { pid: 1, tid: 2, uid: 3, comm: "curl".to_owned(), cgroup: 8 };
        assert_eq!(piece.caller, caller);
    }

    #[test]
    fn invalid_record_is_no_piece() {
        let whole = record(0, 3);
        assert!((0..whole.len()).all(|length| Piece::parse(&whole[..length]).is_none()));
        assert_eq!(Piece::parse(&record(2, 3)), None);
        assert_eq!(Piece::parse(&record(0, 1025)), None);
    }
}
