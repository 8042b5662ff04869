use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues};
use bpfman_client::MapAccess;
use bpfman_examples::control_group;
use bpfman_examples::failure::Failure;
use bpfman_examples::source::MapSource;
use bpfman_examples::turn::Turn;
use rustix::thread::{MembarrierCommand, membarrier};

use crate::compile::{Compiled, Condition, Rules, SET_WORDS, compile, word};
use crate::rule::{Action, Group, MAX_RULES, Rule};

/// Generation, condition, value.
type ValueKey = [u32; 6];
type PathKey = [u8; 256];
type AddressKey = [u32; 5];
/// Action and name, with a terminating zero.
type RawName = [u8; 64];

/// Number of replacements of the rules. The last bit is the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(pub u64);

impl Revision {
    fn generation(self) -> u32 {
        (self.0 & 1) as u32
    }

    fn first_slot(self) -> u32 {
        self.generation() * MAX_RULES as u32
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub action: Action,
}

pub struct Names {
    active: Array<MapData, u64>,
    names: Array<MapData, RawName>,
}

impl Names {
    pub fn open(maps: &MapSource) -> Result<Self> {
        Ok(Self {
            active: maps.open("active", MapAccess::Read)?,
            names: maps.open("names", MapAccess::Read)?,
        })
    }

    pub fn revision(&self) -> Result<Revision> {
        Ok(Revision(self.active.get(&0, 0).context("cannot read which rules are in force")?))
    }

    pub fn of(&self, revision: Revision) -> Result<Option<Vec<Named>>> {
        let mut found = Vec::new();
        for slot in (revision.first_slot()..).take(MAX_RULES) {
            match decode(&self.names.get(&slot, 0).context("cannot read a rule's name")?) {
                Some(named) => found.push(named),
                None => break,
            }
        }
        // Names are written before their revision comes into force, so they did not change.
        Ok((self.revision()? == revision).then_some(found))
    }

    pub fn current(&self) -> Result<(Revision, Vec<Named>)> {
        loop {
            let revision = self.revision()?;
            if let Some(names) = self.of(revision)? {
                return Ok((revision, names));
            }
        }
    }
}

pub fn matches(maps: &MapSource) -> Result<Vec<(Named, u64)>> {
    let (revision, names) = Names::open(maps)?.current()?;
    let matches: PerCpuArray<MapData, u64> = maps.open("matches", MapAccess::Read)?;
    let count = |(slot, named)| {
        let cpus = matches.get(&slot, 0).context("cannot read how often a rule has matched")?;
        Ok((named, cpus.iter().sum()))
    };
    (revision.first_slot()..).zip(names).map(count).collect()
}

fn encode(rule: &Rule) -> RawName {
    let mut raw = [0; 64];
    raw[0] = match rule.action {
        Action::Alert => 1,
        Action::Kill => 2,
        Action::Forbid => 3,
    };
    raw[1..=rule.name.len()].copy_from_slice(rule.name.as_bytes());
    raw
}

fn decode(raw: &RawName) -> Option<Named> {
    let action = match raw[0] {
        1 => Action::Alert,
        2 => Action::Kill,
        3 => Action::Forbid,
        _ => return None,
    };
    let name = raw[1..].split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Named { name: String::from_utf8_lossy(name).into_owned(), action })
}

pub struct Tables {
    active: Array<MapData, u64>,
    sets: Array<MapData, [u64; SET_WORDS]>,
    values: HashMap<MapData, ValueKey, Rules>,
    paths: LpmTrie<MapData, PathKey, Rules>,
    destinations: LpmTrie<MapData, AddressKey, Rules>,
    names: Array<MapData, RawName>,
    matches: PerCpuArray<MapData, u64>,
    turn: Turn,
}

impl Tables {
    pub fn open(maps: &MapSource) -> Result<Self> {
        Ok(Self {
            active: maps.open("active", MapAccess::Write)?,
            sets: maps.open("sets", MapAccess::Write)?,
            values: maps.open("values", MapAccess::Write)?,
            paths: maps.open("paths", MapAccess::Write)?,
            destinations: maps.open("destinations", MapAccess::Write)?,
            names: maps.open("names", MapAccess::Write)?,
            matches: maps.open("matches", MapAccess::Write)?,
            turn: Turn::new(maps.open("writer", MapAccess::Write)?),
        })
    }

    /// Replaces all rules. On failure, such as while another writer is active, the old rules stay in force.
    pub fn replace(&mut self, rules: &[Rule]) -> Result<Revision> {
        let compiled = compile(rules);
        let groups = group_ids(&compiled)?;
        self.turn.take()?;
        let done = self.replace_alone(rules, &compiled, &groups);
        self.turn.end().and(done)
    }

