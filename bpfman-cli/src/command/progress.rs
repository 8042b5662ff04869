//! What a person sees while waiting, on standard error: one line that is drawn again on a terminal, lines elsewhere where they
//! are asked for, and nothing beside answers that programs read.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use bpfman_proto::printable::one_line;

use crate::args::{Global, OutputForm, ProgressChoice};

/// Columns of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;
/// The line is not drawn more often.
const PAUSE: Duration = Duration::from_millis(50);
/// Lines come not more often.
const LINE_PAUSE: Duration = Duration::from_secs(1);
/// What is over sooner is not shown while it is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Fewer columns than these say nothing of what is done.
const LEAST_NAME: usize = 4;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProgressForm {
    /// Not at all.
    Silent,
    /// One line that is drawn again.
    Drawn,
    /// A line for each step.
    Lines,
}

impl ProgressForm {
    fn of(global: &Global) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self::chosen(global.output, global.progress, is_terminal, is_dumb)
    }

    /// Answers for programs are the same with and without somebody who looks.
    fn chosen(output: OutputForm, choice: ProgressChoice, is_terminal: bool, is_dumb: bool) -> Self {
        match (output, choice) {
            (OutputForm::Json | OutputForm::Yaml, _) | (_, ProgressChoice::Never) => Self::Silent,
            (_, ProgressChoice::Auto) if !is_terminal => Self::Silent,
            _ if is_terminal && !is_dumb => Self::Drawn,
            _ => Self::Lines,
        }
    }
}

/// True if progress is shown.
pub fn is_shown(global: &Global) -> bool {
    ProgressForm::of(global) != ProgressForm::Silent
}

/// Writes one `warning:` line to standard error.
pub fn warn(text: &str) {
    say(&format!("warning: {}\n", one_line(text)));
}

/// Writes one `note:` line to standard error.
pub fn note(text: &str) {
    say(&format!("note: {}\n", one_line(text)));
}

/// Which of several steps is done now.
pub struct CurrentStep {
    /// What it does.
    pub what: String,
    /// Which it is, from 1 on.
    pub number: usize,
    /// How many there are.
    pub all: usize,
}

/// How far one thing is.
pub struct ProgressLine {
    what: String,
    form: ProgressForm,
    shown: Option<(String, Instant)>,
}

impl ProgressLine {
    /// What has not begun.
    pub fn new(global: &Global, what: &str) -> Self {
        Self { what: one_line(what).into_owned(), form: ProgressForm::of(global), shown: None }
    }

    /// Shows how far a transfer is. `total` is 0 while unknown.
    pub fn at(&mut self, bytes: u64, total: u64) {
        if self.form != ProgressForm::Silent {
            let what = self.what.clone();
            self.show(&what, &amount(bytes, total), total > 0 && bytes >= total);
        }
    }

    /// Shows which of several steps is done now.
    pub fn step(&mut self, step: &str, done: usize, all: usize) {
        if self.form != ProgressForm::Silent {
            let what = format!("{} {}", self.what, one_line(step));
            // A drawn line never names a step that is over: the one after it may take long.
            let is_due = done >= all || self.form == ProgressForm::Drawn;
            self.show(&what, &format!("{done} of {all}"), is_due);
        }
    }

    /// Shows for how long it has been waited for.
    fn waits(&mut self, time: Duration) {
        if self.form != ProgressForm::Silent {
            let what = self.what.clone();
            self.show(&what, &format!("{} s", time.as_secs()), false);
        }
    }

    /// Shows which step it waits for, and for how long all steps took so far.
    fn waits_for(&mut self, step: &CurrentStep, time: Duration) {
        if self.form != ProgressForm::Silent {
            let what = format!("{}, {}", self.what, one_line(&step.what));
            let amount = format!("{} of {}, {} s", step.number, step.all, time.as_secs());
            self.show(&what, &amount, false);
        }
    }

    /// `is_due`: it is shown in any case.
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

/// Waits for something of which nobody knows how far it is, and shows for how long, once that is a second.
pub async fn while_waiting<T>(global: &Global, what: &str, work: impl Future<Output = T>) -> T {
    while_shown(global, what, work, ProgressLine::waits).await
}

/// Waits for something that is done in steps, and shows which one is done now, once it is waited for a second.
pub async fn while_stepping<T>(
    global: &Global,
    what: &str,
    now: impl Fn() -> CurrentStep,
    work: impl Future<Output = T>,
) -> T {
    while_shown(global, what, work, |line, time| line.waits_for(&now(), time)).await
}

/// Waits, and has it shown with the time that it took so far.
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
            () = tokio::time::sleep(PATIENCE) => show(&mut line, began.elapsed()),
        }
    }
}

/// Columns of standard error.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    let columns = size.map(|size| usize::from(size.ws_col)).ok().filter(|columns| *columns > 0);
    columns.unwrap_or(USUAL_WIDTH)
}

/// A line that is never broken: what is done is cut first, since its end is told by the amount. The last column stays free.
fn fitted(what: &str, amount: &str, width: usize) -> String {
    let room = width.saturating_sub(1);
    let of_amount = columns(amount);
    let of_name = room.saturating_sub(of_amount + 2);
    if columns(what) <= of_name {
        format!("{what}: {amount}")
    } else if of_name >= LEAST_NAME {
        format!("{}: {amount}", cut(what, of_name))
    } else {
        cut(amount, room)
    }
}

/// At most so many columns of a text, with a mark where there is more.
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

/// Columns that a text takes, at most: what is not ASCII may take two.
fn columns(text: &str) -> usize {
    text.chars().map(|character| if character.is_ascii() { 1 } else { 2 }).sum()
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
    fn answers_for_programs_have_no_progress_and_files_only_where_it_is_asked_for() {
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
