//! Compilation of rules to lookup tables. The number of lookups per packet does not depend on the number of rules.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use bpfman_examples::failure::Failure;
use bpfman_examples::prefix::Prefix;

use crate::list::MAX_RULES;
use crate::rule::{Action, Direction, Rule};
use crate::search::Search;

const NO_RULE: u32 = u32::MAX;
const MAX_PREFIXES: usize = 262_144;
const ANY_PROTOCOL: u16 = u16::MAX;
const LOOK_PROTOCOL: u32 = 0x01;
const LOOK_PORT: u32 = 0x02;
const LOOK_ALL: u32 = 0x04;
const LOOK_ONE: u32 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Detail {
    pub class: u32,
    pub protocol: u16,
    pub port: u16,
}

#[derive(Clone, Copy, Debug)]
pub struct Class {
    pub plain: Option<usize>,
    pub number: u32,
    pub looks: u32,
    pub one: Option<(Detail, usize)>,
}

#[derive(Debug, Default)]
pub struct Compiled {
    pub looks: u32,
    pub searches: Searches,
    pub prefixes: Vec<(Direction, Prefix, Class)>,
    pub details: Vec<(Detail, usize)>,
}

#[derive(Debug, Default)]
pub struct Searches {
    pub v4: [Search; 2],
    pub v6: [Search; 2],
}

impl Searches {
    fn new<'a>(prefixes: impl Iterator<Item = &'a (Direction, Prefix)>) -> Self {
        let mut lengths = [const { [const { BTreeMap::new() }; 2] }; 2];
        for (direction, prefix) in prefixes {
            let family = usize::from(matches!(prefix, Prefix::V6(..)));
            *lengths[family][*direction as usize].entry(prefix.length()).or_default() += 1;
        }
        let [v4, v6] = lengths;
        Self {
            v4: v4.map(|lengths| Search::over_v4(&lengths)),
            v6: v6.map(|lengths| Search::over_v6(&lengths)),
        }
    }

    pub const fn of(&self, direction: Direction, prefix: Prefix) -> &Search {
        match prefix {
            Prefix::V4(..) => &self.v4[direction as usize],
            Prefix::V6(..) => &self.v6[direction as usize],
        }
    }
}

#[derive(Clone, Default)]
struct First {
    plain: Option<usize>,
    protocols: BTreeMap<u8, usize>,
    ports: BTreeMap<(u8, u16), usize>,
}

impl First {
    fn add(&mut self, number: usize, rule: &Rule) {
        let keep = |first: &mut usize| *first = number.min(*first);
        match (rule.matches.protocol, rule.matches.port) {
            (Some(protocol), Some(port)) => {
                self.ports.entry((protocol.0, port.get())).and_modify(keep).or_insert(number);
            }
            (Some(protocol), None) => {
                self.protocols.entry(protocol.0).and_modify(keep).or_insert(number);
            }
            (None, _) => self.plain = Some(self.plain.map_or(number, |first| first.min(number))),
        }
    }

    /// Returns the entries of a class. The program uses only the first entry that it finds, and looks up those
    /// with a port first: such an entry therefore names an earlier rule without a port, if there is one.
    fn details(&self, class: u32) -> impl Iterator<Item = (Detail, usize)> {
        let least = |numbers: [Option<usize>; 3]| numbers.into_iter().flatten().min();
        let protocols = self.protocols.iter().filter_map(move |(protocol, number)| {
            let key = Detail { class, protocol: (*protocol).into(), port: 0 };
            Some((key, least([Some(*number), self.plain, None])?))
        });
        let ports = self.ports.iter().filter_map(move |((protocol, port), number)| {
            let key = Detail { class, protocol: (*protocol).into(), port: *port };
            Some((key, least([Some(*number), self.plain, self.protocols.get(protocol).copied()])?))
        });
        protocols.chain(ports)
    }

    fn looks(&self) -> u32 {
        let bit = |there: bool, bit: u32| if there { bit } else { 0 };
        bit(!self.protocols.is_empty(), LOOK_PROTOCOL) | bit(!self.ports.is_empty(), LOOK_PORT)
    }
}

impl Class {
    const NOTHING: Self = Self { plain: None, number: 0, looks: 0, one: None };

    pub fn to_value(self, rules: &[(Rule, u32)]) -> [u32; 7] {
        let [plain, plain_counter] = decision(rules, self.plain);
        let [one, one_counter] = decision(rules, self.one.map(|(_, number)| number));
        let matches = self.one.map_or([0, 0], |(detail, _)| [detail.protocol, detail.port]);
        let [[a, b], [c, d]] = matches.map(u16::to_ne_bytes);
        let matches = u32::from_ne_bytes([a, b, c, d]);
        [plain, plain_counter, self.number, self.looks, matches, one, one_counter]
    }
}

