//! Shape of keys and certificates in DER: enough to refuse other files where they are named. The worker parses them.

use crate::p256::is_point;

/// Beginning of a P-256 key, with the object identifiers of ECDSA keys and of the curve, encoded.
const P256: [u8; 23] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// Length of a P-256 key, with an uncompressed point.
const P256_KEY: usize = 91;
/// Object identifier of RSA keys, encoded.
const RSA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// Minimum size of the modulus of an RSA key, in bytes.
const RSA_MODULUS: usize = 2048 / 8;

/// Kind of a public key, by its beginning and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyShape {
    P256,
    Rsa,
    /// A key of another algorithm, or a shorter RSA key.
    Other,
    /// A known algorithm with invalid numbers.
    Invalid,
    /// No DER at all.
    NoKey,
}

impl KeyShape {
    pub(crate) fn of(der: &[u8]) -> Self {
        let Some(body) = sequence(der) else { return Self::NoKey };
        if der.len() == P256_KEY && der.starts_with(&P256) {
            return if is_point(der.get(P256.len() + 3..).unwrap_or_default()) {
                Self::P256
            } else {
                Self::Invalid
            };
        }
        match rsa_numbers(body) {
            Some((modulus, exponent)) if modulus.len() >= RSA_MODULUS => {
                let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
                let is_key = is_odd(modulus) && is_odd(exponent) && *exponent != [1];
                if is_key { Self::Rsa } else { Self::Invalid }
            }
            _ => Self::Other,
        }
    }
}

/// Returns modulus and exponent of an RSA key, without leading zeros, from the contents of its SubjectPublicKeyInfo.
fn rsa_numbers(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let (algorithm, key) = element(info, 0x30)?;
    let (key, _) = element(key, 0x03)?;
    let numbers = sequence(algorithm.starts_with(&RSA).then_some(key)?.strip_prefix(&[0])?)?;
    let (modulus, numbers) = element(numbers, 0x02)?;
    let (exponent, _) = element(numbers, 0x02)?;
    let zeros = |number: &[u8]| number.iter().take_while(|byte| **byte == 0).count();
    Some((modulus.get(zeros(modulus)..)?, exponent.get(zeros(exponent)..)?))
}

/// Returns whether the bytes are one DER sequence, whole.
pub(crate) fn is_der_sequence(der: &[u8]) -> bool {
    sequence(der).is_some()
}

/// Returns the contents of a sequence that fills the bytes.
fn sequence(der: &[u8]) -> Option<&[u8]> {
    let (body, rest) = element(der, 0x30)?;
    (rest.is_empty() && !body.is_empty()).then_some(body)
}

/// Returns the contents of the first element, which has this tag, and the bytes after it.
fn element(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let [tag, first, rest @ ..] = der else { return None };
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if *tag == wanted { rest.split_at_checked(length) } else { None }
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

    #[test]
    fn rsa_keys_are_known_by_their_modulus() {
        let element =
            |tag: u8, body: &[u8]| [&[tag, 0x82, (body.len() >> 8) as u8, body.len() as u8], body].concat();
        let key = |modulus: usize, parameters: &[u8], exponent: &[u8]| {
            let modulus = element(2, &[&[0][..], &vec![0xff; modulus]].concat());
            let numbers = element(0x30, &[modulus, element(2, exponent)].concat());
            let bits = element(3, &[&[0][..], &numbers].concat());
            element(0x30, &[element(0x30, &[&RSA[..], parameters].concat()), bits].concat())
        };
        for parameters in [&[5, 0][..], &[]] {
            assert_eq!(KeyShape::of(&key(256, parameters, &[3])), KeyShape::Rsa);
            assert_eq!(KeyShape::of(&key(512, parameters, &[1, 0, 1])), KeyShape::Rsa);
            assert_eq!(KeyShape::of(&key(255, parameters, &[1, 0, 1])), KeyShape::Other);
            for exponent in [&[1][..], &[2], &[0], &[]] {
                assert_eq!(KeyShape::of(&key(256, parameters, exponent)), KeyShape::Invalid, "{exponent:?}");
            }
        }
    }
}
