use std::collections::HashMap as Table;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError};
use bpfman_client::MapAccess;
use bpfman_examples::address::to_words;
use bpfman_examples::failure::Failure;
use bpfman_examples::generation::{self, RuleTexts, clear_table, clear_trie};
use bpfman_examples::mode::Mode;
use bpfman_examples::prefix::Prefix;
use bpfman_examples::source::MapSource;
use bpfman_examples::turn::Turn;

use crate::compile::{Class, Compiled, compile};
use crate::pattern::{KEY_BYTES, Pattern};
use crate::rule::Rule;

pub const MAX_RULES: usize = 4096;
const FAMILY_BITS: u32 = 64;
const MAPPED_BITS: u32 = 96;

#[derive(Clone, Copy, Debug)]
struct Active {
    generation: u32,
    next_name: u32,
}

impl Active {
    fn read(active: &Array<MapData, u64>) -> Result<Self> {
        let word = active.get(&0, 0).context("cannot read which rules are active")?;
        Ok(Self { generation: word as u32, next_name: ((word >> 32) as u32).max(1) })
    }

    fn to_word(self) -> u64 {
        u64::from(self.generation) | u64::from(self.next_name) << 32
    }
}

#[derive(Debug, Default)]
pub struct ActiveRules {
    pub rules: Vec<Rule>,
    pub classes: Table<Pattern, Class>,
}

impl ActiveRules {
    pub fn read(maps: &MapSource) -> Result<Option<Self>> {
        let active = Active::read(&maps.open("active", MapAccess::Read)?)?;
        Self::of(&RuleTexts::new(maps.open("rules", MapAccess::Read)?), active)
    }

    fn of(texts: &RuleTexts, active: Active) -> Result<Option<Self>> {
        if active.generation == 0 {
            return Ok(None);
        }
        let mut found = Self::default();
        for (class, text) in texts.read(active.generation)? {
            let rule: Rule = text.parse().context("the map holds no rule")?;
            if let Some(pattern) = rule.pattern() {
                found.classes.insert(pattern.clone(), Class(class));
            }
            found.rules.push(rule);
        }
        Ok(Some(found))
    }
}

pub struct Guard {
    active: Array<MapData, u64>,
    bounds: Array<MapData, [u32; 2]>,
    resolvers: HashMap<MapData, [u32; 5], u32>,
    prefixes: LpmTrie<MapData, [u32; 6], u32>,
    names: LpmTrie<MapData, [u8; KEY_BYTES], u32>,
    ports: HashMap<MapData, [u32; 3], u32>,
    texts: RuleTexts,
    turn: Turn,
}

impl Guard {
    pub fn open(maps: &MapSource) -> Result<Self> {
        Ok(Self {
            active: maps.open("active", MapAccess::Write)?,
            bounds: maps.open("bounds", MapAccess::Write)?,
            resolvers: maps.open("resolvers", MapAccess::Write)?,
            prefixes: maps.open("prefixes", MapAccess::Write)?,
            names: maps.open("names", MapAccess::Write)?,
            ports: maps.open("ports", MapAccess::Write)?,
            texts: RuleTexts::new(maps.open("rules", MapAccess::Write)?),
            turn: Turn::new(maps.open("writer", MapAccess::Write)?),
        })
    }

    /// Replaces the rules. A name that stays keeps its class, and so its learned addresses. After a failure, the old
    /// rules stay in force.
    pub fn replace(&mut self, rules: &[Rule]) -> Result<()> {
        self.turn.take()?;
        let done = self.replace_alone(rules);
        self.turn.end().and(done)
    }

    pub fn unlock(&mut self) -> Result<()> {
        self.turn.end()
    }

    fn replace_alone(&mut self, rules: &[Rule]) -> Result<()> {
        let now = Active::read(&self.active)?;
        let before = ActiveRules::of(&self.texts, now)?.unwrap_or_default();
        let mut next = Active { generation: generation::after(now.generation), ..now };
        let mut classes = before.classes;
        for pattern in rules.iter().filter_map(Rule::pattern) {
            if !classes.contains_key(pattern) {
                classes.insert(pattern.clone(), Class::of_name(next.next_name));
                next.next_name += 1;
            }
        }
        let compiled = compile(rules, &classes)?;
        self.clear_all_but(now.generation).context("cannot clear what is not in use")?;
        self.write(next.generation, rules, &classes, &compiled)?;
        self.active.set(0, next.to_word(), 0).context("cannot put the rules in force")?;
        generation::wait_for_packets();
        self.clear_all_but(next.generation)
            .context("the rules are in force, but the old ones cannot be cleared")
    }

    fn write(
        &mut self,
        generation: u32,
        rules: &[Rule],
        classes: &Table<Pattern, Class>,
        compiled: &Compiled,
    ) -> Result<()> {
        let bounds = [compiled.bounds.least, compiled.bounds.most];
        self.bounds.set(generation & 1, bounds, 0).context("cannot write the bounds of TTLs")?;
        for address in &compiled.resolvers {
            let [a, b, c, d] = to_words(*address);
            let key = [generation, a, b, c, d];
            self.resolvers.insert(key, 1, 0).with_context(|| format!("cannot write resolver {address}"))?;
        }
        for (prefix, class) in &compiled.prefixes {
            let (family, address, length) = match *prefix {
                Prefix::V4(address, length) => (4, IpAddr::V4(address), MAPPED_BITS + length),
                Prefix::V6(address, length) => (6, IpAddr::V6(address), length),
            };
            let [a, b, c, d] = to_words(address);
            let key = Key::new(FAMILY_BITS + length, [generation, family, a, b, c, d]);
            self.prefixes
                .insert(&key, class.0, 0)
                .with_context(|| format!("cannot write prefix {prefix}"))?;
        }
        for (pattern, class) in &compiled.names {
            let (length, key) = pattern.to_key(generation);
            let key = Key::new(length, key);
            self.names.insert(&key, class.0, 0).with_context(|| format!("cannot write name {pattern}"))?;
        }
        for (class, service) in &compiled.ports {
            let key = [generation, class.0, service.to_word()];
            self.ports.insert(key, 1, 0).context("cannot write a rule's ports")?;
        }
        let class_of =
            |rule: &Rule| rule.pattern().and_then(|pattern| classes.get(pattern)).map_or(0, |class| class.0);
        self.texts.write(generation, rules.iter().map(|rule| (class_of(rule), rule.to_string())))
    }

    fn clear_all_but(&mut self, generation: u32) -> Result<(), MapError> {
        let stays = generation.to_ne_bytes();
        clear_table(&mut self.resolvers, |key| key[0] != generation)?;
        clear_table(&mut self.ports, |key| key[0] != generation)?;
        self.texts.clear_all_but(generation)?;
        clear_trie(&mut self.prefixes, |key| key[0] != generation)?;
        clear_trie(&mut self.names, |key| !key.starts_with(&stays))
    }
}

pub fn mode(maps: &MapSource) -> Result<Mode> {
    let mode: Array<MapData, u32> = maps.open("mode", MapAccess::Read)?;
    Ok(Mode::of_word(mode.get(&0, 0).context("cannot read the mode")?.into()))
}

pub fn set_mode(maps: &MapSource, wanted: Mode) -> Result<()> {
    let mut mode: Array<MapData, u32> = maps.open("mode", MapAccess::Write)?;
    if wanted == Mode::Enforce && ActiveRules::read(maps)?.is_none() {
        return Err(Failure::invalid("there are no rules to enforce", "`apply FILE` first").into());
    }
    mode.set(0, wanted as u32, 0).context("cannot write the mode")
}
