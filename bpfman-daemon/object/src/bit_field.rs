/// Returns `count` bits, starting with bit `first`, of up to sixteen bytes.
#[must_use]
pub fn read_bits(bytes: &[u8], first: u32, count: u32) -> u128 {
    low_bits(number(bytes) >> first, count)
}

pub(crate) fn write_bits(bytes: &mut [u8], first: u32, count: u32, value: u128) {
    let mask = low_bits(u128::MAX, count) << first;
    let all = (number(bytes) & !mask) | ((value << first) & mask);
    let length = bytes.len().min(16);
    bytes[..length].copy_from_slice(&all.to_le_bytes()[..length]);
}

fn number(bytes: &[u8]) -> u128 {
    let mut all = [0; 16];
    let length = bytes.len().min(16);
    all[..length].copy_from_slice(&bytes[..length]);
    u128::from_le_bytes(all)
}

const fn low_bits(value: u128, count: u32) -> u128 {
    if count >= 128 { value } else { value & ((1 << count) - 1) }
}

/// Returns a number of `count` bits, sign-extended from its highest bit.
#[must_use]
pub const fn sign_extended(value: u128, count: u32) -> i128 {
    let unused = 128 - if count == 0 || count > 128 { 128 } else { count };
    (value << unused).cast_signed() >> unused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_and_written_where_they_are_and_nowhere_else() {
        let mut bytes = [0b1010_1010, 0xff, 0x0f];
        assert_eq!(read_bits(&bytes, 1, 3), 0b101);
        assert_eq!(read_bits(&bytes, 4, 12), 0xffa);
        write_bits(&mut bytes, 4, 12, 0x123);
        assert_eq!(bytes, [0x3a, 0x12, 0x0f]);
        write_bits(&mut bytes, 0, 1, 0xff);
        assert_eq!(bytes, [0x3b, 0x12, 0x0f]);
        assert_eq!((sign_extended(0b111, 3), sign_extended(0b011, 3)), (-1, 3));
        let mut wide = [0; 9];
        write_bits(&mut wide, 7, 64, u128::from(u64::MAX));
        assert_eq!((read_bits(&wide, 7, 64), wide[0], wide[8]), (u128::from(u64::MAX), 0x80, 0x7f));
    }
}
