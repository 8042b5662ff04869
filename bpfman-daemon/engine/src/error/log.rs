//! Logs of the verifier in messages.

/// Lines of a verifier's log that tell something, from its start.
pub fn first_lines(log: &str, most: usize) -> String {
    let is_noise = |line: &&str| !line.trim().is_empty() && !line.starts_with("processed ");
    log.lines().filter(is_noise).take(most).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_a_log_has_no_empty_lines() {
        assert_eq!(first_lines("\na\n\nb\nprocessed 1 insns\nc\n", 2), "a; b");
    }
}
