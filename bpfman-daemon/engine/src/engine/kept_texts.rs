//! Texts of programs that chains can join, kept as they were loaded: who reads objects is not asked for one again, and can
//! neither keep a hook from changing nor say another text than the one that was looked at.

use std::sync::Arc;

use bpfmand_core::{BoundText, FlatText, ProgramText};
use bpfmand_kernel::Kernel;
use serde::{Deserialize, Serialize};

use crate::engine::members::{MemberText, no_such_map};
use crate::state::BlobId;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

/// A text before it is bound to maps, with what else a chain has to know of it.
#[derive(Clone, Copy, Debug)]
pub struct LoadedText<'t> {
    /// The text.
    pub text: &'t ProgramText,
    /// See [`MemberText::needs_own_btf`].
    pub needs_own_btf: bool,
    /// See [`MemberText::local_type_ids`].
    pub local_type_ids: &'t [usize],
}

/// What a file begins with, behind its length in eight bytes. The lists of the text follow, and then its types.
#[derive(Serialize, Deserialize)]
struct Head {
    text: FlatText,
    name: String,
    license: String,
    frags: bool,
    sleepable: bool,
    has_btf: bool,
    needs_own_btf: bool,
    local_type_ids: Vec<usize>,
}

fn to_bytes(loaded: LoadedText<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let (flat, lists) = FlatText::of(loaded.text);
    let head = serde_json::to_vec(&Head {
        text: flat,
        name: loaded.text.name.clone(),
        license: loaded.text.license.clone(),
        frags: loaded.text.frags,
        sleepable: loaded.text.sleepable,
        has_btf: loaded.text.btf.is_some(),
        needs_own_btf: loaded.needs_own_btf,
        local_type_ids: loaded.local_type_ids.to_vec(),
    })?;
    let btf = loaded.text.btf.as_deref().unwrap_or_default();
    Ok([&(head.len() as u64).to_le_bytes()[..], &head, &lists, btf].concat())
}

fn from_bytes(bytes: &[u8]) -> Option<(Head, ProgramText)> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (head, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let head: Head = serde_json::from_slice(head).ok()?;
    let (lists, btf) = rest.split_at_checked(head.text.lists())?;
    let text = ProgramText {
        name: head.name.clone(),
        license: head.license.clone(),
        frags: head.frags,
        sleepable: head.sleepable,
        ..head.text.clone().with(lists, head.has_btf.then(|| Arc::from(btf)))
    };
    Some((head, text))
}

impl<K: Kernel> Engine<K> {
    /// Keeps a text for as long as the machine runs: after a reboot its program is loaded anew. Where that fails, chains ask
    /// who reads its object. The caller keeps all bytecode on disk.
    pub(crate) fn keep_text(&self, loaded: LoadedText<'_>) -> Option<BlobId> {
        let kept = to_bytes(loaded).map_err(|error| error.to_string());
        let kept =
            kept.and_then(|bytes| self.blobs.put_for_this_boot(&bytes).map_err(|error| error.to_string()));
        kept.inspect_err(|error| {
            let program = &loaded.text.name;
            tracing::warn!(
                error,
                program,
                "the text of a program is not kept: its object will be read again"
            );
        })
        .ok()
    }

    /// The text of a loaded program, as it was kept; none if it is not.
    pub(crate) fn kept_text(&self, program: &ProgramRecord) -> Result<Option<MemberText>, EngineError> {
        let Some(kept) = &program.text else { return Ok(None) };
        let read = match self.blobs.get(kept) {
            Ok(bytes) => from_bytes(&bytes),
            Err(error) => {
                tracing::warn!(%error, program = program.name, "the text of a program is gone: its object is read again");
                None
            }
        };
        let Some((head, text)) = read else { return Ok(None) };
        let text = bind(&text, program)?;
        let needs_own_btf = head.needs_own_btf;
        Ok(Some(MemberText { text, needs_own_btf, local_type_ids: head.local_type_ids.into() }))
    }
}

/// A text with the maps of its program.
pub fn bind(text: &ProgramText, program: &ProgramRecord) -> Result<Arc<BoundText>, EngineError> {
    let bound = text.bind_by(|index| program.maps.get(index)?.id);
    bound.map(Arc::new).map_err(|index| no_such_map(&program.name, index))
}

#[cfg(test)]
mod tests {
    use bpfmand_core::{FunctionSpan, Insn, LineInfo};

    use super::*;

    #[test]
    fn what_is_kept_is_what_comes_back() {
        let text = ProgramText {
            name: "filter".to_owned(),
            license: "GPL".to_owned(),
            insns: vec![Insn::new(0xb7, 0, 0, 0, 2), Insn::new(0x95, 0, 0, 0, 0)],
            functions: vec![FunctionSpan { name: "filter".to_owned(), start: 0, len: 2 }],
            btf: Some(Arc::from([0x9f, 0xeb, 1].as_slice())),
            func_info: Vec::new(),
            line_info: vec![LineInfo { insn_off: 0, file_name_off: 1, line_off: 2, line_col: 3 }],
            frags: true,
            sleepable: false,
            modules: vec!["nf_conntrack".to_owned()],
        };
        let loaded = LoadedText { text: &text, needs_own_btf: true, local_type_ids: &[1] };
        let bytes = to_bytes(loaded).unwrap();
        let (head, back) = from_bytes(&bytes).unwrap();
        assert_eq!((back, head.needs_own_btf, head.local_type_ids), (text.clone(), true, vec![1]));
        let without = ProgramText { btf: None, ..text.clone() };
        let bytes = to_bytes(LoadedText { text: &without, ..loaded }).unwrap();
        assert_eq!(from_bytes(&bytes).unwrap().1, without);
        for end in [0, 7, 8, 20, bytes.len() - 20] {
            assert!(from_bytes(&bytes[..end]).is_none(), "{end}");
        }
    }
}
