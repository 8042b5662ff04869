//! Kubernetes quantities: `1000m` and `1` are equal, and the API server stores the shorter one. Pure.

#[must_use]
pub fn same_amount(one: &str, other: &str) -> bool {
    one == other || nanos(one).is_some_and(|amount| nanos(other) == Some(amount))
}

/// Returns a quantity in billionths, the finest unit of Kubernetes. `None` if it is invalid or out of range.
fn nanos(text: &str) -> Option<i128> {
    let end =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, exponent) = unit(suffix)?;
    let scale = exponent + 9 - i32::try_from(fraction.len()).ok()?;
    let power = 10_i128.checked_pow(scale.unsigned_abs())?;
    let scaled = digits.checked_mul(factor)?;
    if scale >= 0 {
        scaled.checked_mul(power)
    } else {
        // Kubernetes rounds up.
        scaled.checked_add(power - 1).map(|sum| sum / power)
    }
}

fn unit(suffix: &str) -> Option<(i128, i32)> {
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(at) = binary.iter().position(|unit| *unit == suffix) {
        return Some((1 << (10 * (at + 1)), 0));
    }
    let decimal = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    if let Some((_, exponent)) = decimal.iter().find(|(unit, _)| *unit == suffix) {
        return Some((1, *exponent));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-18..=18).contains(&exponent).then_some((1, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_amount_is_written_in_many_ways() {
        for (one, other) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.", "1"),
            ("1024Mi", "1Gi"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("1E", "1000P"),
            ("100u", "0.1m"),
            ("7", "7"),
        ] {
            assert!(same_amount(one, other), "{one} {other}");
        }
    }

    #[test]
    fn other_amounts_and_no_amounts_differ() {
        for (one, other) in
            [("1", "1m"), ("1G", "1Gi"), ("64Mi", "65Mi"), ("x", "y"), ("1e99", "1"), ("1Zi", "1")]
        {
            assert!(!same_amount(one, other), "{one} {other}");
        }
    }
}
