use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct LogEnd<'a> {
    /// After the last instruction, without statistics: the fault of the program.
    pub messages: Vec<&'a str>,
    /// `None` if the walk never began.
    pub instruction: Option<(usize, &'a str)>,
    pub source: Option<&'a str>,
    /// States before that instruction.
    pub registers: BTreeMap<u8, &'a str>,
}

enum Line<'a> {
    /// `; return *p;`
    Source(&'a str),
    /// `5: (79) r1 = *(u64 *)(r2 +0)`, since Linux 5.18 followed by `; ` and changed registers.
    Instruction { index: usize, text: &'a str, after: &'a str },
    /// `5: R0=0 R1=ctx()`, `from 3 to 5: R0=0`: all registers.
    Registers(&'a str),
    /// Irrelevant: statistics, notes on functions, precision backtracking.
    Note,
    /// Anything else.
    Message(&'a str),
}

pub fn read(log: &str) -> LogEnd<'_> {
    let mut end = LogEnd::default();
    let mut pending = "";
    for line in log.lines() {
        match classify(line) {
            Line::Source(text) => {
                end.source = Some(text);
                end.messages.clear();
            }
            Line::Instruction { index, text, after } => {
                learn(&mut end.registers, std::mem::take(&mut pending));
                end.instruction = Some((index, text));
                end.messages.clear();
                pending = after;
                if text.starts_with("call ") {
                    end.registers.retain(|register, _| !(1..=5).contains(register));
                }
            }
            Line::Registers(all) => {
                pending = "";
                end.registers.clear();
                learn(&mut end.registers, all);
                end.messages.clear();
            }
            Line::Note => {}
            Line::Message(text) => end.messages.push(text),
        }
    }
    end
}

fn classify(line: &str) -> Line<'_> {
    let line = line.trim();
    if let Some(text) = line.strip_prefix("; ") {
        return Line::Source(text);
    }
    let (place, rest) = line.split_once(": ").unwrap_or(("", line));
    if let Ok(index) = place.parse() {
        return match instruction(rest) {
            Some((text, after)) => Line::Instruction { index, text, after },
            None => Line::Registers(rest),
        };
    }
    if place.starts_with("from ") || is_register(line) || (place.starts_with("frame") && is_register(rest)) {
        return Line::Registers(rest);
    }
    const NOTES: [&str; 20] = [
        "processed ",
        "verification time",
        "stack depth",
        "insns processed",
        "max_states_per_insn",
        "func#",
        "Func#",
        "Validating ",
        "last_idx ",
        "regs=",
        "parent ",
        "mark_precise:",
        "propagating ",
        "caller:",
        "callee:",
        "returning from callee:",
        "to caller at ",
        // Linux before 6.1 prints this for valid programs, too.
        "reg type unsupported for arg#",
        "old state:",
        "cur state:",
    ];
    if line.is_empty() || line.ends_with(": safe") || NOTES.iter().any(|note| line.starts_with(note)) {
        return Line::Note;
    }
    Line::Message(line)
}

/// Format: `(79) r1 = *(u64 *)(r2 +0)         ; R1_w=scalar()`.
fn instruction(rest: &str) -> Option<(&str, &str)> {
    let code = rest.strip_prefix('(')?.get(..2)?;
    let text = rest.get(3..)?.strip_prefix(") ")?;
    if !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let (text, after) = text.split_once("; ").unwrap_or((text, ""));
    Some((text.trim(), after))
}

/// `R1=ctx()` and `R1_w=0`, but not `R1 !read_ok`.
fn is_register(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('R') else { return false };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.split_once('=').is_some_and(|(flags, _)| flags.is_empty() || flags.starts_with('_'))
}

/// Format: `R1_w=scalar(umax=3) R10=fp0 fp-8=0`.
fn learn<'a>(registers: &mut BTreeMap<u8, &'a str>, list: &'a str) {
    let mut depth = 0_usize;
    let words = list.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ' ' && depth == 0
    });
    for word in words.filter(|word| is_register(word)) {
        let Some((name, value)) = word.split_once('=') else { continue };
        let digits = name[1..].split('_').next().unwrap_or_default();
        if let Ok(register) = digits.parse() {
            registers.insert(register, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "func#0 @0\n0: R1=ctx() R10=fp0\n; int a = 1; @ x.c:3\n\
        0: (b7) r0 = 1                        ; R0_w=1\n1: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx() R2_w=pkt(r=0)\n\
        ; return *p; @ x.c:4\n2: (71) r0 = *(u8 *)(r2 +0)\n\
        invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)\nR2 offset is outside of the packet\n\
        verification time 123 usec\nstack depth 0\nprocessed 3 insns (limit 1000000) max_states_per_insn 0\n";

    #[test]
    fn a_log_ends_with_instruction_line_and_messages() {
        let end = read(NEW);
        assert_eq!(
            end.messages,
            [
                "invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)",
                "R2 offset is outside of the packet"
            ]
        );
        assert_eq!(end.instruction, Some((2, "r0 = *(u8 *)(r2 +0)")));
        assert_eq!(end.source, Some("return *p; @ x.c:4"));
        assert_eq!(end.registers.get(&2), Some(&"pkt(r=0)"));
        assert_eq!(end.registers.get(&0), Some(&"1"));
    }

    #[test]
    fn logs_of_linux_5_10_are_read() {
        let log = "0: R1=ctx(id=0,off=0,imm=0) R10=fp0\n; int f(void *ctx)\n0: (85) call bpf_get_prandom_u32#7\n\
            1: R0_w=inv(id=0) R10=fp0\n; return a[i];\n1: (67) r0 <<= 3\n\
            2: R0_w=inv(id=0,umax_value=34359738360,var_off=(0x0; 0x7fffffff8)) R10=fp0\n2: (0f) r1 += r0\n\
            R1 !read_ok\nprocessed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0\n";
        let end = read(log);
        assert_eq!(end.messages, ["R1 !read_ok"]);
        assert_eq!(end.instruction.unwrap().0, 2);
        assert_eq!(end.source, Some("return a[i];"));
        let state = "inv(id=0,umax_value=34359738360,var_off=(0x0; 0x7fffffff8))";
        assert_eq!(end.registers.get(&0), Some(&state));
    }

    #[test]
    fn error_before_the_first_instruction_is_found() {
        let end = read("unreachable insn 4\nprocessed 0 insns (limit 1000000)\n");
        assert_eq!((end.messages, end.instruction), (vec!["unreachable insn 4"], None));
        assert!(read("").messages.is_empty());
        assert!(read("\n\n; \n5: \n: (zz) \nR= (((\n5: (7\u{e4}) x").messages.len() < 3);
    }

    #[test]
    fn a_call_leaves_nothing_in_its_arguments() {
        let log = "0: R1=ctx() R6=1\n0: (85) call bpf_ktime_get_ns#5           ; R0_w=scalar()\n\
            1: (79) r0 = *(u64 *)(r1 +0)\nR1 !read_ok\n";
        let end = read(log);
        assert_eq!(end.registers, BTreeMap::from([(0, "scalar()"), (6, "1")]));
    }
}
