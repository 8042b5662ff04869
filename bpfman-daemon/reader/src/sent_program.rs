//! A linked program, as it is sent: its lists follow as bytes, in this machine's order.

use std::sync::Arc;

use bpfmand_core::{FuncInfo, FunctionSpan, Insn, LineInfo, ProgramText};
use bpfmand_object::{LinkedProgram, Unresolved};
use serde::{Deserialize, Serialize};

use crate::sent::{cut, cut_to};

/// What was not resolved, as much of it as is sent: it explains a refusal of the kernel's, which is about one instruction.
const UNRESOLVED: usize = 256;
/// Bytes of each name and sentence of that.
const UNRESOLVED_TEXT: usize = 512;

/// Bytes of an instruction, of what describes a function, and of what describes a line.
const INSN: usize = 8;
const FUNC: usize = 8;
const LINE: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SentProgram {
    /// How many of each follow.
    insns: usize,
    func_info: usize,
    line_info: usize,
    /// Names of functions, and how many instructions each has.
    functions: Vec<(String, usize)>,
    modules: Vec<String>,
    local_type_ids: Vec<usize>,
    unresolved: Vec<SentUnresolved>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SentUnresolved {
    at: usize,
    function: (String, usize),
    what: String,
}

impl SentProgram {
    /// Of a program, with its lists one behind the other.
    pub(crate) fn of(linked: &LinkedProgram) -> (Self, Vec<u8>) {
        let text = &linked.text;
        let mut lists =
            Vec::with_capacity(bytes_of(text.insns.len(), text.func_info.len(), text.line_info.len()));
        for insn in &text.insns {
            lists.extend_from_slice(&insn.to_ne_bytes());
        }
        let words = |lists: &mut Vec<u8>, words: &[u32]| {
            words.iter().for_each(|word| lists.extend_from_slice(&word.to_ne_bytes()));
        };
        for info in &text.func_info {
            words(&mut lists, &[info.insn_off, info.type_id]);
        }
        for line in &text.line_info {
            words(&mut lists, &[line.insn_off, line.file_name_off, line.line_off, line.line_col]);
        }
        let unresolved = |one: &Unresolved| SentUnresolved {
            at: one.at,
            function: (cut_to(one.function.0.clone(), UNRESOLVED_TEXT), one.function.1),
            what: cut_to(one.what.clone(), UNRESOLVED_TEXT),
        };
        let sent = Self {
            insns: text.insns.len(),
            func_info: text.func_info.len(),
            line_info: text.line_info.len(),
            functions: text.functions.iter().map(|span| (span.name.clone(), span.len)).collect(),
            modules: text.modules.clone(),
            local_type_ids: linked.local_type_ids.clone(),
            unresolved: linked.unresolved.iter().take(UNRESOLVED).map(unresolved).collect(),
        };
        (sent, lists)
    }

    /// Bytes of lists that are to follow.
    pub(crate) fn lists(&self) -> usize {
        bytes_of(self.insns, self.func_info, self.line_info)
    }

    /// The program, but for what the facts say of it; `lists` are so many bytes.
    pub(crate) fn with(self, lists: &[u8], btf: Option<Arc<[u8]>>) -> LinkedProgram {
        let (insns, infos) = lists.split_at((self.insns * INSN).min(lists.len()));
        let (funcs, lines) = infos.split_at((self.func_info * FUNC).min(infos.len()));
        let mut start = 0_usize;
        let span = |(name, len)| {
            let span = FunctionSpan { name, start, len };
            start = start.saturating_add(len);
            span
        };
        let unresolved = |one: SentUnresolved| Unresolved {
            at: one.at,
            function: (cut(one.function.0), one.function.1),
            what: cut(one.what),
        };
        LinkedProgram {
            text: ProgramText {
                name: String::new(),
                license: String::new(),
                functions: self.functions.into_iter().map(span).collect(),
                insns: insns.as_chunks::<INSN>().0.iter().map(|insn| Insn::from_ne_bytes(*insn)).collect(),
                btf,
                func_info: funcs
                    .as_chunks::<FUNC>()
                    .0
                    .iter()
                    .map(words::<2, FUNC>)
                    .map(|[insn_off, type_id]| FuncInfo { insn_off, type_id })
                    .collect(),
                line_info: lines
                    .as_chunks::<LINE>()
                    .0
                    .iter()
                    .map(words::<4, LINE>)
                    .map(|[insn_off, file_name_off, line_off, line_col]| LineInfo {
                        insn_off,
                        file_name_off,
                        line_off,
                        line_col,
                    })
                    .collect(),
                frags: false,
                sleepable: false,
                modules: self.modules,
            },
            local_type_ids: self.local_type_ids,
            unresolved: self.unresolved.into_iter().map(unresolved).collect(),
        }
    }
}

fn bytes_of(insns: usize, func_info: usize, line_info: usize) -> usize {
    let all = [(insns, INSN), (func_info, FUNC), (line_info, LINE)];
    all.iter().fold(0, |sum, (count, size)| sum.saturating_add(count.saturating_mul(*size)))
}

fn words<const WORDS: usize, const BYTES: usize>(bytes: &[u8; BYTES]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use bpfmand_core::BoundText;

    use super::*;

    #[test]
    fn what_is_not_resolved_is_told_as_far_as_an_answer_goes() {
        let BoundText(text) = BoundText::of_one_function("pass", "GPL", vec![Insn::new(0x95, 0, 0, 0, 0)]);
        let one = |at| Unresolved { at, function: ("f".repeat(4096), 7), what: "\u{1f41d}".repeat(2000) };
        let linked =
            LinkedProgram { text, local_type_ids: Vec::new(), unresolved: (0..10_000).map(one).collect() };
        let (sent, lists) = SentProgram::of(&linked);
        assert!(serde_json::to_vec(&sent).unwrap().len() < crate::client::PROGRAM);
        let heard = sent.with(&lists, None).unresolved;
        assert_eq!((heard.len(), heard[255].at, heard[0].function.1), (256, 255, 7));
        assert!(heard[0].what.len() == 512 && heard[0].function.0.len() == 512);
    }
}