    pub fn unlock(&mut self) -> Result<()> {
        self.turn.end()
    }

    fn replace_alone(
        &mut self,
        rules: &[Rule],
        compiled: &Compiled,
        groups: &[(u64, Rules)],
    ) -> Result<Revision> {
        let now = self.active.get(&0, 0).context("cannot read which rules are in force")?;
        let next = Revision(now + 1);
        // Programs may still use the generation before the current one: wait until they have finished.
        // It refuses the barrier on CPUs without a tick; no program there runs as long as this process took to start.
        let _refused = membarrier(MembarrierCommand::Global);
        self.clear(next).context("cannot clear the generation that is not in use")?;
        self.fill(next, compiled, groups)?;
        let none = [0; 64];
        for (number, slot) in (next.first_slot()..).take(MAX_RULES).enumerate() {
            let name = rules.get(number).map_or(none, encode);
            self.names.set(slot, name, 0).context("cannot write a rule's name")?;
            let cpus = self.matches.get(&slot, 0).context("cannot read a rule's count")?.len();
            let counts = PerCpuValues::try_from(vec![0; cpus]).context("cannot clear a rule's count")?;
            self.matches.set(slot, counts, 0).context("cannot clear a rule's count")?;
        }
        let set = compiled.set.to_words();
        self.sets.set(next.generation(), set, 0).context("cannot write the rules' conditions")?;
        self.active.set(0, next.0, 0).context("cannot put the rules in force")?;
        Ok(next)
    }

    fn fill(&mut self, next: Revision, compiled: &Compiled, groups: &[(u64, Rules)]) -> Result<()> {
        let groups = groups.iter().map(|(id, rules)| (Condition::Cgroup, word(*id), *rules));
        for (condition, value, rules) in compiled.values.iter().copied().chain(groups) {
            let mut key = [next.generation(), condition as u32, 0, 0, 0, 0];
            fill_words(&mut key[2..], &value);
            self.values.insert(key, rules, 0).context("cannot write a value of a condition")?;
        }
        for (path, rules) in &compiled.paths {
            let mut data = [0; 256];
            data[..4].copy_from_slice(&next.generation().to_ne_bytes());
            let text = path.0.as_bytes();
            data[4..4 + text.len()].copy_from_slice(text);
            // A file path ends with a terminating zero, a directory without one.
            let bytes = if path.0.ends_with('/') { text.len() } else { text.len() + 1 };
            let key = Key::new(32 + 8 * bytes as u32, data);
            self.paths.insert(&key, rules, 0).with_context(|| format!("cannot write the path {}", path.0))?;
        }
        for (address, length, rules) in &compiled.destinations {
            let mut data = [next.generation(), 0, 0, 0, 0];
            fill_words(&mut data[1..], address);
            let key = Key::new(32 + length, data);
            self.destinations.insert(&key, rules, 0).context("cannot write a destination")?;
        }
        Ok(())
    }

    fn clear(&mut self, next: Revision) -> Result<(), MapError> {
        let generation = next.generation();
        for key in self.values.keys().collect::<Result<Vec<_>, _>>()? {
            if key[0] == generation {
                self.values.remove(&key)?;
            }
        }
        for key in self.paths.keys().collect::<Result<Vec<_>, _>>()? {
            if key.data()[..4] == generation.to_ne_bytes() {
                self.paths.remove(&key)?;
            }
        }
        for key in self.destinations.keys().collect::<Result<Vec<_>, _>>()? {
            if key.data()[0] == generation {
                self.destinations.remove(&key)?;
            }
        }
        Ok(())
    }
}

fn fill_words(words: &mut [u32], bytes: &[u8; 16]) {
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
}

fn group_ids(compiled: &Compiled) -> Result<Vec<(u64, Rules)>> {
    if compiled.groups.is_empty() {
        return Ok(Vec::new());
    }
    let root = control_group::mount_point()?.ok_or_else(|| {
        Failure::invalid("this machine mounts no cgroups of version 2", "rules with `cgroup` need them")
    })?;
    let id = |(group, rules): &(Group, Rules)| {
        let folder = format!("{}{}", root.display(), group.0);
        let metadata = std::fs::metadata(&folder).map_err(|error| {
            Failure::not_found(
                format!("the cgroup {} is not there: {folder}: {error}", group.0),
                "nothing was changed; rules know a group by its folder's number: make it first",
            )
        })?;
        Ok((metadata.ino(), *rules))
    };
    compiled.groups.iter().map(id).collect()
}
