//! Attribute of bpf(2): bytes with integers at fixed offsets.

use crate::Errno;

/// Size of the largest attribute that is understood, in bytes.
pub const MAX_ATTR: usize = 160;

/// Attribute of one call, with all known bytes: cutting a field would leave a part of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAttr {
    bytes: [u8; MAX_ATTR],
    size: usize,
}

impl CallAttr {
    /// Copies an attribute of which the first `known` bytes are understood.
    ///
    /// # Errors
    /// `E2BIG`, as from an older kernel, if a byte after them is not zero: it could belong to a pointer or a
    /// descriptor.
    pub fn copy(given: &[u8], known: usize) -> Result<Self, Errno> {
        let known = known.min(MAX_ATTR);
        let (kept, later) = given.split_at(given.len().min(known));
        if later.iter().any(|byte| *byte != 0) {
            return Err(Errno::TOO_BIG);
        }
        let mut bytes = [0; MAX_ATTR];
        bytes[..kept.len()].copy_from_slice(kept);
        Ok(Self { bytes, size: known })
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.size]
    }

    /// Returns the bytes for a system call.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.size]
    }

    /// Returns the integer at an offset.
    #[must_use]
    pub fn word(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_ne_bytes(word)
    }

    /// Returns the integer of eight bytes at an offset.
    #[must_use]
    pub fn long(&self, at: usize) -> u64 {
        let mut long = [0; 8];
        long.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_ne_bytes(long)
    }

    /// Sets the integer at an offset.
    pub fn set_word(&mut self, at: usize, word: u32) {
        self.set(at, &word.to_ne_bytes());
    }

    /// Sets the integer of eight bytes at an offset.
    pub fn set_long(&mut self, at: usize, long: u64) {
        self.set(at, &long.to_ne_bytes());
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_understood_must_be_zero() {
        let mut given = [0_u8; 40];
        given[3] = 7;
        assert_eq!(
            CallAttr::copy(&given, 12).map(|attr| attr.bytes().to_vec()),
            Ok(vec![0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0])
        );
        given[39] = 1;
        assert_eq!(CallAttr::copy(&given, 12), Err(Errno::TOO_BIG));
        assert!(CallAttr::copy(&given, 40).is_ok());
    }

    #[test]
    fn short_attribute_has_all_fields() {
        // The kernel would fill up a truncated pointer with zeroes.
        let mut attr = CallAttr::copy(&[0xff; 6], 16).unwrap_or_else(|error| panic!("{error}"));
        attr.set_long(4, 0);
        assert_eq!(attr.bytes(), [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((attr.word(0), attr.long(8)), (u32::MAX, 0));
    }
}
