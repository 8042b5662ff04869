//! Short forms of rates, times and sizes.

/// Text of an unknown value.
pub const UNKNOWN: &str = "-";

/// Formats a rate per second: `0`, `0.5`, `37`, `1.2k`, `3.4M`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 0.05 => "<0.1".to_owned(),
        rate if rate < 9.95 => format!("{rate:.1}").trim_end_matches(".0").to_owned(),
        rate => scaled(rate, 1000.0, &["", "k", "M", "G", "T"]),
    }
}

/// Formats a percentage of one CPU: `0`, `<0.01`, `0.25`, `12.3`, `240`.
#[must_use]
pub fn percent(percent: f64) -> String {
    match percent {
        percent if percent <= 0.0 => "0".to_owned(),
        percent if percent < 0.005 => "<0.01".to_owned(),
        percent if percent < 9.995 => format!("{percent:.2}"),
        percent if percent < 99.95 => format!("{percent:.1}"),
        percent => format!("{percent:.0}"),
    }
}

/// Formats a time with its unit: `143ns`, `12.3us`, `1.2ms`.
#[must_use]
pub fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        time if time < 999.5 => format!("{time:.0}ns"),
        time => scaled(time, 1000.0, &["ns", "us", "ms", "s"]),
    }
}

/// Formats bytes: `512`, `4.0K`, `1.2M`.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        bytes @ ..1024 => bytes.to_string(),
        bytes => scaled(bytes as f64, 1024.0, &["", "K", "M", "G", "T"]),
    }
}

/// Formats three digits and a unit, each `step` times the previous one.
fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // A value that would be rounded up to a whole step uses the next unit.
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let unit_text = units[unit];
    if unit > 0 && value < 99.95 {
        format!("{value:.1}{unit_text}")
    } else {
        format!("{value:.0}{unit_text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_few_characters_and_are_never_rounded_to_nothing() {
        let rates = [0.0, 0.01, 0.5, 2.0, 9.96, 37.4, 999.7, 1_234.0, 99_960.0, 3_400_000.0].map(rate);
        assert_eq!(rates, ["0", "<0.1", "0.5", "2", "10", "37", "1.0k", "1.2k", "100k", "3.4M"]);
        let percents = [0.0, 0.001, 0.254, 12.34, 240.0].map(percent);
        assert_eq!(percents, ["0", "<0.01", "0.25", "12.3", "240"]);
        assert_eq!(
            [0.0, 143.4, 999.9, 12_345.0, 1_200_000.0].map(time),
            ["0ns", "143ns", "1.0us", "12.3us", "1.2ms"]
        );
        assert_eq!([512, 4096, 1_300_000, 5 << 30].map(size), ["512", "4.0K", "1.2M", "5.0G"]);
    }
}
