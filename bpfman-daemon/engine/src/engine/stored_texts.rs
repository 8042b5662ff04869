//! Instructions of programs, stored as they were loaded: a faulty object reader can neither block later changes of a
//! hook nor supply other instructions.

use std::sync::Arc;

use bpfman_model::{BoundText, FlatText, ProgramText};
use bpfmand_kernel::Kernel;
use bpfmand_store::Blobs;
use serde::{Deserialize, Serialize};

use crate::engine::members::{MemberText, no_such_map};
use crate::state::BlobId;
use crate::state::records::{KeptText, ProgramRecord};
use crate::{Engine, EngineError};

#[derive(Clone, Copy, Debug)]
pub struct LoadedText<'t> {
    pub text: &'t ProgramText,
    pub needs_own_btf: bool,
    pub local_type_ids: &'t [usize],
}

/// Header of a file, preceded by its length in eight bytes and followed by the lists of the text.
#[derive(Serialize, Deserialize)]
struct Head {
    text: FlatText,
    name: String,
    license: String,
    frags: bool,
    sleepable: bool,
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
        needs_own_btf: loaded.needs_own_btf,
        local_type_ids: loaded.local_type_ids.to_vec(),
    })?;
    Ok([&(head.len() as u64).to_le_bytes()[..], &head, &lists].concat())
}

fn from_bytes(bytes: &[u8], types: Option<Arc<[u8]>>) -> Option<(Head, ProgramText)> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (head, lists) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let head: Head = serde_json::from_slice(head).ok()?;
    let text = ProgramText {
        name: head.name.clone(),
        license: head.license.clone(),
        frags: head.frags,
        sleepable: head.sleepable,
        ..head.text.clone().with((lists.len() == head.text.lists()).then_some(lists)?, types)
    };
    Some((head, text))
}

pub struct TextWriter<'b> {
    blobs: &'b Blobs,
    types: Option<(Arc<[u8]>, BlobId)>,
    failed: bool,
    put: Vec<BlobId>,
}

impl<'b> TextWriter<'b> {
    pub fn new(blobs: &'b Blobs) -> Self {
        Self { blobs, types: None, failed: false, put: Vec::new() }
    }

    /// Stores a text until the next reboot. If that fails, chains read it from the object. The caller prevents the
    /// removal of bytecode.
    pub fn keep(&mut self, loaded: LoadedText<'_>) -> Option<KeptText> {
        if self.failed {
            return None;
        }
        let kept = self.try_to_keep(loaded);
        kept.inspect_err(|error| {
            self.failed = true;
            let program = &loaded.text.name;
            tracing::warn!(
                error,
                program,
                "texts of programs are not kept: the object will be read again for this one and those behind it"
            );
        })
        .ok()
    }

    pub fn into_files(self) -> Vec<BlobId> {
        self.put
    }

