//! The firewall's two generations of maps: what packets meet now, and the one that is filled next.

use std::collections::{HashMap as Table, HashSet};

use anyhow::{Context, Result};
use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError};
use bpfman_client::MapAccess;
use bpfman_examples::count::{Count, RawCount};
use bpfman_examples::generation::wait_for_packets;
use bpfman_examples::prefix::Prefix;
use bpfman_examples::source::MapSource;
use bpfman_examples::turn::Turn;

use crate::compile::{Compiled, compile, decision};
use crate::rule::{Direction, Rule};
use crate::shape::Shape;

/// Places in `counters`.
const COUNTERS: u32 = 262_144;

type DetailKey = [u16; 4];
/// Two halves of an address, length and direction.
type ExactKey = [u16; 4];

struct Generation {
    v4: LpmTrie<MapData, [u32; 2], [u32; 7]>,
    exact: HashMap<MapData, ExactKey, [u32; 7]>,
    v6: LpmTrie<MapData, [u32; 5], [u32; 7]>,
    details: HashMap<MapData, DetailKey, [u32; 2]>,
    rules: Array<MapData, [u8; 32]>,
}

/// The maps for who writes.
pub struct Firewall {
    active: Array<MapData, u64>,
    generations: [Generation; 2],
    shapes: Array<MapData, [u8; 8]>,
    counters: Array<MapData, RawCount>,
    turn: Turn,
}

/// What replacing the rules did.
pub struct Replaced {
    pub added: usize,
    pub removed: usize,
    pub kept: usize,
}

/// The rules that packets meet now, each with the place of its counter; by descriptors that cannot write.
fn current(maps: &MapSource) -> Result<Vec<(Rule, u32)>> {
    let now = read_active(&maps.open("active", MapAccess::Read)?)?;
    read_rules(&maps.open(&format!("rules_{}", now & 1), MapAccess::Read)?, now)
}

fn read_active(active: &Array<MapData, u64>) -> Result<u64> {
    active.get(&0, 0).context("cannot read which rules are active")
}

fn read_rules(rules: &Array<MapData, [u8; 32]>, now: u64) -> Result<Vec<(Rule, u32)>> {
    let read = |number: u32| {
        let bytes = rules.get(&number, 0).with_context(|| format!("cannot read rule {number}"))?;
        Rule::from_bytes(&bytes).with_context(|| format!("the map holds no rule at {number}"))
    };
    (0..(now >> 32) as u32).map(read).collect()
}

/// The rules that packets meet now, with what each has matched; by descriptors that cannot write.
///
/// # Errors
/// A map cannot be had or read.
pub fn counted(maps: &MapSource) -> Result<Vec<(Rule, Count)>> {
    let rules = current(maps)?;
    let counters: Array<MapData, RawCount> = maps.open("counters", MapAccess::Read)?;
    let count = |(rule, counter): (Rule, u32)| {
        let count =
            counters.get(&counter, 0).with_context(|| format!("cannot read the counter of `{rule}`"))?;
        Ok((rule, count.into()))
    };
    rules.into_iter().map(count).collect()
}

/// The rules that packets meet now.
///
/// # Errors
/// A map cannot be had or read.
pub fn active_rules(maps: &MapSource) -> Result<Vec<Rule>> {
    Ok(current(maps)?.into_iter().map(|(rule, _)| rule).collect())
}

impl Firewall {
    /// # Errors
    /// A map cannot be had.
    pub fn open(maps: &MapSource) -> Result<Self> {
        let generation = |number: usize| -> Result<Generation> {
            let name = |map: &str| format!("{map}_{number}");
            Ok(Generation {
                v4: maps.open(&name("prefixes_v4"), MapAccess::Write)?,
                exact: maps.open(&name("exact_v4"), MapAccess::Write)?,
                v6: maps.open(&name("prefixes_v6"), MapAccess::Write)?,
                details: maps.open(&name("details"), MapAccess::Write)?,
                rules: maps.open(&name("rules"), MapAccess::Write)?,
            })
        };
        Ok(Self {
            active: maps.open("active", MapAccess::Write)?,
            generations: [generation(0)?, generation(1)?],
            shapes: maps.open("shapes", MapAccess::Write)?,
            counters: maps.open("counters", MapAccess::Write)?,
            turn: Turn::new(maps.open("writer", MapAccess::Write)?),
        })
    }

    /// Puts the rules in force that `change` makes of the present ones, all at once. Nothing happens if it makes none. A
    /// rule that stays keeps its counts.
    ///
    /// # Errors
    /// Somebody else is writing; those of `change`; a map cannot be written: packets meet the old rules then.
    pub fn replace<T>(
        &mut self,
        change: impl FnOnce(&[Rule]) -> Result<(Option<Vec<Rule>>, T)>,
    ) -> Result<(Option<Replaced>, T)> {
        self.turn.take()?;
        let done = self.replace_alone(change);
        self.unlock().and(done)
    }

