//! Objects on the command line: by id, or a program by its name.

use std::fmt;
use std::str::FromStr;

use super::value_error::ValueError;

/// Parses the id of a link.
pub fn link_id(text: &str) -> Result<u32, ValueError> {
    text.parse().map_err(|_| ValueError::NotId(text.to_owned(), "link", "links"))
}

/// Parses the id of an attachment by interface selector.
pub fn match_id(text: &str) -> Result<u32, ValueError> {
    text.parse().map_err(|_| ValueError::NotId(text.to_owned(), "match", "matches"))
}

/// Program or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectName {
    /// Object by its id.
    Id(u32),
    /// Programs of this name.
    Name(String),
}

impl FromStr for ObjectName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<u32>() {
            Ok(0) => Err("ids begin with 1"),
            Ok(id) => Ok(Self::Id(id)),
            Err(_) if is_name(text) => Ok(Self::Name(text.to_owned())),
            Err(_) => Err("write an id, or the name of a program"),
        }
    }
}

/// Returns whether a text can be a function's name in any language, and cannot be another kind of argument.
fn is_name(text: &str) -> bool {
    let is_other = |c: char| c.is_whitespace() || c.is_control() || ":,/=".contains(c);
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && !text.contains(is_other)
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn text_is_an_id_or_a_name() {
        assert_eq!("7".parse(), Ok(ObjectName::Id(7)));
        assert_eq!("xdp_pass.1".parse(), Ok(ObjectName::Name("xdp_pass.1".to_owned())));
        for text in ["", "0", "-8", "7,8", "7x", "4294967296", "a b", "xdp:pass"] {
            assert!(text.parse::<ObjectName>().is_err(), "{text}");
        }
    }

    #[test]
    fn word_instead_of_a_link_id_is_answered_with_the_list() {
        for line in ["detach xdp", "get link xdp", "iter xdp", "update link xdp -p 1"] {
            let line = format!("bpfman {line}");
            let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err().to_string();
            assert!(error.contains("\"xdp\" is no link id: `bpfman list links` shows them"), "{error}");
        }
        let error = Cli::try_parse_from(["bpfman", "detach", "match", "x"]).unwrap_err().to_string();
        assert!(error.contains("`bpfman list matches` shows them"), "{error}");
    }
}
