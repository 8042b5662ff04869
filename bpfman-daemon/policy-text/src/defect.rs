use std::fmt;

/// Maximum number of listed defects. A file of another format has one in each line.
pub const MAX_DEFECTS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextDefect {
    /// Line number, from 1.
    pub line: usize,
    /// Reason, in one line.
    pub reason: String,
}

impl fmt::Display for TextDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// All defects of a text, by line. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct TextDefects(pub Vec<TextDefect>);
