//! Programs as members of chains: their relocated text, bound to the maps that they were loaded with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bpfman_model::{BoundText, Insn, MapId, ProgramText, ProgramUid, map_type, op};
use bpfmand_kernel::Kernel;
use bpfmand_object::ObjectFacts;
use bpfmand_splice::MapBounds;

use crate::engine::map_sizes::MapSizes;
use crate::engine::stored_texts::{LoadedText, bind};
use crate::engine::tenant_calls::{check_addresses, loops_of, rules_of_program};
use crate::state::BlobId;
use crate::state::records::{KeptText, ProgramRecord};
use crate::{Engine, EngineError};

#[derive(Clone, Debug)]
pub struct MemberText {
    pub text: Arc<BoundText>,
    /// True if its maps refer to types of its own BTF: only a program with that BTF may use them.
    pub needs_own_btf: bool,
    /// Instructions that contain type ids of its own BTF. The ids change when the types are merged into another BTF.
    pub local_type_ids: Arc<[usize]>,
    /// True if calls were removed, so that the text differs from the loaded program.
    pub is_altered: bool,
    /// Text with its read-only data folded in, once requested; `None` if there is nothing to fold.
    pub specialised: Arc<OnceLock<Option<Arc<BoundText>>>>,
}

#[derive(Debug, Default)]
pub struct MemberCache {
    texts: Mutex<HashMap<ProgramUid, Kept>>,
}

type Origin = (BlobId, Option<KeptText>, String, Vec<Option<MapId>>);

type Kept = (Origin, MemberText);

/// Maximum bytes of the cached texts, types included: a member of 4,096 instructions takes some 100,000.
const MAX_BYTES: usize = 8 << 20;
const MAX_OF_ONE: usize = 1 << 20;

fn bytes_of(text: &MemberText) -> usize {
    let text = &text.text.0;
    let lists = size_of_val(&*text.insns) + size_of_val(&*text.func_info) + size_of_val(&*text.line_info);
    lists + text.btf.as_ref().map_or(0, |btf| btf.len())
}

impl MemberCache {
    fn get(&self, program: &ProgramRecord) -> Option<MemberText> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let (origin, text) = texts.get(&program.uid)?;
        (*origin == origin_of(program)).then(|| text.clone())
    }

    fn put(&self, program: &ProgramRecord, text: &MemberText) {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes_of(text) > MAX_OF_ONE {
            return;
        }
        if texts.values().map(|(_, kept)| bytes_of(kept)).sum::<usize>() + bytes_of(text) > MAX_BYTES {
            texts.clear();
        }
        texts.insert(program.uid, (origin_of(program), text.clone()));
    }

    pub fn remove(&self, program: ProgramUid) {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).remove(&program);
    }
}

fn origin_of(program: &ProgramRecord) -> Origin {
    let maps = map_ids(program).collect();
    (program.blob.clone(), program.text.clone(), program.name.clone(), maps)
}

pub fn map_ids(program: &ProgramRecord) -> impl Iterator<Item = Option<MapId>> {
    program.maps.iter().map(|map| map.id)
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn member(&self, program: &ProgramRecord) -> Result<MemberText, EngineError> {
        if let Some(text) = self.members.get(program) {
            return Ok(text);
        }
        let member = match self.stored_text(program)? {
            Some(kept) => kept,
            None => self.fresh_member(program)?,
        };
        self.members.put(program, &member);
        Ok(member)
    }

    pub(crate) fn keep_member(&self, program: &ProgramRecord, text: Option<MemberText>) {
        if let Some(text) = text {
            self.members.put(program, &text);
        }
    }

    pub(crate) fn fresh_member(&self, program: &ProgramRecord) -> Result<MemberText, EngineError> {
        if program.is_adopted() {
            return Ok(program.opaque_text());
        }
        let sizes = MapSizes::default();
        let object =
            self.link_load(self.blobs.get(&program.blob)?, &[program.request()], &sizes)?.without_reader();
        let linked = object.programs.first().map(|found| &found.linked);
        let linked = linked.ok_or_else(|| EngineError::Fault("a program was not linked".to_owned()))?;
        // A compromised object reader may return another text than the one that was allowed.
        if let Some(rules) = rules_of_program(program) {
            check_addresses(linked)?;
            let kernel = calls_kfuncs(&linked.text.insns).then(|| object.types.btf()).transpose()?;
            self.check_calls(&linked.text, program.program_type, &rules, kernel)?;
            // The load already checked the run time: check only the number of rounds here.
            let bounds = |index: usize| {
                let facts = self.kernel.map(program.maps.get(index)?.id?).ok()??;
                let entries = map_type::is_array(facts.map_type).then_some(facts.max_entries);
                Some(MapBounds { entries, ..MapBounds::default() })
            };
            // A program without proven bounds, accepted by an earlier version, must not block a chain.
            if program.guard.as_ref().is_some_and(|guard| guard.is_bounded) {
                loops_of(&linked.text, program.program_type, &rules, kernel, bounds)?;
            }
        }
        let needs_own_btf = is_tied(&object, &linked.text);
        let loaded = LoadedText { text: &linked.text, needs_own_btf, local_type_ids: &linked.local_type_ids };
        self.restore_text(program, loaded);
        Ok(MemberText {
            needs_own_btf,
            text: bind(&linked.text, program)?,
            local_type_ids: linked.local_type_ids.as_slice().into(),
            is_altered: false,
            specialised: Arc::default(),
        })
    }
}

pub fn is_tied(object: &ObjectFacts, text: &ProgramText) -> bool {
    text.map_indexes().into_iter().any(|map| object.map_is_tied(map))
}

pub fn no_such_map(program: &str, index: usize) -> EngineError {
    EngineError::Fault(format!(
        "program \"{program}\" refers to map number {index}, which its object does not have"
    ))
}

pub fn calls_kfuncs(insns: &[Insn]) -> bool {
    insns.iter().any(|insn| insn.code == op::CALL && insn.src() == op::PSEUDO_KFUNC_CALL)
}
