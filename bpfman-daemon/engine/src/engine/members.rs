//! Programs as members of chains: their relocated text, bound to the maps that they were loaded with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bpfmand_core::{BoundText, Insn, MapId, ProgramUid, op};
use bpfmand_kernel::Kernel;
use bpfmand_object::{ObjectFile, TextOptions};

use crate::state::BlobId;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

/// A program ready to be joined with others.
#[derive(Clone, Debug)]
pub struct MemberText {
    /// The text.
    pub text: Arc<BoundText>,
    /// Its maps know types of its own BTF: only a program with that BTF may use them.
    pub needs_own_btf: bool,
    /// Positions of instructions with ids of its own BTF's types, which move with the types into another BTF.
    pub local_type_ids: Arc<[usize]>,
}

/// Texts of members used last. Building one again costs a parse of its object; kernels with many hooks need the
/// same few again and again.
#[derive(Debug, Default)]
pub struct MemberCache {
    texts: Mutex<HashMap<ProgramUid, Kept>>,
}

/// What a text is of: the bytecode, the function in it, and the maps.
type Origin = (BlobId, String, Vec<Option<MapId>>);

type Kept = (Origin, MemberText);

/// Most texts to keep, and the largest to keep, in instructions: 32 × 4,096 × 8 bytes are 1 MiB.
const MOST_TEXTS: usize = 32;
const LARGEST_TEXT: usize = 4096;

impl MemberCache {
    fn get(&self, program: &ProgramRecord) -> Option<MemberText> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let (origin, text) = texts.get(&program.uid)?;
        (*origin == origin_of(program)).then(|| text.clone())
    }

    fn put(&self, program: &ProgramRecord, text: &MemberText) {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if text.text.0.insns.len() > LARGEST_TEXT {
            return;
        }
        if texts.len() >= MOST_TEXTS {
            texts.clear();
        }
        texts.insert(program.uid, (origin_of(program), text.clone()));
    }

    /// Forgets a program.
    pub fn remove(&self, program: ProgramUid) {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).remove(&program);
    }
}

fn origin_of(program: &ProgramRecord) -> Origin {
    (program.blob.clone(), program.name.clone(), map_ids(program).collect())
}

/// Ids of a program's maps, in the object's order.
pub fn map_ids(program: &ProgramRecord) -> impl Iterator<Item = Option<MapId>> {
    program.maps.iter().map(|map| map.id)
}

impl<K: Kernel> Engine<K> {
    /// The text of a loaded program.
    pub(crate) fn member(&self, program: &ProgramRecord) -> Result<MemberText, EngineError> {
        if let Some(text) = self.members.get(program) {
            return Ok(text);
        }
        let member = self.fresh_member(program)?;
        self.members.put(program, &member);
        Ok(member)
    }

    /// The text of a loaded program, made from its bytecode, which is hashed.
    pub(crate) fn fresh_member(&self, program: &ProgramRecord) -> Result<MemberText, EngineError> {
        if program.is_adopted() {
            return Ok(program.opaque_text());
        }
        self.member_of(&ObjectFile::parse(self.blobs.get(&program.blob)?)?, program)
    }

    /// The same, from its object.
    pub(crate) fn member_of(
        &self,
        object: &ObjectFile,
        program: &ProgramRecord,
    ) -> Result<MemberText, EngineError> {
        let kernel_btf = object
            .needs_kernel_btf(&program.name)
            .then(|| self.kernel_types_for(object, &[&program.name], &[]))
            .transpose()?;
        let options = TextOptions { kernel_btf: kernel_btf.as_ref(), features: self.btf_features() };
        let text = object.text(&program.name, &options)?;
        let mut maps = text.map_indexes().into_iter().filter_map(|map| object.maps().get(map));
        let is_tied = maps.any(|map| object.map_is_tied(map));
        let bound = text.bind_by(|index| program.maps.get(index)?.id);
        let bound = bound.map_err(|index| no_such_map(&program.name, index))?;
        let local_type_ids = if object.uses_local_type_ids(&program.name) {
            object.local_type_ids(&program.name, &options)?
        } else {
            Vec::new()
        };
        Ok(MemberText {
            text: Arc::new(bound),
            needs_own_btf: is_tied,
            local_type_ids: local_type_ids.into(),
        })
    }
}

/// A text that names more maps than its object has: the crate `object` broke its word.
pub fn no_such_map(program: &str, index: usize) -> EngineError {
    EngineError::Fault(format!(
        "program \"{program}\" refers to map number {index}, which its object does not have"
    ))
}

/// True if a program calls kernel functions by their BTF id.
pub fn calls_kfuncs(insns: &[Insn]) -> bool {
    insns.iter().any(|insn| insn.code == op::CALL && insn.src() == op::PSEUDO_KFUNC_CALL)
}
