use std::fmt;

use bpfman_model::ProgramText;

use crate::cause::RejectionCause;
use crate::log;
use crate::source_line::SourceLine;

/// Instruction at which the verifier gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedInstruction {
    /// Index from 0 in the whole program, including its functions.
    pub index: usize,
    /// Text printed by the verifier.
    pub text: String,
}

/// Register that the verifier's message names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRegister {
    /// Number, 0 to 10.
    pub number: u8,
    /// State before the instruction, in the verifier's notation; empty if unknown.
    pub state: String,
}

/// Reason why the verifier rejected a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// Message of the verifier on one line; empty if its log has none.
    pub message: String,
    /// Meaning of the message, if known.
    pub cause: Option<RejectionCause>,
    /// Last instruction; `None` if the fault was found before the walk.
    pub instruction: Option<RejectedInstruction>,
    /// Source line of the instruction; `None` for objects without debug information.
    pub source: Option<SourceLine>,
    /// First register in the message.
    pub register: Option<RejectedRegister>,
}

const MAX_TEXT: usize = 300;

impl Rejection {
    /// Parses a log; never fails.
    #[must_use]
    pub fn read(log: &str) -> Self {
        let end = log::read(log);
        let message = cut(&end.messages.join("; "));
        let register = register_of(&message).map(|number| RejectedRegister {
            number,
            state: end.registers.get(&number).map_or_else(String::new, |state| cut(state)),
        });
        Self {
            cause: end.messages.iter().find_map(|message| RejectionCause::of(message)),
            message,
            instruction: end.instruction.map(|(index, text)| RejectedInstruction { index, text: cut(text) }),
            source: end.source.map(|line| cut_line(SourceLine::of_log(line))),
            register,
        }
    }

    /// Parses a log, and takes the source line from the program's BTF: that in the log may be an earlier one.
    #[must_use]
    pub fn read_of(log: &str, text: &ProgramText) -> Self {
        let mut rejection = Self::read(log);
        if let Some(source) = rejection.instruction.as_ref().and_then(|at| SourceLine::of(text, at.index)) {
            rejection.source = Some(cut_line(source));
        }
        rejection
    }
}

fn register_of(message: &str) -> Option<u8> {
    message.match_indices('R').find_map(|(at, _)| {
        let begins = !message[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let rest = &message[at + 1..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        rest[..digits].parse().ok().filter(|number| begins && *number <= 10)
    })
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    format!("{} …", &text[..text.floor_char_boundary(MAX_TEXT)])
}

fn cut_line(line: SourceLine) -> SourceLine {
    SourceLine { text: cut(&line.text), file: cut(&line.file), ..line }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{} ({})", cause.sentence, self.message)?,
            None if self.message.is_empty() => f.write_str("its log gives no reason")?,
            None => f.write_str(&self.message)?,
        }
        if let Some(source) = &self.source {
            write!(f, ", at {source}")?;
        }
        if let Some(at) = &self.instruction {
            write!(f, ", instruction {}: {}", at.index, at.text)?;
        }
        match &self.register {
            Some(RejectedRegister { number, state }) if !state.is_empty() => {
                write!(f, ", where r{number} is {state}")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_names_cause_line_instruction_and_register() {
        let log = "0: R1=ctx() R10=fp0\n; return *p; @ x.c:4\n0: (61) r2 = *(u32 *)(r1 +0)          ; R2_w=pkt(r=0)\n\
            1: (71) r0 = *(u8 *)(r2 +0)\ninvalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)\n\
            R2 offset is outside of the packet\nprocessed 2 insns (limit 1000000)\n";
        let rejection = Rejection::read(log);
        assert_eq!(rejection.cause.as_ref().unwrap().word, "packet-bounds");
        assert_eq!(rejection.register.as_ref().unwrap().state, "pkt(r=0)");
        assert_eq!(
            rejection.to_string(),
            "it accesses 1 byte(s) of the packet that no comparison with its end has shown to be there (invalid access to \
             packet, off=0 size=1, R2(id=0,off=0,r=0); R2 offset is outside of the packet), at x.c:4: `return *p;`, \
             instruction 1: r0 = *(u8 *)(r2 +0), where r2 is pkt(r=0)"
        );
    }

    #[test]
    fn unknown_message_is_quoted() {
        let rejection =
            Rejection::read("5: (bf) r1 = r2\nsomething new about R12 and fooR3\nprocessed 1 insns\n");
        assert_eq!((&rejection.cause, &rejection.register), (&None, &None));
        assert_eq!(rejection.to_string(), "something new about R12 and fooR3, instruction 5: r1 = r2");
        assert_eq!(Rejection::read("").to_string(), "its log gives no reason");
    }

    #[test]
    fn nothing_of_a_log_is_longer_than_a_message_should_be() {
        let long = "ä".repeat(10_000);
        let log = format!("; {long} @ {long}:3\n1: (bf) {long}; R1={long}\n2: (bf) {long}\nR1 {long}\n");
        let rejection = Rejection::read(&log);
        assert!(rejection.to_string().len() < 6 * MAX_TEXT, "{rejection}");
    }
}
