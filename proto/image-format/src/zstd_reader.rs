//! Decompression of zstd (RFC 8878), frame by frame, with a limit on the memory of a frame.

use std::io::{self, Read};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::packing::fill;

/// Memory limit of a frame: RFC 8878 (3.1.1.1.2) recommends 8 MiB, and builders write up to 32 MiB.
pub(crate) const MAX_WINDOW: u64 = 32 << 20;
/// Maximum number of frames: `zstd:chunked` writes one for each piece of a file.
const MAX_FRAMES: usize = 64 << 10;
const STEP: usize = 128 << 10;
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

pub(crate) struct ZstdReader<R> {
    source: R,
    decoder: FrameDecoder,
    inside: bool,
    frames: usize,
}

impl<R: Read> ZstdReader<R> {
    pub(crate) fn is_start(start: &[u8]) -> bool {
        start.starts_with(&FRAME) || start.get(..4).is_some_and(is_skippable)
    }

    pub(crate) fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { source, decoder, inside: false, frames: 0 }
    }

    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            let mut magic = [0; 4];
            match fill(&mut self.source, &mut magic)? {
                0 => return Ok(false),
                4 => {}
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            self.frames += 1;
            if self.frames > MAX_FRAMES {
                return Err(wrong(format!("it has more than {MAX_FRAMES} frames")));
            }
            if is_skippable(&magic) {
                let mut length = [0; 4];
                self.source.read_exact(&mut length)?;
                let length = u64::from(u32::from_le_bytes(length));
                if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            if magic != FRAME {
                return Err(wrong("something that is no frame follows a frame".to_owned()));
            }
            let frame = FRAME.as_slice().chain(&mut self.source);
            self.decoder.reset(frame).map_err(|error| wrong(error.to_string()))?;
            self.inside = true;
            return Ok(true);
        }
    }
}

impl<R: Read> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.inside && self.decoder.can_collect() > 0 {
                let read = self.decoder.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
            }
            if self.inside && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBytes(STEP))
                    .map_err(|error| wrong(error.to_string()))?;
                continue;
            }
            self.inside = false;
            if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}

fn is_skippable(magic: &[u8]) -> bool {
    matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn zstd(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    fn skippable(content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        [[0x5e, 0x2a, 0x4d, 0x18].as_slice(), &length, content].concat()
    }

    fn read(content: &[u8]) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        ZstdReader::new(content).read_to_end(&mut found).map(|_| found)
    }

    #[test]
    fn frames_are_joined_and_skippable_ones_left_out() {
        let large: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        assert_eq!(read(&zstd(&large)).unwrap(), large);
        let content = [
            skippable(b"before"),
            zstd(b"one "),
            zstd(b""),
            skippable(&[0; 5000]),
            zstd(b"two"),
            skippable(b""),
        ];
        assert_eq!(read(&content.concat()).unwrap(), b"one two");
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn damaged_and_cut_content_is_refused() {
        let whole = zstd(&b"some content that is long enough ".repeat(40));
        for end in 1..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end}");
        }
        assert!(read(&[whole.as_slice(), b"more"].concat()).is_err());
        assert!(read(&skippable(b"skipped")[..10]).is_err());
    }

    #[test]
    fn frame_that_needs_too_much_is_refused() {
        let error = |content: &[u8]| read(content).unwrap_err().to_string();
        assert!(error(&[FRAME.as_slice(), &[0, 16 << 3]].concat()).contains("too big; Requested: 67108864"));
        let single = [FRAME.as_slice(), &[0b1010_0000, 0xff, 0xff, 0xff, 0xff]].concat();
        assert!(error(&single).contains("too big; Requested: 4294967295"));
        assert!(error(&[FRAME.as_slice(), &[1, 0, 7]].concat()).to_lowercase().contains("dict"));
        assert!(error(&skippable(b"").repeat(MAX_FRAMES + 1)).contains("frames"));
    }
}
