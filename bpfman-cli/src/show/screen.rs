//! Standard output: a terminal of some width, or input of a program.

use std::io::{self, IsTerminal};

pub use bpfman_proto::printable::lines as harmless;
use bpfman_proto::printable::one_line;

const BOLD: (&str, &str) = ("\x1b[1m", "\x1b[0m");

/// Properties of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// True if headers may be bold.
    pub colour: bool,
    /// Width of the terminal, in columns; none if lines are never wrapped.
    pub width: Option<usize>,
}

impl Screen {
    /// File or pipe: no colour, no line wrapping.
    pub const PLAIN: Self = Self { colour: false, width: None };

    /// Returns the properties of standard output. `NO_COLOR` and `TERM=dumb` disable colour.
    #[must_use]
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Self::PLAIN;
        }
        let unwanted =
            std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || is_plain_terminal();
        // A terminal without a window reports a width of zero.
        let width = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        Self { colour: !unwanted, width: width.filter(|columns| *columns > 0) }
    }

    /// Returns the text, in bold with colour.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("{}{text}{}", BOLD.0, BOLD.1) } else { text.to_owned() }
    }

    /// Removes control characters from a finished answer, which may contain third-party names. Headers stay bold.
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

/// Returns whether the terminal cannot move the cursor.
#[must_use]
pub fn is_plain_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|value| value == "dumb")
}

#[must_use]
pub fn cell(text: &str) -> String {
    one_line(text).into_owned()
}