/// Compiles rules to maps. A rule of a wider prefix may come first, so the class of a prefix includes those rules.
pub fn compile(rules: &[Rule]) -> Result<Compiled> {
    let mut everywhere = First::default();
    let mut own: BTreeMap<(Direction, Prefix), First> = BTreeMap::new();
    for (number, rule) in rules.iter().enumerate() {
        match rule.matches.prefix {
            None => everywhere.add(number, rule),
            Some(prefix) => own.entry(prefix).or_default().add(number, rule),
        }
    }
    let searches = Searches::new(own.keys());
    let mut compiled = Compiled { looks: everywhere.looks(), searches, ..Compiled::default() };
    compiled.details.extend(everywhere.details(0));
    if let Some(plain) = everywhere.plain {
        compiled.looks |= LOOK_ALL;
        compiled.details.push((Detail { class: 0, protocol: ANY_PROTOCOL, port: 0 }, plain));
    }
    let mut marked = HashSet::new();
    // The order of the map places a prefix after all wider prefixes.
    let mut around: Vec<(Direction, Prefix, First, Class)> = Vec::new();
    for (number, ((direction, prefix), own)) in (1..).zip(own) {
        while around.last().is_some_and(|(other, wider, ..)| *other != direction || !wider.contains(prefix)) {
            around.pop();
        }
        for marker in compiled.searches.of(direction, prefix).markers(prefix) {
            let wider = around.iter().rev().find(|(_, wider, ..)| wider.length() <= marker.length());
            let is_there = wider.is_some_and(|(_, wider, ..)| *wider == marker);
            if !is_there && marked.insert((direction, marker)) {
                compiled.prefixes.push((
                    direction,
                    marker,
                    wider.map_or(Class::NOTHING, |(.., class)| *class),
                ));
            }
        }
        let mut first = around.last().map(|(_, _, first, _)| first.clone()).unwrap_or_default();
        first.plain = [first.plain, own.plain].into_iter().flatten().min();
        for (protocol, rule) in own.protocols {
            first.protocols.entry(protocol).and_modify(|first| *first = rule.min(*first)).or_insert(rule);
        }
        for (port, rule) in own.ports {
            first.ports.entry(port).and_modify(|first| *first = rule.min(*first)).or_insert(rule);
        }
        compiled.looks |= look_at(direction, prefix);
        let mut class = Class { plain: first.plain, number, looks: first.looks(), one: None };
        let details: Vec<(Detail, usize)> = first.details(number).collect();
        match details[..] {
            [one] => (class.looks, class.one) = (LOOK_ONE, Some(one)),
            _ => compiled.details.extend(details),
        }
        compiled.prefixes.push((direction, prefix, class));
        // Stop early, before the entries exhaust memory.
        if compiled.details.len() > MAX_RULES {
            break;
        }
        around.push((direction, prefix, first, class));
    }
    check_capacity(&compiled)?;
    Ok(compiled)
}

fn check_capacity(compiled: &Compiled) -> Result<()> {
    if compiled.details.len() > MAX_RULES {
        return Err(Failure::invalid(
            format!("the rules need more than the {MAX_RULES} entries that there is room for"),
            "nothing was changed; rules with proto count once more for each longer prefix inside of theirs",
        )
        .into());
    }
    for (family, is_v4) in [("IPv4", true), ("IPv6", false)] {
        let of_family =
            |(_, prefix, _): &&(Direction, Prefix, Class)| matches!(prefix, Prefix::V4(..)) == is_v4;
        let entries = compiled.prefixes.iter().filter(of_family).count();
        if entries > MAX_PREFIXES {
            return Err(Failure::invalid(
                format!("the {family} prefixes need {entries} entries, and there is room for {MAX_PREFIXES}"),
                "nothing was changed; prefixes of fewer different lengths need fewer",
            )
            .into());
        }
    }
    Ok(())
}

fn look_at(direction: Direction, prefix: Prefix) -> u32 {
    match (direction, prefix) {
        (Direction::Source, Prefix::V4(..)) => 0x08,
        (Direction::Destination, Prefix::V4(..)) => 0x10,
        (Direction::Source, Prefix::V6(..)) => 0x20,
        (Direction::Destination, Prefix::V6(..)) => 0x40,
    }
}

pub fn decision(rules: &[(Rule, u32)], number: Option<usize>) -> [u32; 2] {
    number.and_then(|number| Some((number, rules.get(number)?))).map_or(
        [NO_RULE, 0],
        |(number, (rule, counter))| {
            [(number as u32) << 1 | u32::from(rule.action == Action::Allow), *counter]
        },
    )
}

#[cfg(test)]
mod tests;
