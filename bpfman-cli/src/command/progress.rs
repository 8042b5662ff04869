//! What a person sees while waiting, on standard error.

use std::io::{self, IsTerminal, Write};

use bpfman_proto::printable::one_line;

/// True if somebody looks at standard error.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Writes one `warning:` line to standard error.
pub fn warn(text: &str) {
    say(&format!("warning: {}\n", one_line(text)));
}

/// Writes one `note:` line to standard error.
pub fn note(text: &str) {
    say(&format!("note: {}\n", one_line(text)));
}

/// One line that is overwritten as a transfer goes on. Says nothing unless somebody looks.
pub struct ProgressLine {
    what: String,
    shown: Option<String>,
    watched: bool,
}

impl ProgressLine {
    /// A transfer that has not begun.
    pub fn new(what: &str) -> Self {
        Self { what: what.to_owned(), shown: None, watched: is_watched() }
    }

    /// Shows how far it is. `total` is 0 while unknown.
    pub fn at(&mut self, bytes: u64, total: u64) {
        if !self.watched {
            return;
        }
        let line = format!("{}: {}", self.what, amount(bytes, total));
        if self.shown.as_ref() != Some(&line) {
            say(&format!("\r\x1b[K{}", one_line(&line)));
            self.shown = Some(line);
        }
    }
}

impl Drop for ProgressLine {
    /// Clears the line, so that the answer or the error begins on an empty one.
    fn drop(&mut self) {
        if self.shown.is_some() {
            say("\r\x1b[K");
        }
    }
}

/// Bytes so far, and of how many if that is known.
fn amount(bytes: u64, total: u64) -> String {
    let kib = |bytes: u64| bytes.div_ceil(1024);
    match total {
        0 => format!("{} KiB", kib(bytes)),
        _ => {
            let percent = u128::from(bytes.min(total)) * 100 / u128::from(total);
            format!("{} of {} KiB ({percent} %)", kib(bytes), kib(total))
        }
    }
}

/// Writes to standard error. Whoever closed it does not want to read it.
fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_up_and_never_beyond_all() {
        assert_eq!(amount(1, 0), "1 KiB");
        assert_eq!(amount(512, 2048), "1 of 2 KiB (25 %)");
        assert_eq!(amount(4096, 2048), "4 of 2 KiB (100 %)");
        assert_eq!(amount(u64::MAX, u64::MAX), "18014398509481984 of 18014398509481984 KiB (100 %)");
    }
}
