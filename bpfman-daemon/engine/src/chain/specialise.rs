//! Specialised texts of members: their read-only data is folded into the instructions of the chain.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpfman_model::{BoundText, MapId};
use bpfmand_kernel::Kernel;
use bpfmand_splice::{ReadOnlyMap, is_soon_removed, specialised};

use crate::engine::members::MemberText;
use crate::{Engine, EngineError};

type Frozen = BTreeMap<MapId, Option<Vec<u8>>>;

impl<K: Kernel> Engine<K> {
    /// Returns folded texts; `None` if nothing can be folded, or if removing dead code would take the kernel too long.
    /// The values come from the kernel: not even a process that can write the daemon's files can change a frozen map.
    pub(crate) fn specialised(&self, texts: &[MemberText]) -> Result<Option<Vec<MemberText>>, EngineError> {
        let mut frozen = Frozen::new();
        let mut folded = Vec::with_capacity(texts.len());
        for member in texts {
            folded.push(self.specialised_text(member, &mut frozen)?);
        }
        if folded.iter().all(Option::is_none) {
            return Ok(None);
        }
        let with = |(member, text): (&MemberText, Option<Arc<BoundText>>)| MemberText {
            text: text.unwrap_or_else(|| Arc::clone(&member.text)),
            ..member.clone()
        };
        let members: Vec<MemberText> = texts.iter().zip(folded).map(with).collect();
        Ok(is_soon_removed(members.iter().map(|member| &*member.text)).then_some(members))
    }

    fn specialised_text(
        &self,
        member: &MemberText,
        frozen: &mut Frozen,
    ) -> Result<Option<Arc<BoundText>>, EngineError> {
        if let Some(known) = member.specialised.get() {
            return Ok(known.clone());
        }
        let maps = member.text.value_map_ids();
        for map in &maps {
            if !frozen.contains_key(map) {
                frozen.insert(*map, self.kernel.frozen_value(*map)?);
            }
        }
        let values: Vec<ReadOnlyMap<'_>> = maps
            .iter()
            .filter_map(|map| Some(ReadOnlyMap { map: *map, value: frozen.get(map)?.as_deref()? }))
            .collect();
        let text = specialised(&member.text, &member.local_type_ids, &values).map(Arc::new);
        Ok(member.specialised.get_or_init(|| text).clone())
    }
}