    fn try_to_keep(&mut self, loaded: LoadedText<'_>) -> Result<KeptText, String> {
        let types = match (&loaded.text.btf, &self.types) {
            (None, _) => None,
            (Some(btf), Some((known, id))) if Arc::ptr_eq(btf, known) => Some(id.clone()),
            (Some(btf), _) => {
                let id = self.put(btf)?;
                self.types = Some((Arc::clone(btf), id.clone()));
                Some(id)
            }
        };
        let lists = self.put(&to_bytes(loaded).map_err(|error| error.to_string())?)?;
        Ok(KeptText { lists, types })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<BlobId, String> {
        let id = self.blobs.put_for_this_boot(bytes).map_err(|error| error.to_string())?;
        self.put.push(id.clone());
        Ok(id)
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn stored_text(&self, program: &ProgramRecord) -> Result<Option<MemberText>, EngineError> {
        let Some(kept) = &program.text else { return Ok(None) };
        let read = || -> Result<_, String> {
            let get = |id| self.blobs.get(id).map_err(|error| error.to_string());
            let types = kept.types.as_ref().map(get).transpose()?;
            from_bytes(&get(&kept.lists)?, types).ok_or_else(|| "its file is none of a text".to_owned())
        };
        match read() {
            Ok((head, text)) => Ok(Some(MemberText {
                text: bind(&text, program)?,
                needs_own_btf: head.needs_own_btf,
                local_type_ids: head.local_type_ids.into(),
                is_altered: false,
                specialised: Arc::default(),
            })),
            Err(error) => {
                let program = &program.name;
                tracing::warn!(error, program, "the text of a program is gone: its object is read again");
                Ok(None)
            }
        }
    }

    /// Stores a lost text again, if it equals the loaded one and a record still needs it.
    pub(crate) fn restore_text(&self, program: &ProgramRecord, loaded: LoadedText<'_>) {
        let Some(kept) = &program.text else { return };
        let Ok(lists) = to_bytes(loaded) else { return };
        let types = loaded.text.btf.as_deref();
        let is_it = BlobId::of(&lists) == kept.lists && types.map(BlobId::of) == kept.types;
        // The program may have been unloaded while its object was read.
        if is_it && self.state().needs_bytecode(kept.lists.as_str()) {
            let restored = self.blobs.put_for_this_boot(&lists);
            let restored =
                restored.and_then(|_| types.map(|types| self.blobs.put_for_this_boot(types)).transpose());
            if let Err(error) = restored {
                tracing::warn!(%error, program = program.name, "the text of a program is still gone");
            }
        }
    }
}

pub fn bind(text: &ProgramText, program: &ProgramRecord) -> Result<Arc<BoundText>, EngineError> {
    let bound = text.bind_by(|index| program.maps.get(index)?.id);
    bound.map(Arc::new).map_err(|index| no_such_map(&program.name, index))
}

#[cfg(test)]
mod tests {
    use bpfman_model::{FunctionSpan, Insn, LineInfo};

    use super::*;

    #[test]
    fn stored_text_is_read_back() {
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
            jump_tables: Vec::new(),
        };
        let loaded = LoadedText { text: &text, needs_own_btf: true, local_type_ids: &[1] };
        let bytes = to_bytes(loaded).unwrap();
        let (head, back) = from_bytes(&bytes, text.btf.clone()).unwrap();
        assert_eq!((back, head.needs_own_btf, head.local_type_ids), (text.clone(), true, vec![1]));
        for end in [0, 7, 8, 20, bytes.len() - 1] {
            assert!(from_bytes(&bytes[..end], None).is_none(), "{end}");
        }
    }

    #[test]
    fn types_that_programs_have_in_common_are_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned()).unwrap();
        let types: Arc<[u8]> = Arc::from([7; 1000].as_slice());
        let text = |name: &str, btf: Option<Arc<[u8]>>| {
            let insns = vec![Insn::new(0x95, 0, 0, 0, 0)];
            ProgramText { btf, ..BoundText::of_one_function(name, "GPL", insns).0 }
        };
        let mut keeper = TextWriter::new(&blobs);
        let mut keep = |text: &ProgramText| {
            keeper.keep(LoadedText { text, needs_own_btf: false, local_type_ids: &[] }).unwrap()
        };
        let one = keep(&text("one", Some(Arc::clone(&types))));
        let other = keep(&text("other", Some(types)));
        assert!(one.types == other.types && one.types.is_some() && one.lists != other.lists);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        assert_eq!(keep(&text("third", None)).types, None);
        assert_eq!(keeper.into_files().len(), 4);
    }

    #[test]
    fn unwritable_text_stops_later_ones_and_reports_written_ones() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned()).unwrap();
        let insns = vec![Insn::new(0x95, 0, 0, 0, 0)];
        let text = ProgramText {
            btf: Some(Arc::from([7; 1000].as_slice())),
            ..BoundText::of_one_function("one", "GPL", insns).0
        };
        let loaded = LoadedText { text: &text, needs_own_btf: false, local_type_ids: &[] };
        let lists = BlobId::of(&to_bytes(loaded).unwrap());
        std::fs::create_dir(folder.path().join(lists.as_str())).unwrap();
        let mut keeper = TextWriter::new(&blobs);
        assert_eq!([keeper.keep(loaded), keeper.keep(loaded)], [None, None]);
        assert_eq!(keeper.into_files(), [BlobId::of(&[7; 1000])]);
    }
}
