//! `bpfman map`: maps of the daemon's programs, and their entries.

mod dump;
mod pin;
mod typed_map;
mod watch;

use bpfman_client::Services;
use bpfman_model::{Hint, MapId};
use bpfman_proto::MAX_REQUEST;
use bpfman_proto::ext::v1 as ext;

use self::typed_map::TypedMap;
use crate::args::Global;
use crate::args::map::{DeleteEntries, GetEntry, ListMaps, MapCommand, SetEntry};
use crate::error::CliError;
use crate::show::entry::{DeletedEntries, DeletedEntry, MapEntryAnswer, SetAnswer, ShownEntry};
use crate::show::maps::MapList;
use crate::show::{answer, warn};

pub async fn run(global: &Global, command: MapCommand) -> Result<(), CliError> {
    match command {
        MapCommand::List(command) => list(global, command).await,
        MapCommand::Dump(command) => dump::run(global, command).await,
        MapCommand::Get(command) => get(global, command).await,
        MapCommand::Set(command) => set(global, command).await,
        MapCommand::Delete(command) => delete(global, command).await,
        MapCommand::Watch(command) => watch::run(global, command).await,
        MapCommand::Pin(command) => pin::run(global, command).await,
    }
}

async fn list(global: &Global, command: ListMaps) -> Result<(), CliError> {
    let request = ext::ListMapsRequest { program_id: command.program };
    let listed = super::connect(global).await?.map_entries.list_maps(request).await?.into_inner();
    answer(global, &MapList::new(&listed))?;
    if !listed.not_searched.is_empty() {
        let ids = listed.not_searched.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        warn(&format!(
            "of what lies in maps {ids} not all is listed: they have more places than the daemon looks through"
        ));
    }
    Ok(())
}

async fn get(global: &Global, command: GetEntry) -> Result<(), CliError> {
    let mut services = super::connect(global).await?;
    let map = TypedMap::describe(&mut services, command.map).await?;
    let key = map.key(command.key.as_deref())?;
    let value = value_of(&mut services, &map, &key).await?.ok_or_else(|| missing(&map, &key))?;
    let key = (!map.has_no_keys()).then(|| map.shown_key(&key));
    let entry = ShownEntry::new(key, map.types.read_value(&value));
    answer(global, &MapEntryAnswer { entry, per_cpu: command.per_cpu })
}

async fn value_of(services: &mut Services, map: &TypedMap, key: &[u8]) -> Result<Option<Vec<u8>>, CliError> {
    let request = ext::GetMapEntryRequest { map: Some(map.wire.clone()), key: key.to_vec() };
    Ok(services.map_entries.get_map_entry(request).await?.into_inner().value)
}

fn missing(map: &TypedMap, key: &[u8]) -> CliError {
    let what = match map.has_no_keys() {
        true => format!("{} is empty", map.text()),
        false => format!("{} has no entry {}", map.text(), map.shown_key(key)),
    };
    CliError::NoEntry { what, hint: Hint::DumpMap(MapId(map.map.id)) }
}

async fn set(global: &Global, command: SetEntry) -> Result<(), CliError> {
    let mut services = super::connect(global).await?;
    let map = TypedMap::describe(&mut services, command.map).await?;
    let (key, text) = match &command.value {
        Some(value) => (Some(command.key.as_str()), value),
        None => (None, &command.key),
    };
    let key = map.key(key)?;
    let value = match map.whole_value(text)? {
        Some(value) => value,
        None => {
            let size = map.types.value_bytes(map.map.value_size, map.description.cpus);
            let there = if map.has_no_keys() { None } else { value_of(&mut services, &map, &key).await? };
            let mut value = there.filter(|value| value.len() == size).unwrap_or_else(|| vec![0; size]);
            map.write_part(text, &mut value)?;
            value
        }
    };
    let condition = match (command.create_only, command.existing) {
        (true, _) => ext::EntryCondition::Create,
        (_, true) => ext::EntryCondition::Existing,
        _ => ext::EntryCondition::Any,
    };
    let shown = map.types.read_value(&value);
    let request = ext::SetMapEntryRequest {
        map: Some(map.wire.clone()),
        key: key.clone(),
        value,
        condition: condition.into(),
    };
    ensure_sendable(&map, &request)?;
    services.map_entries.set_map_entry(request).await?;
    let key = (!map.has_no_keys()).then(|| map.shown_key(&key));
    answer(global, &SetAnswer { map_id: map.map.id, key, value: shown.value_of_one() })
}

/// Bytes of a request besides key and value: the map's name, and the encoding.
const AROUND: usize = 64;

/// Refuses a value that is too large for a call; the transport's error would name neither map nor value.
fn ensure_sendable(map: &TypedMap, request: &ext::SetMapEntryRequest) -> Result<(), CliError> {
    if request.key.len() + request.value.len() + AROUND <= MAX_REQUEST {
        return Ok(());
    }
    let of_cpus = match map.description.cpus {
        0 => String::new(),
        cpus => format!(" for {cpus} CPUs"),
    };
    Err(CliError::Invalid {
        what: format!(
            "a value of {} has {} bytes{of_cpus}: with its key that is more than the {} KiB of one call",
            map.text(),
            request.value.len(),
            MAX_REQUEST >> 10
        ),
        hint: Some(Hint::Lines(vec![
            Hint::PinMap(MapId(map.map.id)),
            "`bpftool map update pinned PATH` sets a value of any size".into(),
        ])),
    })
}

async fn delete(global: &Global, command: DeleteEntries) -> Result<(), CliError> {
    let mut services = super::connect(global).await?;
    let map = TypedMap::describe(&mut services, command.map).await?;
    let keys = command.keys.iter().map(|key| map.key(Some(key))).collect::<Result<Vec<_>, _>>()?;
    let request = ext::DeleteMapEntriesRequest { map: Some(map.wire.clone()), keys: keys.clone() };
    let deleted = services.map_entries.delete_map_entries(request).await?.into_inner().deleted;
    let entries = keys.iter().zip(&deleted);
    let entries = entries.map(|(key, deleted)| DeletedEntry::new(map.shown_key(key), *deleted)).collect();
    answer(global, &DeletedEntries { map_id: map.map.id, entries })?;
    let lacking = keys.iter().zip(&deleted).find(|(_, deleted)| !**deleted && !command.ignore_missing);
    lacking.map_or(Ok(()), |(key, _)| Err(missing(&map, key)))
}
