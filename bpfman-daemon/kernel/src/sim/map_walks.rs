//! Entries of maps, page by page and one by one.

use bpfman_model::map_type::{QUEUE, STACK};

use super::errno::{E2BIG, EINVAL};
use super::objects::{Body, Key};
use super::{SimState, refuse};
use crate::map_access::Family;
use crate::{EntryRule, KernelError, MapEntry, MapPage, MapPlace};

const PAGE: usize = 64;

impl SimState {
    pub(super) fn map_page(&self, map: Key, from: &MapPlace) -> Result<MapPage, KernelError> {
        let facts = self.map_facts(map)?;
        let family = Family::of_walk("read", &facts)?;
        let all: Vec<(Vec<u8>, Vec<u8>)> = if family.maps {
            self.slots_of(map)
                .map(|(slot, id)| (slot.to_ne_bytes().to_vec(), id.to_ne_bytes().to_vec()))
                .collect()
        } else {
            self.all_entries(map, &self.data("read", map)?).into_iter().collect()
        };
        let behind = all.iter().filter(|(key, _)| from.at.as_ref().is_none_or(|at| key > at));
        let mut page = MapPage::default();
        let mut last = None;
        for (key, value) in behind.take(PAGE) {
            page.keys.extend_from_slice(key);
            page.values.extend_from_slice(value);
            (page.count, last) = (page.count + 1, Some(key.clone()));
        }
        let is_last = last.as_ref() == all.last().map(|(key, _)| key) || last.is_none();
        page.next = (!is_last).then(|| from.after(&page, last, 0, false));
        Ok(page)
    }

    /// Returns places and ids of the maps in a map of maps.
    fn slots_of(&self, map: Key) -> impl Iterator<Item = (u32, u32)> {
        let slots = match self.objects.all.get(&map).map(|object| &object.body) {
            Some(Body::Map { slots, .. }) => slots.clone(),
            _ => Default::default(),
        };
        slots.into_iter().filter_map(|(slot, inner)| Some((slot, self.objects.all.get(&inner)?.id)))
    }

    pub(super) fn map_value(&self, map: Key, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        const ACTION: &str = "read an entry of";
        let facts = self.map_facts(map)?;
        let family = Family::of_entry(ACTION, &facts)?;
        if family.keyless {
            let entries = self.keyless(map);
            let next = if facts.map_type == QUEUE { entries.first() } else { entries.last() };
            return Ok(next.cloned());
        }
        if family.maps {
            let slot = key.try_into().map(u32::from_ne_bytes);
            let slot = slot.map_err(|_| refuse(ACTION, format!("map {}", facts.id), EINVAL))?;
            return Ok(self
                .slots_of(map)
                .find(|(at, _)| *at == slot)
                .map(|(_, id)| id.to_ne_bytes().to_vec()));
        }
        let data = self.data(ACTION, map)?;
        data.check_key(ACTION, key)?;
        Ok(self.all_entries(map, &data).get(key).cloned())
    }

    /// Returns the contents of a queue or a stack, oldest first.
    fn keyless(&self, map: Key) -> Vec<Vec<u8>> {
        match self.objects.all.get(&map).map(|object| &object.body) {
            Some(Body::Map { entries, .. }) => entries.values().cloned().collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn set_entry(
        &mut self,
        map: Key,
        entry: &MapEntry,
        rule: EntryRule,
    ) -> Result<bool, KernelError> {
        let facts = self.map_facts(map)?;
        if matches!(facts.map_type, QUEUE | STACK) {
            let count = self.keyless(map).len();
            let Some(Body::Map { entries, max_entries, .. }) =
                self.objects.all.get_mut(&map).map(|object| &mut object.body)
            else {
                return Ok(false);
            };
            if count >= *max_entries as usize {
                return Err(refuse("write to", format!("map {}", facts.id), E2BIG));
            }
            entries.insert((count as u64).to_be_bytes().to_vec(), entry.value.clone());
            return Ok(true);
        }
        let is_there = self.map_value(map, &entry.key)?.is_some();
        let forbidden = match rule {
            EntryRule::Any => false,
            EntryRule::Create => is_there,
            EntryRule::Existing => !is_there,
        };
        if !forbidden {
            self.write_entry(map, entry)?;
        }
        Ok(!forbidden)
    }
}
