//! Linked programs in serialized form; lists follow in host byte order.

use std::sync::Arc;

use bpfman_model::FlatText;
use bpfmand_object::{LinkedProgram, Unresolved, WantedAddress};
use serde::{Deserialize, Serialize};

use crate::sent::{cut, cut_to};

/// Maximum number of unresolved references. They only explain the kernel's error about an instruction.
const UNRESOLVED: usize = 256;
const UNRESOLVED_TEXT: usize = 512;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SentProgram {
    #[serde(flatten)]
    text: FlatText,
    local_type_ids: Vec<usize>,
    unresolved: Vec<SentUnresolved>,
    addresses: Vec<(usize, String, bool)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SentUnresolved {
    at: usize,
    function: (String, usize),
    what: String,
}

impl SentProgram {
    pub(crate) fn of(linked: &LinkedProgram) -> (Self, Vec<u8>) {
        let unresolved = |one: &Unresolved| SentUnresolved {
            at: one.at,
            function: (cut_to(one.function.0.clone(), UNRESOLVED_TEXT), one.function.1),
            what: cut_to(one.what.clone(), UNRESOLVED_TEXT),
        };
        let (text, lists) = FlatText::of(&linked.text);
        let sent = Self {
            text,
            local_type_ids: linked.local_type_ids.clone(),
            unresolved: linked.unresolved.iter().take(UNRESOLVED).map(unresolved).collect(),
            addresses: linked.addresses.iter().map(|one| (one.at, one.symbol.clone(), one.weak)).collect(),
        };
        (sent, lists)
    }

    pub(crate) fn lists(&self) -> usize {
        self.text.lists()
    }

    /// Returns the program with its lists, which have the announced size.
    pub(crate) fn with(self, lists: &[u8], btf: Option<Arc<[u8]>>) -> LinkedProgram {
        let unresolved = |one: SentUnresolved| Unresolved {
            at: one.at,
            function: (cut(one.function.0), one.function.1),
            what: cut(one.what),
        };
        LinkedProgram {
            text: self.text.with(lists, btf),
            local_type_ids: self.local_type_ids,
            unresolved: self.unresolved.into_iter().map(unresolved).collect(),
            addresses: self
                .addresses
                .into_iter()
                .map(|(at, symbol, weak)| WantedAddress { at, symbol, weak })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bpfman_model::{BoundText, Insn};

    use super::*;

    #[test]
    fn list_of_unresolved_relocations_is_bounded() {
        let BoundText(text) = BoundText::of_one_function("pass", "GPL", vec![Insn::new(0x95, 0, 0, 0, 0)]);
        let one = |at| Unresolved { at, function: ("f".repeat(4096), 7), what: "\u{1f41d}".repeat(2000) };
        let linked = LinkedProgram {
            text,
            local_type_ids: Vec::new(),
            unresolved: (0..10_000).map(one).collect(),
            addresses: Vec::new(),
        };
        let (sent, lists) = SentProgram::of(&linked);
        assert!(serde_json::to_vec(&sent).unwrap().len() < crate::first_answer::PROGRAM);
        let heard = sent.with(&lists, None).unresolved;
        assert_eq!((heard.len(), heard[255].at, heard[0].function.1), (256, 255, 7));
        assert!(heard[0].what.len() == 512 && heard[0].function.0.len() == 512);
    }
}
