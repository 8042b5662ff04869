//! Function of another program that a program replaces, as users name it.

use std::fmt;
use std::str::FromStr;

use crate::ProgramId;

/// Function of a loaded program: `1234:limit`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplacedFunction {
    /// Kernel id of the program, in this boot.
    pub program: ProgramId,
    /// Name of the function, as in the program's BTF.
    pub function: String,
}

/// Invalid name of a function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReplacedFunction {
    /// Missing program, which only the caller can name.
    #[error("no program is named: PROGRAM_ID, or PROGRAM_ID:FUNCTION")]
    NoProgram,
    /// Invalid program id.
    #[error("\"{0}\" is no id of a program: PROGRAM_ID, or PROGRAM_ID:FUNCTION")]
    NoId(String),
    /// Missing function: neither the caller nor the section names one.
    #[error("no function of program {0} is named: PROGRAM_ID:FUNCTION, or a section freplace/FUNCTION")]
    NoFunction(ProgramId),
}

impl ReplacedFunction {
    /// Parses a caller's text, `PROGRAM_ID` or `PROGRAM_ID:FUNCTION`. `section` is the default function.
    ///
    /// # Errors
    /// The program or the function is missing.
    pub fn parse(written: Option<&str>, section: Option<&str>) -> Result<Self, BadReplacedFunction> {
        let written = written.filter(|text| !text.is_empty()).ok_or(BadReplacedFunction::NoProgram)?;
        let (id, function) = match written.split_once(':') {
            Some((id, function)) => (id, Some(function)),
            None => (written, None),
        };
        let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        let program = digits.then(|| id.parse().ok()).flatten().filter(|id| *id != 0).map(ProgramId);
        let program = program.ok_or_else(|| BadReplacedFunction::NoId(id.to_owned()))?;
        let function = function.or(section).filter(|name| !name.is_empty());
        let function = function.ok_or(BadReplacedFunction::NoFunction(program))?.to_owned();
        Ok(Self { program, function })
    }

    /// Returns the function in a caller's text. `None` if the text has none: the program's section then names it.
    #[must_use]
    pub fn written_function(written: &str) -> Option<&str> {
        written.split_once(':').map(|(_, function)| function).filter(|function| !function.is_empty())
    }
}

impl FromStr for ReplacedFunction {
    type Err = BadReplacedFunction;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(Some(text), None)
    }
}

impl fmt::Display for ReplacedFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.program, self.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caller_names_the_program_and_the_section_the_function() {
        let read = |written, section| ReplacedFunction::parse(written, section).map(|read| read.to_string());
        assert_eq!(read(Some("12:limit"), None), Ok("12:limit".to_owned()));
        assert_eq!(read(Some("12:limit"), Some("other")), Ok("12:limit".to_owned()));
        assert_eq!(read(Some("12"), Some("limit")), Ok("12:limit".to_owned()));
        assert_eq!(read(None, Some("limit")), Err(BadReplacedFunction::NoProgram));
        assert_eq!(read(Some(""), Some("limit")), Err(BadReplacedFunction::NoProgram));
        for none in ["limit", "limit:12", "0", "-1", "+1", "4294967296", ":limit"] {
            let id = none.split(':').next().unwrap_or_default().to_owned();
            assert_eq!(read(Some(none), Some("limit")), Err(BadReplacedFunction::NoId(id)), "{none}");
        }
        for none in ["12", "12:"] {
            assert_eq!(read(Some(none), None), Err(BadReplacedFunction::NoFunction(ProgramId(12))), "{none}");
        }
        assert_eq!(ReplacedFunction::written_function("12:limit"), Some("limit"));
        assert_eq!(ReplacedFunction::written_function("12"), None);
    }
}
