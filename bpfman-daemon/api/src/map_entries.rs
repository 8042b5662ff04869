//! Service `bpfman.ext.v1.BpfmanMapEntries`: maps as users see them, and single entries.

use bpfman_model::{MapFacts, MapId, Owner, ProgramId, map_type};
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_map_entries_server::BpfmanMapEntries;
use bpfmand_engine::{EngineError, ShownMap, UsedMap, WantedMap};
use bpfmand_kernel::{EntryRule, Kernel, KernelError, MapEntry};
use tonic::{Request, Response, Status};

use crate::authorize::Permit;
use crate::map_contents::most_at_once;
use crate::map_dumps::{self, DumpStream};
use crate::maps::programs_of;
use crate::places::ReadingBounds;
use crate::server::{Api, Reply, fail};
use crate::status::{conflict, invalid, too_large};
use crate::{audit, ext_show};

/// Limits of calls that search all maps, including those that wait for their turn.
pub const MAP_LISTS: ReadingBounds = ReadingBounds { most: 64, most_of_one: 16, working: 2 };
const MAX_KEYS: usize = 1000;
const SHOWN_KEY: usize = 32;

#[tonic::async_trait]
impl<K: Kernel> BpfmanMapEntries for Api<K> {
    async fn list_maps(&self, request: Request<wire::ListMapsRequest>) -> Reply<wire::ListMapsResponse> {
        let program = request.into_inner().program_id.map(ProgramId);
        let permit = self.authorize(&[])?;
        let found =
            self.look_at_maps(&permit, move |api| api.engine.shown_maps(program).map_err(fail)).await?;
        let not_searched = found.not_searched.into_iter().map(|id| id.0).collect();
        let maps = found.maps.into_iter().map(|map| self.description(map)).collect();
        Ok(Response::new(wire::ListMapsResponse { maps, not_searched }))
    }

    async fn describe_map(
        &self,
        request: Request<wire::DescribeMapRequest>,
    ) -> Reply<wire::DescribeMapResponse> {
        let wanted = wanted(request.into_inner().map)?;
        let permit = self.authorize(&[])?;
        let (map, types) = self
            .look_at_maps(&permit, move |api| {
                let map = api.engine.find_shown_map(&wanted).map_err(fail)?;
                let types = api.engine.raw_types_of(&map).map_err(fail)?;
                Ok((api.engine.show_map(&map).map_err(fail)?, types.unwrap_or_default()))
            })
            .await?;
        Ok(Response::new(wire::DescribeMapResponse { map: Some(self.description(map)), types }))
    }

    type DumpMapStream = DumpStream;

    async fn dump_map(&self, request: Request<wire::DumpMapRequest>) -> Reply<Self::DumpMapStream> {
        let (permit, map) = self.authorized_map(request.into_inner().map).await?;
        Ok(Response::new(map_dumps::stream(self.clone(), permit, map).await?))
    }

    async fn get_map_entry(
        &self,
        request: Request<wire::GetMapEntryRequest>,
    ) -> Reply<wire::GetMapEntryResponse> {
        let wire::GetMapEntryRequest { map, key } = request.into_inner();
        let (permit, map) = self.authorized_map(map).await?;
        let value = self
            .read(&permit, move |api| {
                let (details, handle) = api.engine.open_map(&map, false).map_err(fail)?;
                check_place(&details.facts, &key)?;
                most_at_once(api, &details.facts)?;
                api.engine.kernel().map_value(&handle, &key).map_err(refused)
            })
            .await?;
        Ok(Response::new(wire::GetMapEntryResponse { value }))
    }

    async fn set_map_entry(
        &self,
        request: Request<wire::SetMapEntryRequest>,
    ) -> Reply<wire::SetMapEntryResponse> {
        let wire::SetMapEntryRequest { map, key, value, condition } = request.into_inner();
        let rule = match wire::EntryCondition::try_from(condition) {
            Ok(wire::EntryCondition::Any) => EntryRule::Any,
            Ok(wire::EntryCondition::Create) => EntryRule::Create,
            Ok(wire::EntryCondition::Existing) => EntryRule::Existing,
            Err(_) => return Err(invalid(format!("condition {condition} is none that this daemon knows"))),
        };
        let (permit, map) = self.authorized_map(map).await?;
        audit::made(format_args!("entry {}", digits(&key)));
        self.change(&permit, move |api| api.set_entry(&map, MapEntry { key, value }, rule)).await?;
        Ok(Response::new(wire::SetMapEntryResponse {}))
    }

