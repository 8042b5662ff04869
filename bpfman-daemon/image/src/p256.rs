//! Points of the curve P-256: a key whose point is not on the curve is invalid, and would verify nothing.

type Number = [u64; 4];

const PRIME: Number = [0xffff_ffff_ffff_ffff, 0x0000_0000_ffff_ffff, 0, 0xffff_ffff_0000_0001];
const B: Number =
    [0x3bce_3c3e_27d2_604b, 0x651d_06b0_cc53_b0f6, 0xb3eb_bd55_7698_86bc, 0x5ac6_35d8_aa3a_93e7];

/// Returns whether the bytes are an uncompressed point of the curve.
pub(crate) fn is_point(bytes: &[u8]) -> bool {
    let Some(numbers) = bytes.strip_prefix(&[4]) else { return false };
    let Some((x, y)) = numbers.split_at_checked(32) else { return false };
    let (Some(x), Some(y)) = (number(x), number(y)) else { return false };
    let three_x = sum(sum(x, x), x);
    sum(product(y, y), three_x) == sum(product(product(x, x), x), B)
}

fn number(bytes: &[u8]) -> Option<Number> {
    let mut number = Number::default();
    let (words, []) = bytes.as_chunks() else { return None };
    let [a, b, c, d] = words else { return None };
    number.copy_from_slice(&[d, c, b, a].map(|word| u64::from_be_bytes(*word)));
    less(number, PRIME).1.then_some(number)
}

/// Returns the difference modulo 2^256, and whether it is negative.
fn less(left: Number, right: Number) -> (Number, bool) {
    let (mut result, mut borrow) = (Number::default(), false);
    for (place, (left, right)) in result.iter_mut().zip(left.into_iter().zip(right)) {
        let (difference, first) = left.overflowing_sub(right);
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        (*place, borrow) = (difference, first || second);
    }
    (result, borrow)
}

fn sum(left: Number, right: Number) -> Number {
    let (mut result, mut carry) = (Number::default(), false);
    for (place, (left, right)) in result.iter_mut().zip(left.into_iter().zip(right)) {
        let (added, first) = left.overflowing_add(right);
        let (added, second) = added.overflowing_add(u64::from(carry));
        (*place, carry) = (added, first || second);
    }
    let (reduced, is_below) = less(result, PRIME);
    if is_below && !carry { result } else { reduced }
}

fn product(left: Number, right: Number) -> Number {
    let bits = right.into_iter().rev().flat_map(|word| (0..64).rev().map(move |bit| word >> bit & 1 == 1));
    bits.fold(Number::default(), |result, bit| {
        let doubled = sum(result, result);
        if bit { sum(doubled, left) } else { doubled }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: [&str; 2] = [
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ];

    fn point(numbers: [&str; 2]) -> Vec<u8> {
        let hex = numbers.concat();
        let bytes = (0..64).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
        [4].into_iter().chain(bytes).collect()
    }

    #[test]
    fn points_of_the_curve_are_known_from_others() {
        let base = point(BASE);
        assert!(is_point(&base));
        for at in 0..65 {
            let mut other = base.clone();
            other[at] ^= 1;
            assert!(!is_point(&other), "{at}");
        }
        assert!(!is_point(&base[..64]) && !is_point(&[&base[..], &[0]].concat()) && !is_point(&[]));
        assert!(!is_point(&point(["f".repeat(64).as_str(), BASE[1]])), "beyond the field");
        assert!(!is_point(&point(["0".repeat(64).as_str(), "0".repeat(64).as_str()])));
    }
}
