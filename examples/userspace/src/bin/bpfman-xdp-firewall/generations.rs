use std::collections::{HashMap as Table, HashSet};
use std::hash::Hash;

use anyhow::{Context, Result};
use aya::Pod;
use aya::maps::{Array, HashMap, MapData, MapError};
use bpfman_client::MapAccess;
use bpfman_examples::count::{Count, RawCount};
use bpfman_examples::generation::{clear_table, wait_for_packets};
use bpfman_examples::source::MapSource;
use bpfman_examples::turn::Turn;

use crate::compile::{Searches, compile};
use crate::contents::{ClassValue, Contents, DetailKey, KeyV4, KeyV6};
use crate::list::MAX_RULES;
use crate::rule::Rule;

const COUNTERS: u32 = 262_144;
const RULES_OF_PAGE: usize = 128;

type Page = [u8; 32 * RULES_OF_PAGE];
type Filling = [u64; 2];

struct Generation {
    v4: HashMap<MapData, KeyV4, ClassValue>,
    v6: HashMap<MapData, KeyV6, ClassValue>,
    details: HashMap<MapData, DetailKey, [u32; 2]>,
    rules: Array<MapData, Page>,
}

pub struct Firewall {
    active: Array<MapData, u64>,
    generations: [Generation; 2],
    searches_v4: Array<MapData, [u8; 512]>,
    searches_v6: Array<MapData, [u8; 5120]>,
    fillings: Array<MapData, Filling>,
    counters: Array<MapData, RawCount>,
    turn: Turn,
}

pub struct Replaced {
    pub added: usize,
    pub removed: usize,
    pub kept: usize,
}

fn current(maps: &MapSource) -> Result<Vec<(Rule, u32)>> {
    let now = read_active(&maps.open("active", MapAccess::Read)?)?;
    read_rules(&maps.open(&format!("rules_{}", now & 1), MapAccess::Read)?, now >> 32)
}

fn read_active(active: &Array<MapData, u64>) -> Result<u64> {
    active.get(&0, 0).context("cannot read which rules are active")
}

fn read_rules(rules: &Array<MapData, Page>, count: u64) -> Result<Vec<(Rule, u32)>> {
    let count = count as usize;
    // The map's count is not trusted: reading ends at the last page.
    let mut read = Vec::with_capacity(count.min(MAX_RULES));
    for (number, _) in (0..).zip((0..count).step_by(RULES_OF_PAGE)) {
        let page =
            rules.get(&number, 0).with_context(|| format!("cannot read page {number} of the rules"))?;
        for bytes in page.as_chunks().0.iter().take(count - read.len()) {
            read.push(
                Rule::from_bytes(bytes)
                    .with_context(|| format!("the map holds no rule at {}", read.len()))?,
            );
        }
    }
    Ok(read)
}

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

pub fn active_rules(maps: &MapSource) -> Result<Vec<Rule>> {
    Ok(current(maps)?.into_iter().map(|(rule, _)| rule).collect())
}

impl Firewall {
    pub fn open(maps: &MapSource) -> Result<Self> {
        let generation = |number: usize| -> Result<Generation> {
            let name = |map: &str| format!("{map}_{number}");
            Ok(Generation {
                v4: maps.open(&name("prefixes_v4"), MapAccess::Write)?,
                v6: maps.open(&name("prefixes_v6"), MapAccess::Write)?,
                details: maps.open(&name("details"), MapAccess::Write)?,
                rules: maps.open(&name("rules"), MapAccess::Write)?,
            })
        };
        Ok(Self {
            active: maps.open("active", MapAccess::Write)?,
            generations: [generation(0)?, generation(1)?],
            searches_v4: maps.open("searches_v4", MapAccess::Write)?,
            searches_v6: maps.open("searches_v6", MapAccess::Write)?,
            fillings: maps.open("fillings", MapAccess::Write)?,
            counters: maps.open("counters", MapAccess::Write)?,
            turn: Turn::new(maps.open("writer", MapAccess::Write)?),
        })
    }

    /// Replaces the rules. A rule that stays keeps its counter. On failure, the old rules stay in force.
    pub fn replace<T>(
        &mut self,
        change: impl FnOnce(&[Rule]) -> Result<(Option<Vec<Rule>>, T)>,
    ) -> Result<(Option<Replaced>, T)> {
        self.turn.take()?;
        let done = self.replace_alone(change);
        self.unlock().and(done)
    }

    pub fn unlock(&mut self) -> Result<()> {
        self.turn.end()
    }

