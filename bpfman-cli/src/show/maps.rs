//! List of the maps of the daemon's programs.

use bpfman_model::map_type;
use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;
use super::table::TextTable;
use crate::show::json_shape::json_shape;

#[derive(Clone, Debug, Serialize)]
pub struct MapList {
    pub maps: Vec<ListedMap>,
    /// Maps of maps with more slots than the daemon searches: some of their maps are not listed.
    pub not_searched: Vec<u32>,
}

impl MapList {
    #[must_use]
    pub fn new(listed: &ext::ListMapsResponse) -> Self {
        let maps = listed.maps.iter().filter_map(|described| {
            let map = described.map.as_ref()?;
            Some(ListedMap::new(map, described))
        });
        Self { maps: maps.collect(), not_searched: listed.not_searched.clone() }
    }
}

json_shape! {
    /// Map of the daemon's programs.
    pub struct ListedMap(map: &ext::Map, described: &ext::MapDescription) {
        id: u32 = map.id,
        /// Name in the object; the kernel's name for a map in a map of maps.
        name: String = map.name.clone(),
        r#type: String = map_type::name(map.map_type),
        /// C type of keys; null if unknown.
        key_type: Option<String> = unless_empty(&described.key_type),
        key_bytes: u32 = map.key_size,
        /// C type of values; null if unknown.
        value_type: Option<String> = unless_empty(&described.value_type),
        /// Size of a value in bytes; for a per-CPU map that of one CPU.
        value_bytes: u32 = map.value_size,
        /// Maximum number of entries; for a ring buffer its size in bytes.
        max_entries: u32 = map.max_entries,
        /// Kernel memory, in bytes.
        memory_bytes: u64 = map.bytes_memlock,
        /// Ids of the daemon's programs that use it.
        used_by: Vec<u32> = map.used_by.clone(),
        owners: Vec<String> = described.owners.clone(),
        /// Path of the daemon's pin; null if there is none.
        pin_path: Option<String> = unless_empty(&map.pin_path),
        /// Ids of the maps of maps that contain it.
        lies_in: Vec<u32> = described.lies_in.clone(),
        /// Reason why entries cannot be set; null if they can.
        read_only_because: Option<String> = unless_empty(&described.read_only_because),
    }
}

fn unless_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl CommandOutput for MapList {
    fn table(&self, screen: Screen) -> String {
        let header =
            ["Map ID", "Name", "Type", "Key", "Value", "Entries", "Bytes", "Programs", "Owner", "Pinned at"];
        let mut table = TextTable::new(&header);
        for map in &self.maps {
            let sized = |name: &Option<String>, size: u32| match name {
                Some(name) => format!("{name} ({size})"),
                None => size.to_string(),
            };
            let ids = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let programs = match &map.lies_in[..] {
                [] => ids(&map.used_by),
                outer => format!("in map {}", ids(outer)),
            };
            table.row(vec![
                map.id.to_string(),
                map.name.clone(),
                map.r#type.clone(),
                sized(&map.key_type, map.key_bytes),
                sized(&map.value_type, map.value_bytes),
                map.max_entries.to_string(),
                map.memory_bytes.to_string(),
                programs,
                map.owners.join(","),
                map.pin_path.clone().unwrap_or_default(),
            ]);
        }
        table.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        self.maps.iter().map(|map| map.id.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_its_types_and_where_it_lies() {
        let map = ext::Map {
            id: 7,
            name: "flows".to_owned(),
            map_type: map_type::HASH,
            key_size: 16,
            value_size: 8,
            max_entries: 64,
            used_by: vec![3, 4],
            ..Default::default()
        };
        let inner = ext::Map { id: 8, map_type: map_type::ARRAY, used_by: vec![3], ..map.clone() };
        let described = ext::MapDescription {
            map: Some(map),
            owners: vec!["root".to_owned()],
            key_type: "struct flow".to_owned(),
            ..Default::default()
        };
        let inner = ext::MapDescription { map: Some(inner), lies_in: vec![7], ..Default::default() };
        let list =
            MapList::new(&ext::ListMapsResponse { maps: vec![described, inner], not_searched: vec![7] });
        let table = list.table(Screen::PLAIN);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1][..8], ["7", "flows", "hash", "struct", "flow", "(16)", "8", "64"], "{table}");
        assert!(lines[2].join(" ").contains("in map 7"), "{table}");
        assert_eq!(list.ids(), ["7", "8"]);
        let json = serde_json::to_value(&list).unwrap();
        assert_eq!(json["maps"][0]["value_type"], serde_json::Value::Null);
        assert_eq!(json["maps"][0]["type"], "hash");
    }
}
