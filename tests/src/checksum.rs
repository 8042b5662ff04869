//! Internet checksum (RFC 1071).

/// Returns the checksum in network byte order. The number of bytes must be even, and the bytes of the checksum zero.
#[must_use]
pub fn internet_checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from_be_bytes([0, 0, pair[0], pair[1]])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}
