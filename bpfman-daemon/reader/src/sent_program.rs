//! A linked program, as it is sent: its lists follow as bytes, in this machine's order.

use std::sync::Arc;

use bpfmand_core::FlatText;
use bpfmand_object::{LinkedProgram, Unresolved};
use serde::{Deserialize, Serialize};

use crate::sent::cut;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SentProgram {
    #[serde(flatten)]
    text: FlatText,
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
        let unresolved = |one: &Unresolved| SentUnresolved {
            at: one.at,
            function: one.function.clone(),
            what: one.what.clone(),
        };
        let (text, lists) = FlatText::of(&linked.text);
        let sent = Self {
            text,
            local_type_ids: linked.local_type_ids.clone(),
            unresolved: linked.unresolved.iter().map(unresolved).collect(),
        };
        (sent, lists)
    }

    /// Bytes of lists that are to follow.
    pub(crate) fn lists(&self) -> usize {
        self.text.lists()
    }

    /// The program, but for what the facts say of it; `lists` are so many bytes.
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
        }
    }
}
