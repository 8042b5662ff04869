//! Buffers that `struct bpf_prog_info` points to, as in linux/bpf.h.

/// Number of bytes of the structure that are understood.
pub const PROGRAM_INFO: usize = 232;

/// A buffer that the structure points to.
#[derive(Clone, Copy, Debug)]
pub struct InfoPart {
    pub pointer: usize,
    /// Offset of the number of records.
    pub count: usize,
    /// Size of a record, in bytes, or the offset of its size.
    pub record: RecordSize,
}

#[derive(Clone, Copy, Debug)]
pub enum RecordSize {
    /// In bytes.
    Fixed(u64),
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
        let record = match self.record {
            RecordSize::Fixed(size) => size,
            RecordSize::At(at) => word(info, at)?.into(),
        };
        u64::from(word(info, self.count)?).checked_mul(record).filter(|length| *length <= crate::MAX_BUFFER)
    }

    /// Lowers the announced number of records to that of the program itself: the kernel writes no more.
    pub fn cut(&self, info: &mut [u8], own: &[u8]) {
        let count = word(info, self.count).zip(word(own, self.count)).map(|(given, own)| given.min(own));
        if let (Some(count), Some(slot)) = (count, info.get_mut(self.count..self.count + 4)) {
            slot.copy_from_slice(&count.to_ne_bytes());
        }
    }
}

fn word(info: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*info.get(at..)?.first_chunk()?))
}
