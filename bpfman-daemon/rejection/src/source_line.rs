use std::fmt;

use bpfman_model::{LineInfo, ProgramText};

/// Source line of an instruction, from the compiler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLine {
    /// File, as passed to the compiler; empty if unknown.
    pub file: String,
    /// Line number from 1; 0 if unknown.
    pub line: u32,
    /// Text of the line, trimmed.
    pub text: String,
}

impl SourceLine {
    /// Returns the line of an instruction, by the program's own BTF; `None` without it.
    #[must_use]
    pub fn of(text: &ProgramText, instruction: usize) -> Option<Self> {
        let strings = strings(text.btf.as_deref()?)?;
        let count = text.line_info.partition_point(|info| info.insn_off as usize <= instruction);
        let known = text.line_info[..count].iter().rev().find(|info| info.line_col >> 10 != 0);
        let LineInfo { file_name_off, line_off, line_col, .. } = known?;
        let file = string(strings, *file_name_off)?;
        let line = string(strings, *line_off)?;
        Some(Self { file, line: line_col >> 10, text: line.trim().to_owned() })
    }

    /// Format: `int x = 1;`, since Linux 6.9 followed by ` @ file.c:17`.
    pub(crate) fn of_log(line: &str) -> Self {
        if let Some((text, place)) = line.rsplit_once(" @ ")
            && let Some((file, number)) = place.rsplit_once(':')
            && let Ok(number) = number.trim().parse()
        {
            return Self { file: file.to_owned(), line: number, text: text.trim().to_owned() };
        }
        Self { text: line.trim().to_owned(), ..Self::default() }
    }
}

fn strings(btf: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| -> Option<usize> {
        let bytes = btf.get(at..at + 4)?;
        usize::try_from(u32::from_ne_bytes(bytes.try_into().ok()?)).ok()
    };
    let (header, offset, length) = (word(4)?, word(16)?, word(20)?);
    let from = header.checked_add(offset)?;
    btf.get(from..from.checked_add(length)?)
}

fn string(strings: &[u8], offset: u32) -> Option<String> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            f.write_str(&self.file)?;
            if self.line != 0 {
                write!(f, ":{}", self.line)?;
            }
            f.write_str(": ")?;
        }
        write!(f, "`{}`", self.text)
    }
}

#[cfg(test)]
mod tests {
    use bpfman_model::{BoundText, Insn};

    use super::*;

    fn program() -> ProgramText {
        let strings = b"\0a.bpf.c\0  int x = 1;\0return y;\0";
        let mut btf = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, 0, 0, strings.len() as u32] {
            btf.extend(u32::to_ne_bytes(word));
        }
        btf.extend(strings);
        let mut text = BoundText::of_one_function("f", "GPL", vec![Insn::default(); 9]).0;
        text.btf = Some(btf.into());
        let info = |insn_off, line_off, line: u32| LineInfo {
            insn_off,
            file_name_off: 1,
            line_off,
            line_col: line << 10 | 3,
        };
        text.line_info = vec![info(1, 9, 17), info(3, 0, 0), info(4, 22, 18)];
        text
    }

    #[test]
    fn instruction_belongs_to_the_last_line_that_starts_before_it() {
        let text = program();
        let line = |at| SourceLine::of(&text, at).map(|line| line.to_string());
        assert_eq!(line(0), None);
        assert_eq!(line(1).unwrap(), "a.bpf.c:17: `int x = 1;`");
        assert_eq!(line(3), line(1));
        assert_eq!(line(8).unwrap(), "a.bpf.c:18: `return y;`");
    }

    #[test]
    fn offset_outside_the_types_has_no_line() {
        let mut text = program();
        text.line_info[0].line_off = 4000;
        assert_eq!(SourceLine::of(&text, 1), None);
        text.btf = Some(vec![0; 23].into());
        assert_eq!(SourceLine::of(&text, 8), None);
        text.btf = None;
        assert_eq!(SourceLine::of(&text, 8), None);
    }

    #[test]
    fn lines_of_logs_old_and_new_are_read() {
        let new = SourceLine::of_log("int a = b @ c; @ dir/x.c:9");
        assert_eq!(new, SourceLine { file: "dir/x.c".into(), line: 9, text: "int a = b @ c;".into() });
        assert_eq!(SourceLine::of_log("return y;").to_string(), "`return y;`");
        assert_eq!(SourceLine::of_log("a @ b:c").text, "a @ b:c");
    }
}
