//! What standard output is: a terminal of some width, or something that is read by a program.

use std::io::{self, IsTerminal};

pub use bpfman_proto::printable::lines as harmless;
use bpfman_proto::printable::one_line;

/// How a header begins and ends where colour is wanted.
const BOLD: (&str, &str) = ("\x1b[1m", "\x1b[0m");

/// How tables may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Headers may be bold.
    pub colour: bool,
    /// Columns of the terminal; none where lines are never broken.
    pub width: Option<usize>,
}

impl Screen {
    /// A file or a pipe: no colour, no line breaks.
    pub const PLAIN: Self = Self { colour: false, width: None };

    /// What standard output is. `NO_COLOR` and `TERM=dumb` turn colour off.
    #[must_use]
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Self::PLAIN;
        }
        let unwanted =
            std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || is_plain_terminal();
        // A width of zero is what a terminal without a window says.
        let width = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        Self { colour: !unwanted, width: width.filter(|columns| *columns > 0) }
    }

    /// The text in bold, where colour is wanted.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("{}{text}{}", BOLD.0, BOLD.1) } else { text.to_owned() }
    }

    /// A finished answer without what would command a terminal: names that others chose are in it. Headers stay bold.
    #[must_use]
    pub fn harmless(self, text: &str) -> String {
        if !self.colour {
            return harmless(text).into_owned();
        }
        let pieces = text.split(BOLD.0).map(|piece| {
            piece.split(BOLD.1).map(|plain| harmless(plain).into_owned()).collect::<Vec<_>>().join(BOLD.1)
        });
        pieces.collect::<Vec<_>>().join(BOLD.0)
    }
}

/// True for terminals that only write one line after another.
#[must_use]
pub fn is_plain_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|value| value == "dumb")
}

/// The cell of a table, in one line.
#[must_use]
pub fn cell(text: &str) -> String {
    one_line(text).into_owned()
}
