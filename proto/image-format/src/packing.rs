//! Compression of layers and archives, detected by the first bytes: names and media types of tools disagree.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;

use crate::zstd_reader::ZstdReader;

const START: usize = 6;
const UNSUPPORTED: [(&[u8], &str); 7] = [
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"LZIP", "lzip"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x1f\x9d", "compress"),
];

/// Error of an unsupported compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is compressed by {0}, which is not supported; gzip, zstd and no compression are")]
pub struct UnsupportedPacking(pub &'static str);

impl UnsupportedPacking {
    /// Returns the unsupported compression in a read error.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// Returns content decompressed by gzip or zstd, or as it is; [`UnsupportedPacking`] for other compressions.
pub fn unpacked<'a>(mut content: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = [0; START];
    let length = fill(&mut content, &mut start)?;
    let whole = io::Cursor::new(start).take(length as u64).chain(content);
    let start = &start[..length];
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(MultiGzDecoder::new(whole)));
    }
    if ZstdReader::<io::Empty>::is_start(start) {
        // The decoder reads headers of three bytes, hence the buffer.
        return Ok(Box::new(ZstdReader::new(BufReader::new(whole))));
    }
    if let Some((_, name)) = UNSUPPORTED.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(io::Error::other(UnsupportedPacking(name)));
    }
    Ok(Box::new(whole))
}

pub(crate) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_compressions_are_named() {
        for (magic, name) in UNSUPPORTED {
            let content = [magic, b"and so on"].concat();
            let error = unpacked(content.as_slice()).err().unwrap();
            assert_eq!(UnsupportedPacking::of(&error), Some(UnsupportedPacking(name)));
        }
        for content in [b"".as_slice(), b"B", b"BZ", b"\x1f", b"\x28\xb5\x2f", b"plain text"] {
            let mut found = Vec::new();
            unpacked(content).unwrap().read_to_end(&mut found).unwrap();
            assert_eq!(found, content);
        }
    }
}