    fn replace_alone<T>(
        &mut self,
        change: impl FnOnce(&[Rule]) -> Result<(Option<Vec<Rule>>, T)>,
    ) -> Result<(Option<Replaced>, T)> {
        let now = read_active(&self.active)?;
        let old = read_rules(&self.generations[(now & 1) as usize].rules, now >> 32)?;
        let (new, answer) = change(&old.iter().map(|(rule, _)| *rule).collect::<Vec<_>>())?;
        let Some(new) = new else { return Ok((None, answer)) };
        let compiled = compile(&new)?;
        let (new, fresh) = with_counters(&old, new);
        wait_for_packets();
        let next = (now & 1) ^ 1;
        for counter in &fresh {
            self.counters.set(*counter, [0, 0], 0).context("cannot clear a counter")?;
        }
        self.write_searches(next as u32, &compiled.searches)
            .context("cannot write the lengths of prefixes")?;
        self.fill(next as u32, &new, &Contents::new(&new, &compiled))?;
        let active = next | u64::from(compiled.looks) << 1 | (new.len() as u64) << 32;
        self.active.set(0, active, 0).context("cannot put the rules in force")?;
        let kept = new.len() - fresh.len();
        Ok((Some(Replaced { added: fresh.len(), removed: old.len() - kept, kept }), answer))
    }

    fn write_searches(&mut self, generation: u32, searches: &Searches) -> Result<(), MapError> {
        for (number, (v4, v6)) in (2 * generation..).zip(searches.v4.iter().zip(&searches.v6)) {
            self.searches_v4.set(number, v4.to_v4(), 0)?;
            self.searches_v6.set(number, v6.to_v6(), 0)?;
        }
        Ok(())
    }

    /// Fills a generation, except entries that it has: most rules are the same as two generations ago.
    fn fill(&mut self, generation: u32, rules: &[(Rule, u32)], wanted: &Contents) -> Result<()> {
        let filling = self.fillings.get(&generation, 0).context("cannot read what a generation holds")?;
        let maps = &mut self.generations[generation as usize];
        let held = maps.held(filling);
        // Mark the contents as unknown until the generation is complete.
        self.fillings.set(generation, [0, 0], 0).context("cannot begin to fill a generation")?;
        let held = match held {
            Some(held) => held,
            None => {
                maps.clear().context("cannot clear the generation that is not in use")?;
                Contents::default()
            }
        };
        change(&mut maps.v4, &held.v4, &wanted.v4).context("cannot write the prefixes of IPv4")?;
        change(&mut maps.v6, &held.v6, &wanted.v6).context("cannot write the prefixes of IPv6")?;
        change(&mut maps.details, &held.details, &wanted.details).context("cannot write a rule's ports")?;
        maps.write_rules(rules)?;
        self.fillings
            .set(generation, [rules.len() as u64, wanted.sum()], 0)
            .context("cannot say what a generation holds")
    }
}

fn with_counters(old: &[(Rule, u32)], new: Vec<Rule>) -> (Vec<(Rule, u32)>, Vec<u32>) {
    let places: Table<Rule, u32> = old.iter().copied().collect();
    let taken: HashSet<u32> = places.values().copied().collect();
    let mut free = (0..COUNTERS).filter(|place| !taken.contains(place));
    let mut fresh = Vec::new();
    let rules = new
        .into_iter()
        .map(|rule| {
            let place = places.get(&rule).copied().unwrap_or_else(|| {
                // An index is always free: there are twice as many counters as rules.
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
    fn held(&self, [count, sum]: Filling) -> Option<Contents> {
        if sum == 0 {
            return None;
        }
        let rules = read_rules(&self.rules, count).ok()?;
        let compiled = compile(&rules.iter().map(|(rule, _)| *rule).collect::<Vec<_>>()).ok()?;
        Some(Contents::new(&rules, &compiled)).filter(|contents| contents.sum() == sum)
    }

    fn clear(&mut self) -> Result<(), MapError> {
        clear_table(&mut self.v4, |_| true)?;
        clear_table(&mut self.v6, |_| true)?;
        clear_table(&mut self.details, |_| true)
    }

    fn write_rules(&mut self, rules: &[(Rule, u32)]) -> Result<()> {
        for (number, rules) in (0..).zip(rules.chunks(RULES_OF_PAGE)) {
            let mut page: Page = [0; _];
            for (place, (rule, counter)) in page.as_chunks_mut().0.iter_mut().zip(rules) {
                *place = rule.to_bytes(*counter);
            }
            let written = self.rules.set(number, page, 0);
            written.with_context(|| format!("cannot write page {number} of the rules"))?;
        }
        Ok(())
    }
}

fn change<K: Pod + Eq + Hash, V: Pod + Eq>(
    table: &mut HashMap<MapData, K, V>,
    held: &Table<K, V>,
    wanted: &Table<K, V>,
) -> Result<(), MapError> {
    held.keys().filter(|key| !wanted.contains_key(key)).try_for_each(|key| table.remove(key))?;
    let differs = |(key, value): &(&K, &V)| held.get(key) != Some(value);
    wanted.iter().filter(differs).try_for_each(|(key, value)| table.insert(key, value, 0))
}
