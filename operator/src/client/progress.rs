//! Progress of requests to nodes: one line that is redrawn on standard error, if that is a terminal.

use std::io::{self, IsTerminal as _, Write};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};

const TICK: Duration = Duration::from_secs(1);
const USUAL_WIDTH: usize = 80;

pub struct AnswersLine<W: Write = io::Stderr> {
    asked: &'static str,
    all: usize,
    began: Instant,
    screen: Option<W>,
    shown: String,
}

impl AnswersLine {
    pub fn new(asked: &'static str, all: usize) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|value| value == "dumb");
        let stderr = io::stderr();
        let is_seen = stderr.is_terminal() && !is_dumb;
        Self::on(is_seen.then_some(stderr), asked, all)
    }
}

impl<W: Write> AnswersLine<W> {
    fn on(screen: Option<W>, asked: &'static str, all: usize) -> Self {
        Self { asked, all, began: Instant::now(), screen, shown: String::new() }
    }

    pub fn show(&mut self, answered: usize) {
        let Some(screen) = &mut self.screen else { return };
        let line = line(self.asked, answered, self.all, self.began.elapsed(), width());
        if line != self.shown {
            draw(screen, &line);
            self.shown = line;
        }
    }
}

impl<W: Write> Drop for AnswersLine<W> {
    fn drop(&mut self) {
        if !self.shown.is_empty()
            && let Some(screen) = &mut self.screen
        {
            draw(screen, "");
        }
    }
}

pub async fn gather<T>(asked: &'static str, all: usize, answers: impl Stream<Item = T>) -> Vec<T> {
    let mut progress = AnswersLine::new(asked, all);
    let mut answers = pin!(answers);
    let mut come = Vec::with_capacity(all);
    loop {
        progress.show(come.len());
        match tokio::time::timeout(TICK, answers.next()).await {
            Ok(Some(answer)) => come.push(answer),
            Ok(None) => return come,
            Err(_none_within_it) => {}
        }
    }
}

fn line(asked: &str, answered: usize, all: usize, waited: Duration, width: usize) -> String {
    let line = format!("{answered} of {all} {asked} answered, {} s", waited.as_secs());
    line.chars().take(width.saturating_sub(1)).collect()
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    let columns = size.map(|size| usize::from(size.ws_col)).ok().filter(|columns| *columns > 0);
    columns.unwrap_or(USUAL_WIDTH)
}

/// A write error is ignored: without the terminal, no progress is needed.
fn draw(screen: &mut impl Write, line: &str) {
    _ = screen.write_all(format!("\r\x1b[K{line}").as_bytes()).and_then(|()| screen.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_progress_line_is_drawn_on_changes_and_erased_at_the_end() {
        let mut screen = Vec::new();
        let mut progress = AnswersLine::on(Some(&mut screen), "nodes", 5);
        for answered in [0, 0, 3] {
            progress.began = Instant::now();
            progress.show(answered);
        }
        drop(progress);
        let drawn = String::from_utf8(screen).unwrap();
        let lines: Vec<&str> = drawn.split("\r\x1b[K").collect();
        assert_eq!(lines, ["", "0 of 5 nodes answered, 0 s", "3 of 5 nodes answered, 0 s", ""]);
    }

    #[test]
    fn no_progress_without_terminal() {
        let mut progress = AnswersLine::<Vec<u8>>::on(None, "nodes", 5);
        progress.show(3);
        assert_eq!(progress.shown, "");
    }

    #[test]
    fn a_line_fits_any_terminal() {
        let waited = Duration::from_millis(12_900);
        assert_eq!(line("nodes", 3, 5, waited, 80), "3 of 5 nodes answered, 12 s");
        assert_eq!(line("nodes", 3, 5, waited, 7), "3 of 5");
        assert_eq!(line("nodes", 3, 5, waited, 0), "");
    }

    #[tokio::test]
    async fn all_answers_are_taken_as_they_come() {
        assert_eq!(gather("nodes", 3, futures::stream::iter([2, 3, 1])).await, [2, 3, 1]);
    }
}
