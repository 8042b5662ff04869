//! Progress on standard error: a line redrawn on a terminal, separate lines elsewhere; none with JSON or YAML.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use bpfman_proto::printable::one_line;

use crate::args::{Global, OutputForm, ProgressChoice};

const USUAL_WIDTH: usize = 80;
/// Minimum time between drawings.
const PAUSE: Duration = Duration::from_millis(50);
/// Minimum time between lines.
const LINE_PAUSE: Duration = Duration::from_secs(1);
/// Duration after which waiting is shown.
const SHOW_DELAY: Duration = Duration::from_secs(1);
const MIN_TEXT_WIDTH: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProgressForm {
    Silent,
    Drawn,
    Lines,
}

impl ProgressForm {
    fn of(global: &Global) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self::chosen(global.output, global.progress, is_terminal, is_dumb)
    }

    /// Returns the form of progress; machine-readable output has none.
    fn chosen(output: OutputForm, choice: ProgressChoice, is_terminal: bool, is_dumb: bool) -> Self {
        match (output, choice) {
            (OutputForm::Json | OutputForm::Yaml, _) | (_, ProgressChoice::Never) => Self::Silent,
            (_, ProgressChoice::Auto) if !is_terminal => Self::Silent,
            _ if is_terminal && !is_dumb => Self::Drawn,
            _ => Self::Lines,
        }
    }
}

pub fn is_shown(global: &Global) -> bool {
    ProgressForm::of(global) != ProgressForm::Silent
}

pub fn warn(text: &str) {
    say(&format!("warning: {}\n", one_line(text)));
}

pub fn note(text: &str) {
    say(&format!("note: {}\n", one_line(text)));
}

pub struct CurrentStep {
    pub what: String,
    pub number: usize,
    pub all: usize,
}

pub struct ProgressLine {
    what: String,
    form: ProgressForm,
    shown: Option<(String, Instant)>,
}

impl ProgressLine {
    pub fn new(global: &Global, what: &str) -> Self {
        Self { what: one_line(what).into_owned(), form: ProgressForm::of(global), shown: None }
    }

    /// Shows the progress of a transfer. `total` is 0 while unknown.
    pub fn at(&mut self, bytes: u64, total: u64) {
        if self.form != ProgressForm::Silent {
            let what = self.what.clone();
            self.show(&what, &amount(bytes, total), total > 0 && bytes >= total);
        }
    }

    pub fn step(&mut self, step: &str, done: usize, all: usize) {
        if self.form != ProgressForm::Silent {
            let what = format!("{} {}", self.what, one_line(step));
            // Always redraw, so that the line never shows a finished step: the next one may take long.
            let is_due = done >= all || self.form == ProgressForm::Drawn;
            self.show(&what, &format!("{done} of {all}"), is_due);
        }
    }

    fn waits(&mut self, time: Duration) {
        if self.form != ProgressForm::Silent {
            let what = self.what.clone();
            self.show(&what, &format!("{} s", time.as_secs()), false);
        }
    }

    fn waits_for(&mut self, step: &CurrentStep, time: Duration) {
        if self.form != ProgressForm::Silent {
            let what = format!("{}, {}", self.what, one_line(&step.what));
            let amount = format!("{} of {}, {} s", step.number, step.all, time.as_secs());
            self.show(&what, &amount, false);
        }
    }

    /// Shows a line; `is_due` overrides the minimum pause.
    fn show(&mut self, what: &str, amount: &str, is_due: bool) {
        let (pause, line) = match self.form {
            ProgressForm::Silent => return,
            ProgressForm::Drawn => (PAUSE, fitted(what, amount, width())),
            ProgressForm::Lines => (LINE_PAUSE, format!("{what}: {amount}")),
        };
        if let Some((shown, when)) = &self.shown
            && (*shown == line || !is_due && when.elapsed() < pause)
        {
            return;
        }
        match self.form {
            ProgressForm::Drawn => say(&format!("\r\x1b[K{line}")),
            _ => say(&format!("{line}\n")),
        }
        self.shown = Some((line, Instant::now()));
    }
}

