//! Shape of keys and certificates in DER: enough to refuse other files where they are named. The worker parses them.

/// Object identifier of ECDSA keys, encoded, with that of the curve P-256.
const P256: [u8; 23] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// Length of a P-256 key, with an uncompressed point.
const P256_KEY: usize = 91;
/// Algorithm identifier of RSA keys.
const RSA: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// Minimum length of an RSA key: one of 2,048 bits.
const RSA_KEY: usize = 294;

/// Kind of a public key, by its beginning and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyShape {
    P256,
    Rsa,
    /// A sequence, of another algorithm or shorter.
    Other,
    /// No DER at all.
    NoKey,
}

impl KeyShape {
    pub(crate) fn of(der: &[u8]) -> Self {
        let Some(body) = sequence(der) else { return Self::NoKey };
        match body {
            _ if der.len() == P256_KEY && der.starts_with(&P256) => Self::P256,
            body if body.starts_with(&RSA) && der.len() >= RSA_KEY => Self::Rsa,
            _ => Self::Other,
        }
    }
}

/// Returns whether the bytes are one DER sequence, whole.
pub(crate) fn is_der_sequence(der: &[u8]) -> bool {
    sequence(der).is_some()
}

/// Returns the contents of a sequence that fills the bytes.
fn sequence(der: &[u8]) -> Option<&[u8]> {
    let [0x30, first, rest @ ..] = der else { return None };
    let (length, body) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (length, body) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), body)
        }
        _ => return None,
    };
    (body.len() == length && length > 0).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_whole_or_none() {
        assert!(is_der_sequence(&[0x30, 1, 0]) && is_der_sequence(&[0x30, 0x81, 1, 0]));
        for bytes in
            [&[][..], &[0x30], &[0x30, 0], &[0x30, 2, 0], &[0x30, 1, 0, 0], &[0, 0, 0], &[0x30, 0x85]]
        {
            assert!(!is_der_sequence(bytes), "{bytes:?}");
        }
        assert_eq!(KeyShape::of(&[0x30, 1, 0]), KeyShape::Other);
        assert_eq!(KeyShape::of(b"no key"), KeyShape::NoKey);
    }
}
