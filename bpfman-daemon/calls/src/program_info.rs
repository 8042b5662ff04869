//! Buffers that `struct bpf_prog_info` points to, as in linux/bpf.h.

/// Number of bytes of the structure that are understood.
pub const PROGRAM_INFO: usize = 232;

/// A buffer that the structure points to.
#[derive(Clone, Copy, Debug)]
pub struct InfoPart {
    /// Offset of the pointer.
    pub pointer: usize,
    /// Offset of the number of records.
    pub count: usize,
    /// Size of a record, in bytes, or the offset of its size.
    pub record: RecordSize,
}

/// Size of a record.
#[derive(Clone, Copy, Debug)]
pub enum RecordSize {
    /// In bytes.
    Fixed(u64),
    /// Offset of the size.
    At(usize),
}

const fn part(pointer: usize, count: usize, record: RecordSize) -> InfoPart {
    InfoPart { pointer, count, record }
}

/// All buffers.
pub const INFO_PARTS: [InfoPart; 9] = [
    part(24, 16, RecordSize::Fixed(1)),
    part(32, 20, RecordSize::Fixed(1)),
    part(56, 52, RecordSize::Fixed(4)),
    part(112, 104, RecordSize::Fixed(8)),
    part(120, 108, RecordSize::Fixed(4)),
    part(136, 144, RecordSize::At(132)),
    part(152, 148, RecordSize::At(172)),
    part(160, 168, RecordSize::At(176)),
    part(184, 180, RecordSize::Fixed(8)),
];

impl InfoPart {
    /// Returns the length of the buffer that a structure announces, in bytes; `None` if it is too long.
    #[must_use]
    pub fn length(&self, info: &[u8]) -> Option<u64> {
        let word = |at: usize| {
            let bytes = info.get(at..at + 4)?;
            Some(u64::from(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
        };
        let record = match self.record {
            RecordSize::Fixed(size) => size,
            RecordSize::At(at) => word(at)?,
        };
        word(self.count)?.checked_mul(record).filter(|length| *length <= crate::MAX_BUFFER)
    }
}
