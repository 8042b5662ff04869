//! Events of the radar's programs. The structures are those of examples/radar/radar.bpf.c.

use bpfmand_kernel::MapEntry;

const EVENT: usize = 248;

/// Kinds of calls: commands of bpf(2), and numbers from 1000 for other calls.
pub mod kind {
    pub const MAP_CREATE: u32 = 0;
    pub const PROG_LOAD: u32 = 5;
    pub const OBJ_PIN: u32 = 6;
    pub const PROG_ATTACH: u32 = 8;
    pub const PROG_DETACH: u32 = 9;
    pub const RAW_TRACEPOINT_OPEN: u32 = 17;
    pub const LINK_CREATE: u32 = 28;
    pub const LINK_UPDATE: u32 = 29;
    pub const LINK_DETACH: u32 = 34;
    pub const XDP_BY_NETLINK: u32 = 1000;
    pub const SOCKET: u32 = 1002;
    pub const UNLINK: u32 = 1003;
    pub const TC_FILTER: u32 = 1004;
    pub const TC_FILTER_GONE: u32 = 1005;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    Done,
    /// The kernel refused the call, with this errno.
    Refused(i32),
    /// A program made the call, so its result was not observed.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadarEvent {
    /// Time in nanoseconds since boot, without suspend.
    pub time: u64,
    /// Start of the process, in nanoseconds since boot; 0 if unknown.
    pub began: u64,
    pub group: u64,
    pub process: u32,
    pub user: u32,
    pub user_group: u32,
    pub kind: u32,
    pub result: CallEnd,
    /// Ids of the objects used or created; 0 if unknown.
    pub program: u32,
    pub map: u32,
    pub link: u32,
    pub object_type: u32,
    pub attach_type: u32,
    /// Interface, or file descriptor.
    pub target: u32,
    /// Inode of the network namespace; 0 if unknown.
    pub netns: u32,
    /// File descriptor, in the calling process, of the object attached, pinned or changed.
    pub descriptor: i32,
    pub command: String,
    pub name: String,
    pub tag: [u8; 8],
    pub path: String,
}

struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    fn text<const N: usize>(&mut self) -> Option<String> {
        self.array::<N>().map(|bytes| text(&bytes))
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl RadarEvent {
    /// Parses a record of the ring buffer; `None` if its size is that of other programs.
    pub fn parse(record: &[u8]) -> Option<Self> {
        const UNKNOWN: i32 = -4096;
        if record.len() != EVENT {
            return None;
        }
        let mut fields = Fields(record);
        let (time, began, group) = (fields.long()?, fields.long()?, fields.long()?);
        let (process, user, user_group, kind) =
            (fields.word()?, fields.word()?, fields.word()?, fields.word()?);
        let result = match fields.word()?.cast_signed() {
            UNKNOWN => CallEnd::Unknown,
            number if number < 0 => CallEnd::Refused(-number),
            _ => CallEnd::Done,
        };
        let _object = fields.word()?;
        let (program, map, link) = (fields.word()?, fields.word()?, fields.word()?);
        let (object_type, attach_type, target, netns) =
            (fields.word()?, fields.word()?, fields.word()?, fields.word()?);
        let descriptor = fields.word()?.cast_signed();
        let (command, name, tag) = (fields.text::<16>()?, fields.text::<16>()?, fields.array()?);
        let path = match kind {
            kind::UNLINK => format!("{}/{}", fields.text::<64>()?, fields.text::<64>()?),
            _ => fields.text::<128>()?,
        };
        Some(Self {
            time,
            began,
            group,
            process,
            user,
            user_group,
            kind,
            result,
            program,
            map,
            link,
            object_type,
            attach_type,
            target,
            netns,
            descriptor,
            command,
            name,
            tag,
            path,
        })
    }
}

/// Calls of one process and kind that found the ring buffer full.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FloodKey {
    pub process: u32,
    pub user: u32,
    pub kind: u32,
    /// Errno; 0 on success.
    pub error: i32,
    pub command: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodCount {
    pub count: u64,
    /// Nanoseconds since boot.
    pub first: u64,
    pub last: u64,
}

pub fn flood(entry: &MapEntry) -> Option<(FloodKey, FloodCount)> {
    let mut key = Fields(&entry.key);
    let mut value = Fields(&entry.value);
    let (process, user, kind) = (key.word()?, key.word()?, key.word()?);
    let error = -key.word()?.cast_signed();
    let key = FloodKey { process, user, kind, error, command: key.text::<16>()? };
    let count = FloodCount { count: value.long()?, first: value.long()?, last: value.long()? };
    Some((key, count))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn record(process: u32, kind: u32, result: i32, command: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        for long in [1_000_000_007_u64, 0, 9] {
            record.extend(long.to_ne_bytes());
        }
        for word in [process, 1000, 1001, kind, result.cast_unsigned(), 1, 41, 0, 0, 6, 37, 3, 77, u32::MAX] {
            record.extend(word.to_ne_bytes());
        }
        let mut name = command.to_vec();
        name.resize(16, 0);
        record.extend(name);
        record.extend(b"wall\0\0\0\0\0\0\0\0\0\0\0\0");
        record.extend([7; 8]);
        let mut path = b"/sys/fs/bpf/wall".to_vec();
        path.resize(128, 0);
        record.extend(path);
        record
    }

    #[test]
    fn an_event_is_read_and_a_record_of_another_size_is_none() {
        let event = RadarEvent::parse(&record(5, kind::PROG_LOAD, -1, b"evil\n\x1b[2J")).unwrap();
        assert_eq!((event.process, event.user, event.user_group, event.group), (5, 1000, 1001, 9));
        assert_eq!((event.program, event.object_type, event.target, event.netns), (41, 6, 3, 77));
        assert_eq!((event.result, event.descriptor), (CallEnd::Refused(1), -1));
        assert_eq!((event.name.as_str(), event.path.as_str()), ("wall", "/sys/fs/bpf/wall"));
        assert_eq!(event.command, "evil\n\u{1b}[2J");
        let mut longer = record(5, kind::PROG_LOAD, 3, b"x");
        assert_eq!(RadarEvent::parse(&longer).unwrap().result, CallEnd::Done);
        assert_eq!(
            RadarEvent::parse(&record(5, kind::PROG_LOAD, -4096, b"x")).unwrap().result,
            CallEnd::Unknown
        );
        longer.push(0);
        assert_eq!(RadarEvent::parse(&longer), None);
        assert_eq!(RadarEvent::parse(&[]), None);
    }

    #[test]
    fn a_flood_is_read() {
        let key =
            [&5_u32.to_ne_bytes()[..], &0_u32.to_ne_bytes(), &5_u32.to_ne_bytes(), &(-22_i32).to_ne_bytes()];
        let key = [&key.concat()[..], b"flood\0\0\0\0\0\0\0\0\0\0\0"].concat();
        let value = [9_u64, 1, 2].iter().flat_map(|number| number.to_ne_bytes()).collect();
        let (key, count) = flood(&MapEntry { key, value }).unwrap();
        assert_eq!((key.process, key.kind, key.error, key.command.as_str()), (5, 5, 22, "flood"));
        assert_eq!(count, FloodCount { count: 9, first: 1, last: 2 });
    }
}
