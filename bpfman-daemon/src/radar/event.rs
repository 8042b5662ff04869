//! What the radar's programs say: the structures of examples/radar/radar.bpf.c.

use bpfmand_kernel::MapEntry;

/// Bytes of an event.
const EVENT: usize = 248;

/// What a call was, as far as nobody else has a number for it.
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

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// It was done.
    Done,
    /// The kernel refused, with this error.
    Refused(i32),
    /// A program made the call, and nobody saw its end.
    Unknown,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadarEvent {
    /// Nanoseconds since boot, without sleep.
    pub time: u64,
    /// When the process began, in nanoseconds since boot; 0: not known.
    pub began: u64,
    /// Control group of version 2, by its id.
    pub group: u64,
    pub process: u32,
    pub user: u32,
    pub user_group: u32,
    /// Of [`kind`].
    pub kind: u32,
    pub result: CallEnd,
    /// Ids of what it was about or made; 0: not known.
    pub program: u32,
    pub map: u32,
    pub link: u32,
    /// Of the program, map or link.
    pub object_type: u32,
    pub attach_type: u32,
    /// An interface, or a descriptor.
    pub target: u32,
    /// Inode of the network namespace; 0: not known.
    pub netns: u32,
    /// What was attached, pinned or changed, by the process' number for it.
    pub descriptor: i32,
    pub command: String,
    /// Of the program or map.
    pub name: String,
    /// Of the program; zero: not known.
    pub tag: [u8; 8],
    /// Of a pin.
    pub path: String,
}

/// Takes fields off the front.
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

/// Up to the zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl RadarEvent {
    /// Reads a record of the ring; none for one of other programs.
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
            // The folder and the name.
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

/// Calls of one process and kind that came while the ring was full.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FloodKey {
    pub process: u32,
    pub user: u32,
    pub kind: u32,
    /// 0: done.
    pub error: i32,
    pub command: String,
}

/// How many, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodCount {
    pub count: u64,
    /// Nanoseconds since boot.
    pub first: u64,
    pub last: u64,
}

/// Reads an entry of the map `floods`.
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

    /// An event as the programs write it.
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