    async fn delete_map_entries(
        &self,
        request: Request<wire::DeleteMapEntriesRequest>,
    ) -> Reply<wire::DeleteMapEntriesResponse> {
        let wire::DeleteMapEntriesRequest { map, keys } = request.into_inner();
        if keys.len() > MAX_KEYS {
            return Err(too_large(format!("{} keys in one call; {MAX_KEYS} at most", keys.len())));
        }
        let (permit, map) = self.authorized_map(map).await?;
        let first = keys.first().map(|key| digits(key)).unwrap_or_default();
        audit::made(format_args!("{} entries deleted, the first {first}", keys.len()));
        let deleted = self
            .change(&permit, move |api| {
                api.engine.ensure_writable(&map).map_err(fail)?;
                let (details, handle) = api.engine.open_map(&map, true).map_err(fail)?;
                // Check all keys before any entry is deleted.
                keys.iter().try_for_each(|key| check_key(&details.facts, key))?;
                let remove = |key: &Vec<u8>| api.engine.kernel().remove_entry(&handle, key).map_err(refused);
                keys.iter().map(remove).collect::<Result<Vec<bool>, Status>>()
            })
            .await?;
        Ok(Response::new(wire::DeleteMapEntriesResponse { deleted }))
    }
}

impl<K: Kernel> Api<K> {
    /// Searches all maps, or the contents of maps of maps. Concurrent searches are limited, in total and per user.
    async fn look_at_maps<T: Send + 'static>(
        &self,
        permit: &Permit,
        look: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = self.map_lists.enter(permit.account)?.turn().await?;
        let look = move |api: &Self| {
            let _turn = turn;
            look(api)
        };
        self.read(permit, look).await
    }

    /// Finds a map, and authorizes the caller for every program that uses it.
    async fn authorized_map(&self, map: Option<wire::NamedMap>) -> Result<(Permit, UsedMap), Status> {
        let wanted = wanted(map)?;
        audit::map(&wanted);
        let found = match self.engine.find_map(&wanted) {
            // The map may be in a map of maps. That search takes time: refuse callers without any permission for maps.
            Err(EngineError::NoMapOfOurs(_)) => {
                let anything = self.authorize(&[])?;
                self.look_at_maps(&anything, move |api| Ok(api.engine.find_map_or_inner(&wanted))).await?
            }
            found => found,
        };
        let users: Vec<(ProgramId, Owner)> = found.iter().flat_map(UsedMap::users).collect();
        // Check permissions before existence: a caller that may use no map learns of none.
        let permit = self.authorize(&programs_of(&users))?;
        Ok((permit, found.map_err(fail)?))
    }

    fn set_entry(&self, map: &UsedMap, entry: MapEntry, rule: EntryRule) -> Result<(), Status> {
        let facts = self.engine.ensure_writable(map).map_err(fail)?;
        check_place(&facts, &entry.key)?;
        let cpus = self.engine.kernel().features().possible_cpus;
        let entry = MapEntry { value: for_all_cpus(&facts, entry.value, cpus), ..entry };
        let (_, handle) = self.engine.open_map(map, true).map_err(fail)?;
        let is_keyless = matches!(facts.map_type, map_type::QUEUE | map_type::STACK);
        match self.engine.kernel().set_entry(&handle, &entry, rule) {
            Ok(true) => Ok(()),
            Ok(false) if rule == EntryRule::Create => Err(conflict(
                &format!("map {} \"{}\" has an entry with this key", map.id(), map.name()),
                "without --create-only it is set",
            )),
            Ok(false) => Err(fail(EngineError::NoMapEntry { map: map.id(), name: map.name().to_owned() })),
            Err(KernelError::Call { source, .. })
                if source.raw_os_error() == Some(E2BIG)
                    || is_keyless && source.kind() == std::io::ErrorKind::ResourceBusy =>
            {
                Err(conflict(
                    &format!("map {} \"{}\" is full: {} entries", map.id(), map.name(), facts.max_entries),
                    "delete some, or load the program with a larger --map-size",
                ))
            }
            Err(error) => Err(refused(error)),
        }
    }

    fn description(&self, map: ShownMap) -> wire::MapDescription {
        let facts = &map.details.facts;
        let per_cpu = map_type::is_per_cpu(facts.map_type);
        wire::MapDescription {
            owners: map.owners.iter().map(ToString::to_string).collect(),
            key_type: map.types.key.unwrap_or_default(),
            value_type: map.types.value.unwrap_or_default(),
            flags: facts.flags,
            frozen: facts.frozen,
            lies_in: map.lies_in.iter().map(|id| id.0).collect(),
            read_only_because: map.read_only_because.unwrap_or_default(),
            cpus: if per_cpu { self.engine.kernel().features().possible_cpus } else { 0 },
            map: Some(ext_show::map(map.details, &self.paths.fs)),
        }
    }
}