impl Drop for ProgressLine {
    /// Clears the line, so that the answer or the error begins on an empty one.
    fn drop(&mut self) {
        if self.shown.is_some() && self.form == ProgressForm::Drawn {
            say("\r\x1b[K");
        }
    }
}

pub async fn while_waiting<T>(global: &Global, what: &str, work: impl Future<Output = T>) -> T {
    while_shown(global, what, work, ProgressLine::waits).await
}

pub async fn while_stepping<T>(
    global: &Global,
    what: &str,
    now: impl Fn() -> CurrentStep,
    work: impl Future<Output = T>,
) -> T {
    while_shown(global, what, work, |line, time| line.waits_for(&now(), time)).await
}

async fn while_shown<T>(
    global: &Global,
    what: &str,
    work: impl Future<Output = T>,
    show: impl Fn(&mut ProgressLine, Duration),
) -> T {
    let mut line = ProgressLine::new(global, what);
    let mut work = std::pin::pin!(work);
    if line.form == ProgressForm::Silent {
        return work.await;
    }
    let began = Instant::now();
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(SHOW_DELAY) => show(&mut line, began.elapsed()),
        }
    }
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    let columns = size.map(|size| usize::from(size.ws_col)).ok().filter(|columns| *columns > 0);
    columns.unwrap_or(USUAL_WIDTH)
}

/// Returns a line that never wraps: the activity is cut first, and the last column stays free.
fn fitted(what: &str, amount: &str, width: usize) -> String {
    let room = width.saturating_sub(1);
    let of_amount = columns(amount);
    let of_name = room.saturating_sub(of_amount + 2);
    if columns(what) <= of_name {
        format!("{what}: {amount}")
    } else if of_name >= MIN_TEXT_WIDTH {
        format!("{}: {amount}", cut(what, of_name))
    } else {
        cut(amount, room)
    }
}

fn cut(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        if columns(&kept) + columns(character.encode_utf8(&mut [0; 4])) + 1 > most {
            break;
        }
        kept.push(character);
    }
    if most > 0 { kept + "~" } else { kept }
}

/// Returns the maximum width of a text, in columns: characters outside of ASCII may take two.
fn columns(text: &str) -> usize {
    text.chars().map(|character| if character.is_ascii() { 1 } else { 2 }).sum()
}

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

/// Writes to standard error, and ignores failures: it may be closed.
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

    #[test]
    fn a_line_fits_any_terminal() {
        let (what, amount) = ("pulling ghcr.io/netops/firewall:v2", "12 of 20 KiB (60 %)");
        assert_eq!(fitted(what, amount, 80), format!("{what}: {amount}"));
        assert_eq!(fitted(what, amount, 40), format!("pulling ghcr.io/n~: {amount}"));
        assert_eq!(fitted(what, amount, 20), "12 of 20 KiB (60 %)");
        assert_eq!(fitted(what, amount, 10), "12 of 20~");
        for width in 0..60 {
            assert!(
                columns(&fitted("pulling \u{6f22}\u{5b57}/x:1", amount, width)) < width.max(1),
                "{width}"
            );
        }
    }

    #[test]
    fn machine_output_has_no_progress_and_files_only_on_request() {
        use OutputForm::{Json, Table, Yaml};
        use ProgressChoice::{Always, Auto, Never};
        for (output, choice, is_terminal, is_dumb, form) in [
            (Table, Auto, true, false, ProgressForm::Drawn),
            (Table, Auto, true, true, ProgressForm::Lines),
            (Table, Auto, false, false, ProgressForm::Silent),
            (Table, Always, false, false, ProgressForm::Lines),
            (Table, Always, true, false, ProgressForm::Drawn),
            (Table, Never, true, false, ProgressForm::Silent),
            (Json, Always, true, false, ProgressForm::Silent),
            (Yaml, Auto, true, false, ProgressForm::Silent),
        ] {
            assert_eq!(
                ProgressForm::chosen(output, choice, is_terminal, is_dumb),
                form,
                "{output:?} {choice:?}"
            );
        }
    }
}
