use std::collections::BTreeMap;

use bpfman_model::map_type::{
    ARRAY, ARRAY_OF_MAPS, HASH_OF_MAPS, LRU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY, PROG_ARRAY,
};
use bpfman_model::{MapFacts, MapId, MapRole};

use super::errno::{E2BIG, EINVAL, ENOENT, EPERM};
use super::objects::{Body, Key, MAP};
use super::{SimState, refuse};
use crate::map_access::{Family, check_copy, describe, is_one_constant, wrong};
use crate::{KernelError, MapEntry};

const CPUS: usize = 2;

/// Map and the form of its entries.
pub(super) struct Data {
    facts: MapFacts,
    family: Family,
    value_bytes: usize,
}

impl Data {
    fn padded(&self) -> usize {
        (self.facts.value_size as usize).next_multiple_of(8)
    }

    fn fail(&self, action: &'static str, number: i32) -> KernelError {
        refuse(action, format!("map {}", describe(&self.facts)), number)
    }

    pub(super) fn check_key(&self, action: &'static str, key: &[u8]) -> Result<(), KernelError> {
        if key.len() == self.facts.key_size as usize {
            return Ok(());
        }
        let reason = format!("its keys have {} bytes, not {}", self.facts.key_size, key.len());
        Err(wrong(action, &self.facts, reason))
    }
}

impl SimState {
    pub(super) fn data(&self, action: &'static str, map: Key) -> Result<Data, KernelError> {
        let facts = self.map_facts(map)?;
        let family = Family::of(action, &facts)?;
        let mut data = Data { facts, family, value_bytes: 0 };
        data.value_bytes = if family.per_cpu { data.padded() * CPUS } else { data.facts.value_size as usize };
        Ok(data)
    }

