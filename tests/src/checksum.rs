//! The checksum of the Internet's headers (RFC 1071).

/// Of an even number of bytes, in which the checksum's own are zero; as they stand in a packet.
#[must_use]
pub fn internet_checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from_be_bytes([0, 0, pair[0], pair[1]])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}
