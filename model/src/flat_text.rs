//! Flat form of a program's text, for other processes and for files: its structure, and its lists as bytes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{FuncInfo, FunctionSpan, Insn, JumpTable, LineInfo, ProgramText};

/// Sizes of an instruction, of a function's description and of a line's description, in bytes.
const INSN: usize = 8;
const FUNC: usize = 8;
const LINE: usize = 16;

/// Structure of a text, without its lists, its types and the properties from its object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlatText {
    /// Numbers of instructions, of descriptions of functions, and of descriptions of lines.
    insns: usize,
    func_info: usize,
    line_info: usize,
    /// Names of functions, with their numbers of instructions.
    functions: Vec<(String, usize)>,
    modules: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    jump_tables: Vec<JumpTable>,
}

impl FlatText {
    /// Returns the flat form of a text, with its lists one after the other in native byte order.
    #[must_use]
    pub fn of(text: &ProgramText) -> (Self, Vec<u8>) {
        let flat = Self {
            insns: text.insns.len(),
            func_info: text.func_info.len(),
            line_info: text.line_info.len(),
            functions: text.functions.iter().map(|span| (span.name.clone(), span.len)).collect(),
            modules: text.modules.clone(),
            jump_tables: text.jump_tables.clone(),
        };
        let mut lists = Vec::with_capacity(flat.lists());
        for insn in &text.insns {
            lists.extend_from_slice(&insn.to_ne_bytes());
        }
        let mut add = |words: &[u32]| {
            words.iter().for_each(|word| lists.extend_from_slice(&word.to_ne_bytes()));
        };
        for info in &text.func_info {
            add(&[info.insn_off, info.type_id]);
        }
        for line in &text.line_info {
            add(&[line.insn_off, line.file_name_off, line.line_off, line.line_col]);
        }
        (flat, lists)
    }

    /// Returns the size of the lists, in bytes.
    #[must_use]
    pub fn lists(&self) -> usize {
        let all = [(self.insns, INSN), (self.func_info, FUNC), (self.line_info, LINE)];
        all.iter().fold(0, |sum, (count, size)| sum.saturating_add(count.saturating_mul(*size)))
    }

    /// Returns the text, without its name, licence and flags; `lists` are [`Self::lists`] bytes.
    #[must_use]
    pub fn with(self, lists: &[u8], btf: Option<Arc<[u8]>>) -> ProgramText {
        let part = |count: usize, size: usize, of: usize| count.saturating_mul(size).min(of);
        let (insns, infos) = lists.split_at(part(self.insns, INSN, lists.len()));
        let (funcs, lines) = infos.split_at(part(self.func_info, FUNC, infos.len()));
        let mut start = 0_usize;
        let span = |(name, len)| {
            let span = FunctionSpan { name, start, len };
            start = start.saturating_add(len);
            span
        };
        let func = |[insn_off, type_id]: [u32; 2]| FuncInfo { insn_off, type_id };
        let line = |[insn_off, file_name_off, line_off, line_col]: [u32; 4]| LineInfo {
            insn_off,
            file_name_off,
            line_off,
            line_col,
        };
        ProgramText {
            name: String::new(),
            license: String::new(),
            functions: self.functions.into_iter().map(span).collect(),
            insns: insns.as_chunks::<INSN>().0.iter().map(|insn| Insn::from_ne_bytes(*insn)).collect(),
            btf,
            func_info: funcs.as_chunks::<FUNC>().0.iter().map(words).map(func).collect(),
            line_info: lines.as_chunks::<LINE>().0.iter().map(words).map(line).collect(),
            frags: false,
            sleepable: false,
            modules: self.modules,
            jump_tables: self.jump_tables,
        }
    }
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
    use super::*;

    fn text() -> ProgramText {
        ProgramText {
            name: String::new(),
            license: String::new(),
            functions: vec![
                FunctionSpan { name: "entry".to_owned(), start: 0, len: 2 },
                FunctionSpan { name: "called".to_owned(), start: 2, len: 1 },
            ],
            insns: vec![
                Insn::new(0x85, 0, 1, 0, 1),
                Insn::new(0x95, 0, 0, 0, 0),
                Insn::new(0x95, 0, 0, -1, 7),
            ],
            btf: Some(Arc::from([1, 2, 3].as_slice())),
            func_info: vec![FuncInfo { insn_off: 0, type_id: 4 }, FuncInfo { insn_off: 2, type_id: 9 }],
            line_info: vec![LineInfo { insn_off: 1, file_name_off: 2, line_off: 3, line_col: 4 << 10 }],
            frags: false,
            sleepable: false,
            modules: vec!["nf_conntrack".to_owned()],
            jump_tables: vec![JumpTable { loads: vec![0], entries: vec![1, 2] }],
        }
    }

    #[test]
    fn a_text_is_the_same_after_it() {
        let (flat, lists) = FlatText::of(&text());
        assert_eq!(lists.len(), flat.lists());
        assert_eq!(flat.with(&lists, text().btf), text());
    }

    #[test]
    fn lists_that_are_too_short_give_a_shorter_text() {
        let (flat, lists) = FlatText::of(&text());
        let short = flat.clone().with(&lists[..17], None);
        assert_eq!((short.insns.len(), short.func_info.len(), short.line_info.len()), (2, 0, 0));
        assert_eq!(FlatText { insns: usize::MAX, ..flat }.with(&lists, None).insns.len(), lists.len() / 8);
    }
}
