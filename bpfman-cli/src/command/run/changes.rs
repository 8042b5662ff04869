//! Changes of maps between two readings.

use std::collections::{BTreeMap, HashMap};

use bpfman_proto::ext::v1::MapContent;

use super::followed::{FollowedMap, MapContents};
use crate::show::entry_value::EntryTypes;
use crate::show::run_event::RunEvent;
use crate::show::value::TypedValue;

#[derive(Clone, Debug, PartialEq)]
pub struct EntryChange {
    pub key: Option<TypedValue>,
    pub variable: Option<String>,
    /// Current value, for a per-CPU map the sum if there is one; none if the entry is gone.
    pub value: Option<TypedValue>,
    pub step: Option<TypedValue>,
    pub per_cpu: Option<Vec<TypedValue>>,
}

impl EntryChange {
    pub fn event(self, map: &str) -> RunEvent {
        let Self { key, variable, value, step, per_cpu } = self;
        match variable {
            Some(variable) => RunEvent::Variable { variable, value, step },
            None => RunEvent::Changed {
                map: map.to_owned(),
                key: key.unwrap_or(TypedValue::Bytes(Vec::new())),
                value,
                step,
                per_cpu,
            },
        }
    }
}

#[derive(Debug, Default)]
pub struct MapSnapshots(HashMap<String, BTreeMap<Vec<u8>, Vec<u8>>>);

impl MapSnapshots {
    /// Returns the changes since the previous reading; none at the first reading of a map.
    pub fn changes(&mut self, map: &FollowedMap, entries: Vec<MapContent>, cut: bool) -> Vec<EntryChange> {
        let now: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        let Some(before) = self.0.insert(map.name.clone(), now) else { return Vec::new() };
        let Some(now) = self.0.get(&map.name) else { return Vec::new() };
        let mut changes = Vec::new();
        for (key, value) in now {
            let old = before.get(key);
            if old != Some(value) {
                changes.extend(changed(map, key, old.map(Vec::as_slice), Some(value)));
            }
        }
        // In a reading that was cut, missing entries are not known to be gone.
        for (key, old) in before.iter().filter(|(key, _)| !cut && !now.contains_key(*key)) {
            changes.extend(changed(map, key, Some(old), None));
        }
        changes
    }

    pub fn forget(&mut self, map: &str) {
        self.0.remove(map);
    }
}

fn changed(map: &FollowedMap, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<EntryChange> {
    match &map.contents {
        MapContents::Entries { key: key_type, value, per_cpu } => {
            let types = EntryTypes { value: value.clone(), per_cpu: *per_cpu, ..EntryTypes::default() };
            let read = |bytes: &[u8]| types.read_value(bytes);
            let (now, before) = (new.map(read), old.map(read));
            let total = now.as_ref().map(|now| now.total.clone());
            let step = total.as_ref().zip(before).and_then(|(now, before)| now.minus(&before.total));
            vec![EntryChange {
                key: Some(TypedValue::read_as(key_type.as_ref(), key)),
                variable: None,
                value: total,
                step,
                per_cpu: now.and_then(|now| now.each),
            }]
        }
        MapContents::Variables(variables) => {
            let change = |variable: &bpfmand_object::GlobalVariable| {
                let of = |bytes: Option<&[u8]>| {
                    Some(bytes?.get(variable.offset..variable.offset + variable.size)?.to_vec())
                };
                let (now, before) = (of(new)?, of(old));
                if before.as_ref() == Some(&now) {
                    return None;
                }
                let value = TypedValue::read(&variable.layout, &now);
                let before = before.map(|bytes| TypedValue::read(&variable.layout, &bytes));
                let step = before.and_then(|before| value.minus(&before));
                let name = Some(variable.name.clone());
                Some(EntryChange { key: None, variable: name, value: Some(value), step, per_cpu: None })
            };
            variables.iter().filter_map(change).collect()
        }
        MapContents::Ring(_) | MapContents::Perf(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use bpfmand_object::ValueLayout;

    use super::*;

    fn counter(per_cpu: Option<usize>) -> FollowedMap {
        let number = |bytes| Some(ValueLayout::Integer { bytes, signed: false });
        let contents = MapContents::Entries { key: number(4), value: number(8), per_cpu };
        FollowedMap { name: "hits".to_owned(), program: 7, contents }
    }

    fn entry(key: u32, values: &[u64]) -> MapContent {
        let value = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        MapContent { key: key.to_ne_bytes().to_vec(), value }
    }

    fn shown(changes: &[EntryChange]) -> Vec<(String, Option<String>, Option<String>)> {
        let text = |value: &Option<TypedValue>| value.as_ref().map(ToString::to_string);
        let each =
            |change: &EntryChange| (text(&change.key).unwrap(), text(&change.value), text(&change.step));
        changes.iter().map(each).collect()
    }

    #[test]
    fn only_changes_are_reported() {
        let (map, mut snapshots) = (counter(None), MapSnapshots::default());
        assert!(snapshots.changes(&map, vec![entry(0, &[1]), entry(1, &[5])], false).is_empty());
        let changes = snapshots.changes(&map, vec![entry(0, &[4]), entry(2, &[9])], false);
        let some = |text: &str| Some(text.to_owned());
        let expected = [
            ("0".to_owned(), some("4"), some("3")),
            ("2".to_owned(), some("9"), None),
            ("1".to_owned(), None, None),
        ];
        assert_eq!(shown(&changes), expected);
        // An entry that was cut off is not gone.
        assert!(snapshots.changes(&map, vec![entry(0, &[4])], true).is_empty());
    }

    #[test]
    fn values_of_cpus_are_added() {
        let (map, mut snapshots) = (counter(Some(8)), MapSnapshots::default());
        snapshots.changes(&map, vec![entry(0, &[1, 2])], false);
        let changes = snapshots.changes(&map, vec![entry(0, &[2, 5])], false);
        assert_eq!(shown(&changes), [("0".to_owned(), Some("7".to_owned()), Some("4".to_owned()))]);
        assert_eq!(changes[0].per_cpu.as_ref().map(Vec::len), Some(2));
    }
}
