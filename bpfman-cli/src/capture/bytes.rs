//! Numbers in either byte order, and pieces that may be missing.

use super::CaptureError;

/// How a file writes numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    Little,
    Big,
}

/// A file, read from front to back.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    pub endian: Endian,
}

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8], endian: Endian) -> Self {
        Self { bytes, at: 0, endian }
    }

    /// Where it is.
    pub const fn at(&self) -> usize {
        self.at
    }

    pub const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next so many bytes of something that begins at `begin`.
    pub fn take(
        &mut self,
        length: usize,
        what: &'static str,
        begin: usize,
    ) -> Result<&'a [u8], CaptureError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(CaptureError::Short { what, at: begin })?;
        let piece = &self.bytes[self.at..end];
        self.at = end;
        Ok(piece)
    }

    /// The next number.
    pub fn number(&mut self, what: &'static str, begin: usize) -> Result<u32, CaptureError> {
        let piece = self.take(4, what, begin)?;
        let bytes = [piece[0], piece[1], piece[2], piece[3]];
        Ok(match self.endian {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        })
    }
}