    /// Returns all entries, for arrays also those that were never written.
    pub(super) fn all_entries(&self, map: Key, data: &Data) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let Some(Body::Map { spec, entries, max_entries, .. }) =
            self.objects.all.get(&map).map(|object| &object.body)
        else {
            return BTreeMap::new();
        };
        let mut all = BTreeMap::new();
        if matches!(spec.map_type, ARRAY | PERCPU_ARRAY) {
            for place in 0..*max_entries {
                let value = if place == 0 && !spec.initial.is_empty() {
                    spec.initial.clone()
                } else {
                    vec![0; data.value_bytes]
                };
                all.insert(place.to_ne_bytes().to_vec(), value);
            }
        }
        all.extend(entries.clone());
        all
    }

    pub(super) fn map_entries(&self, map: Key, most: usize) -> Result<Vec<MapEntry>, KernelError> {
        let data = self.data("read", map)?;
        let all = self.all_entries(map, &data).into_iter();
        Ok(all.take(most).map(|(key, value)| MapEntry { key, value }).collect())
    }

    pub(super) fn frozen_value(&self, map: MapId) -> Result<Option<Vec<u8>>, KernelError> {
        let Some(key) = self.objects.find(MAP, map.0) else { return Ok(None) };
        if !is_one_constant(&self.map_facts(key)?) {
            return Ok(None);
        }
        Ok(self.map_entries(key, 1)?.pop().map(|entry| entry.value))
    }

    pub(super) fn write_entry(&mut self, map: Key, entry: &MapEntry) -> Result<(), KernelError> {
        const ACTION: &str = "write to";
        let data = self.data(ACTION, map)?;
        data.check_key(ACTION, &entry.key)?;
        if entry.value.len() != data.value_bytes {
            let reason = format!("its values have {} bytes, not {}", data.value_bytes, entry.value.len());
            return Err(wrong(ACTION, &data.facts, reason));
        }
        let Some(Body::Map { spec, entries, max_entries, .. }) =
            self.objects.all.get_mut(&map).map(|object| &mut object.body)
        else {
            return Err(data.fail(ACTION, EINVAL));
        };
        if spec.role == MapRole::Rodata {
            return Err(data.fail(ACTION, EPERM));
        }
        let place = entry.key.as_slice().try_into().map(u32::from_ne_bytes);
        let full = entries.len() >= *max_entries as usize && !entries.contains_key(&entry.key);
        if data.family.array && !place.is_ok_and(|place| place < *max_entries) {
            return Err(data.fail(ACTION, E2BIG));
        }
        if !data.family.array && full {
            if !matches!(spec.map_type, LRU_HASH | LRU_PERCPU_HASH) {
                return Err(data.fail(ACTION, E2BIG));
            }
            entries.pop_first();
        }
        entries.insert(entry.key.clone(), entry.value.clone());
        Ok(())
    }

    pub(super) fn remove_entry(&mut self, map: Key, key: &[u8]) -> Result<bool, KernelError> {
        const ACTION: &str = "remove an entry of";
        let data = self.data(ACTION, map)?;
        data.check_key(ACTION, key)?;
        if data.family.array {
            let reason = "the entries of an array are always there".to_owned();
            return Err(wrong(ACTION, &data.facts, reason));
        }
        match self.objects.all.get_mut(&map).map(|object| &mut object.body) {
            Some(Body::Map { entries, .. }) => Ok(entries.remove(key).is_some()),
            _ => Err(data.fail(ACTION, EINVAL)),
        }
    }

    pub(super) fn copy_map(&mut self, from: Key, to: Key) -> Result<usize, KernelError> {
        let (source, target) = (self.data("copy", from)?, self.data("copy to", to)?);
        check_copy(&source.facts, source.family, &target.facts, target.family)?;
        let entries = self.map_entries(from, usize::MAX)?;
        for entry in &entries {
            self.write_entry(to, entry)?;
        }
        Ok(entries.len())
    }

    pub(super) fn read_per_cpu(&self, map: Key, key: u32) -> Result<Vec<Vec<u8>>, KernelError> {
        let data = self.data("read", map)?;
        data.family.check_numbered_per_cpu("read", &data.facts)?;
        let all = self.all_entries(map, &data);
        let value =
            all.get(key.to_ne_bytes().as_slice()).ok_or_else(|| data.fail("read an entry of", ENOENT))?;
        let size = data.facts.value_size as usize;
        Ok(value.chunks_exact(data.padded()).map(|value| value[..size].to_vec()).collect())
    }

    pub(super) fn write_per_cpu(&mut self, map: Key, key: u32, value: &[u8]) -> Result<(), KernelError> {
        const ACTION: &str = "write to";
        let data = self.data(ACTION, map)?;
        data.family.check_numbered_per_cpu(ACTION, &data.facts)?;
        if value.len() != data.facts.value_size as usize {
            let reason = format!("its values have {} bytes, not {}", data.facts.value_size, value.len());
            return Err(wrong(ACTION, &data.facts, reason));
        }
        let mut padded = value.to_vec();
        padded.resize(data.padded(), 0);
        self.write_entry(map, &MapEntry { key: key.to_ne_bytes().to_vec(), value: padded.repeat(CPUS) })
    }

    pub(super) fn empty_arrays(&mut self) {
        let mut old = Vec::new();
        for object in self.objects.all.values_mut() {
            if let Body::Map { spec, slots, .. } = &mut object.body
                && spec.map_type == PROG_ARRAY
            {
                old.extend(std::mem::take(slots).into_values());
            }
        }
        old.into_iter().for_each(|old| self.unuse(old));
    }

    pub(super) fn clear_slot(&mut self, map: Key, slot: u32) -> Result<(), KernelError> {
        let fail = |number| refuse("empty", format!("slot {slot} of a map"), number);
        self.object(map)?;
        let old = match self.objects.all.get_mut(&map).map(|object| &mut object.body) {
            Some(Body::Map { spec, slots, max_entries, .. }) => match spec.map_type {
                HASH_OF_MAPS => slots.remove(&slot),
                PROG_ARRAY | ARRAY_OF_MAPS if slot < *max_entries => slots.remove(&slot),
                PROG_ARRAY | ARRAY_OF_MAPS => return Err(fail(E2BIG)),
                _ => return Err(fail(EINVAL)),
            },
            _ => return Err(fail(EINVAL)),
        };
        if let Some(old) = old {
            self.unuse(old);
        }
        Ok(())
    }
}
