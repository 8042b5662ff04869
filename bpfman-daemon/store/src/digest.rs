//! Checksums: one in every entry, over key and value, and one over all records, which changes if an engine loses or
//! restores a record. It is a sum, so that a commit updates it without reading other records.

/// Bytes that [`seal`] adds to a value.
const SEAL: usize = 4;

fn checksum(key: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(payload);
    hasher.finalize()
}

pub(crate) fn seal(key: &[u8], mut payload: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &payload);
    payload.extend_from_slice(&sum.to_le_bytes());
    payload
}

pub(crate) fn unseal<'a>(key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (payload, sum) = stored.split_last_chunk::<SEAL>()?;
    (u32::from_le_bytes(*sum) == checksum(key, payload)).then_some(payload)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordsDigest {
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

impl RecordsDigest {
    pub(crate) fn add(&mut self, stored: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash(stored));
    }

    pub(crate) fn remove(&mut self, stored: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash(stored));
    }
}

/// Hashes only the seal, which covers key and payload. A CRC over bytes that end with their own CRC is constant.
fn hash(stored: &[u8]) -> u64 {
    spread(stored.last_chunk::<SEAL>().map_or(0, |sum| u32::from_le_bytes(*sum)))
}

/// Spreads a checksum over 64 bits: sums of the linear checksums would cancel.
fn spread(sum: u32) -> u64 {
    let mut x = u64::from(sum).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_under_another_key_is_refused() {
        let stored = seal(b"one", b"value".to_vec());
        assert_eq!(unseal(b"one", &stored), Some(&b"value"[..]));
        assert_eq!(unseal(b"two", &stored), None);
        assert_eq!(unseal(b"one", &stored[..3]), None);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let stored = seal(b"key", b"some payload".to_vec());
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(b"key", &damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn the_digest_of_a_set_does_not_depend_on_its_history() {
        let sealed = |key: &[u8], value: &[u8]| seal(key, value.to_vec());
        let mut long = RecordsDigest::default();
        long.add(&sealed(b"a", b"1"));
        long.add(&sealed(b"b", b"2"));
        long.remove(&sealed(b"a", b"1"));
        long.add(&sealed(b"a", b"3"));
        let mut short = RecordsDigest::default();
        short.add(&sealed(b"a", b"3"));
        short.add(&sealed(b"b", b"2"));
        assert_eq!(long, short);
        short.remove(&sealed(b"b", b"2"));
        short.add(&sealed(b"b", b"3"));
        assert_ne!(long, short);
    }
}