/// Error number of a full map, or of an index that a map does not have.
const E2BIG: i32 = 7;

fn wanted(map: Option<wire::NamedMap>) -> Result<WantedMap, Status> {
    use wire::named_map::Map;
    match map.and_then(|map| map.map) {
        Some(Map::MapId(id)) => Ok(WantedMap::Id(MapId(id))),
        Some(Map::OfProgram(wire::MapOfProgram { program_id, name })) => {
            Ok(WantedMap::OfProgram { program: ProgramId(program_id), name })
        }
        None => Err(invalid("the request names no map: give its id, or a program and the map's name")),
    }
}

/// Converts an error about an entry. A map type without such entries is an invalid argument here.
pub fn refused(error: KernelError) -> Status {
    match error {
        KernelError::WrongMap { .. } => invalid(error.to_string()),
        error => fail(error.into()),
    }
}

/// Refuses an index that an array does not have: the kernel's error does not explain it.
fn check_place(facts: &MapFacts, key: &[u8]) -> Result<(), Status> {
    let is_array =
        matches!(facts.map_type, map_type::ARRAY | map_type::PERCPU_ARRAY | map_type::ARRAY_OF_MAPS);
    let place = key.try_into().map(u32::from_ne_bytes).ok().filter(|_| is_array);
    match place.filter(|place| *place >= facts.max_entries) {
        Some(place) => Err(invalid(format!(
            "map {} \"{}\" has no entry {place}: it has 0 to {}",
            facts.id,
            facts.name,
            facts.max_entries.saturating_sub(1)
        ))),
        None => Ok(()),
    }
}

fn check_key(facts: &MapFacts, key: &[u8]) -> Result<(), Status> {
    if key.len() == facts.key_size as usize {
        return check_place(facts, key);
    }
    Err(invalid(format!(
        "key {} has {} bytes, and those of map {} \"{}\" have {}: nothing is deleted",
        digits(key),
        key.len(),
        facts.id,
        facts.name,
        facts.key_size
    )))
}

fn for_all_cpus(facts: &MapFacts, value: Vec<u8>, cpus: u32) -> Vec<u8> {
    if !map_type::is_per_cpu(facts.map_type) || value.len() != facts.value_size as usize {
        return value;
    }
    let mut one = value;
    one.resize(one.len().next_multiple_of(8), 0);
    one.repeat(cpus as usize)
}

fn digits(key: &[u8]) -> String {
    let shown = bpfman_model::hexadecimal(&key[..key.len().min(SHOWN_KEY)]);
    if key.len() > SHOWN_KEY { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(map_type: u32, value_size: u32) -> MapFacts {
        let (id, name) = (MapId(7), "hits".to_owned());
        let (key_size, max_entries, flags, bytes_memlock, frozen) = (4, 2, 0, 0, false);
        MapFacts { id, name, map_type, key_size, value_size, max_entries, flags, bytes_memlock, frozen }
    }

    #[test]
    fn a_place_that_an_array_does_not_have_is_named() {
        let array = facts(map_type::ARRAY, 8);
        assert!(check_place(&array, &1_u32.to_ne_bytes()).is_ok());
        let refused = check_place(&array, &2_u32.to_ne_bytes()).unwrap_err();
        assert_eq!(refused.message(), "map 7 \"hits\" has no entry 2: it has 0 to 1");
        assert!(check_place(&facts(map_type::HASH, 8), &2_u32.to_ne_bytes()).is_ok());
        assert!(check_place(&array, &[1, 2]).is_ok());
    }

    #[test]
    fn one_value_is_for_all_cpus() {
        assert_eq!(
            for_all_cpus(&facts(map_type::PERCPU_HASH, 4), vec![1; 4], 2),
            [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
        );
        assert_eq!(for_all_cpus(&facts(map_type::PERCPU_HASH, 4), vec![2; 16], 2), [2; 16]);
        assert_eq!(for_all_cpus(&facts(map_type::HASH, 4), vec![1; 4], 2), [1; 4]);
    }
}
