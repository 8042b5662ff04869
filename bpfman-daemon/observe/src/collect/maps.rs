//! Metrics of the maps of our programs.

use std::collections::HashMap;

use bpfman_metrics::Exposition;
use bpfman_model::{MapId, map_type};
use bpfmand_engine::MapFigures;

use crate::catalogue as is;

pub fn add(samples: &mut Exposition, maps: &[MapFigures], entries: &HashMap<MapId, u64>) {
    for map in maps {
        let type_name = map_type::name(map.facts.map_type);
        let owner = match map.owners.first() {
            Some(owner) if map.owners.len() == 1 => owner.to_string(),
            Some(_) => "several".to_owned(),
            None => String::new(),
        };
        let labels = [map.name.as_str(), &type_name, &owner];
        samples.add(&is::MAPS, labels, 1);
        samples.add(&is::MAP_MEMORY, labels, map.facts.bytes_memlock);
        if let Some(entries) = entries.get(&map.id) {
            samples.add(&is::MAP_ENTRIES, labels, *entries);
            samples.add(&is::MAP_COUNTED_MOST_ENTRIES, labels, u64::from(map.facts.max_entries));
        }
        samples.add(&is::MAP_MOST_ENTRIES, labels, u64::from(map.facts.max_entries));
    }
}