    /// Lets others write, whoever was writing.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn unlock(&mut self) -> Result<()> {
        self.turn.end()
    }

    fn replace_alone<T>(
        &mut self,
        change: impl FnOnce(&[Rule]) -> Result<(Option<Vec<Rule>>, T)>,
    ) -> Result<(Option<Replaced>, T)> {
        let now = read_active(&self.active)?;
        let old = read_rules(&self.generations[(now & 1) as usize].rules, now)?;
        let (new, answer) = change(&old.iter().map(|(rule, _)| *rule).collect::<Vec<_>>())?;
        let Some(new) = new else { return Ok((None, answer)) };
        let compiled = compile(&new)?;
        let (new, fresh) = with_counters(&old, new);
        wait_for_packets();
        let next = (now & 1) ^ 1;
        for counter in &fresh {
            self.counters.set(*counter, [0, 0], 0).context("cannot clear a counter")?;
        }
        let shape = Shape::of(&compiled);
        self.shapes.set(next as u32, shape.to_bytes(), 0).context("cannot write the lengths of prefixes")?;
        self.generations[next as usize].fill(&new, &compiled, &shape)?;
        let active = next | u64::from(compiled.looks) << 1 | (new.len() as u64) << 32;
        self.active.set(0, active, 0).context("cannot put the rules in force")?;
        let kept = new.len() - fresh.len();
        Ok((Some(Replaced { added: fresh.len(), removed: old.len() - kept, kept }), answer))
    }
}

/// Gives every rule a place for its counter: its own where it was there before, else one that none of the old ones has. Those
/// places too.
fn with_counters(old: &[(Rule, u32)], new: Vec<Rule>) -> (Vec<(Rule, u32)>, Vec<u32>) {
    let places: Table<Rule, u32> = old.iter().copied().collect();
    let taken: HashSet<u32> = places.values().copied().collect();
    let mut free = (0..COUNTERS).filter(|place| !taken.contains(place));
    let mut fresh = Vec::new();
    let rules = new
        .into_iter()
        .map(|rule| {
            let place = places.get(&rule).copied().unwrap_or_else(|| {
                // There are twice as many places as rules.
                let place = free.next().unwrap_or_default();
                fresh.push(place);
                place
            });
            (rule, place)
        })
        .collect();
    (rules, fresh)
}

impl Generation {
    fn fill(&mut self, rules: &[(Rule, u32)], compiled: &Compiled, shape: &Shape) -> Result<()> {
        self.clear().context("cannot clear the generation that is not in use")?;
        for (number, (rule, counter)) in (0..).zip(rules) {
            self.rules
                .set(number, rule.to_bytes(*counter), 0)
                .with_context(|| format!("cannot write rule {number}"))?;
        }
        for (direction, prefix, class) in &compiled.prefixes {
            let value = class.to_value(rules);
            let in_trie = shape.is_in_trie(*direction);
            let direction = u32::from(*direction == Direction::Destination);
            match prefix {
                Prefix::V4(address, length) if !in_trie => {
                    let [a, b, c, d] = address.octets();
                    let [high, low] = [[a, b], [c, d]].map(u16::from_ne_bytes);
                    self.exact.insert([high, low, *length as u16, direction as u16], value, 0)
                }
                Prefix::V4(address, length) => {
                    let key = Key::new(32 + length, [direction, u32::from_ne_bytes(address.octets())]);
                    self.v4.insert(&key, value, 0)
                }
                Prefix::V6(address, length) => {
                    let mut data = [direction, 0, 0, 0, 0];
                    for (word, bytes) in data[1..].iter_mut().zip(address.octets().as_chunks().0) {
                        *word = u32::from_ne_bytes(*bytes);
                    }
                    self.v6.insert(&Key::new(32 + length, data), value, 0)
                }
            }
            .with_context(|| format!("cannot write prefix {prefix}"))?;
        }
        for (detail, rule) in &compiled.details {
            let class = detail.class.to_ne_bytes();
            let [low, high] = [[class[0], class[1]], [class[2], class[3]]].map(u16::from_ne_bytes);
            let key = [low, high, detail.protocol, detail.port];
            self.details
                .insert(key, decision(rules, Some(*rule)), 0)
                .context("cannot write a rule's ports")?;
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), MapError> {
        clear_trie(&mut self.v4)?;
        clear_trie(&mut self.v6)?;
        clear_table(&mut self.exact)?;
        clear_table(&mut self.details)
    }
}

fn clear_table<V: Pod>(table: &mut HashMap<MapData, [u16; 4], V>) -> Result<(), MapError> {
    let keys = table.keys().collect::<Result<Vec<_>, _>>()?;
    keys.iter().try_for_each(|key| table.remove(key))
}

fn clear_trie<K: Pod>(trie: &mut LpmTrie<MapData, K, [u32; 7]>) -> Result<(), MapError> {
    let keys = trie.keys().collect::<Result<Vec<_>, _>>()?;
    keys.iter().try_for_each(|key| trie.remove(key))
}
