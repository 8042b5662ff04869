use std::collections::BTreeSet;
use std::net::IpAddr;

use bpfman_examples::prefix::Prefix;

use crate::rule::{Access, Action, Comm, Conditions, Destination, Event, Group, PathPattern, Rule};

pub type Rules = u64;

/// Order of `enum condition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Comm,
    Parent,
    Uid,
    Cgroup,
    Port,
    Protocol,
    NewUid,
    Gains,
    Destination,
    Path,
}

const CONDITIONS: usize = 10;
const EVENTS: usize = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    of_event: [Rules; EVENTS],
    kill: Rules,
    forbid: Rules,
    asking: [Rules; CONDITIONS],
    otherwise: [Rules; CONDITIONS],
}

pub const SET_WORDS: usize = EVENTS + 2 + 2 * CONDITIONS;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    pub set: Set,
    pub values: Vec<(Condition, [u8; 16], Rules)>,
    pub groups: Vec<(Group, Rules)>,
    pub paths: Vec<(PathPattern, Rules)>,
    pub destinations: Vec<([u8; 16], u32, Rules)>,
}

impl Set {
    pub fn to_words(&self) -> [u64; SET_WORDS] {
        let mut words = [0; SET_WORDS];
        let all =
            self.of_event.iter().chain([&self.kill, &self.forbid]).chain(&self.asking).chain(&self.otherwise);
        for (word, value) in words.iter_mut().zip(all) {
            *word = *value;
        }
        words
    }
}

pub fn compile(rules: &[Rule]) -> Compiled {
    let mut compiled = Compiled::default();
    for (number, rule) in rules.iter().enumerate() {
        let bit = 1 << number;
        let events: &[usize] = match (rule.event, rule.access) {
            (Event::Exec, _) => &[0],
            (Event::Open, Access::Any) => &[1, 2],
            (Event::Open, Access::Write) => &[2],
            (Event::Connect, _) => &[3],
            (Event::Privileges, _) => &[4],
        };
        for event in events {
            compiled.set.of_event[*event] |= bit;
        }
        match rule.action {
            Action::Alert => {}
            Action::Kill => compiled.set.kill |= bit,
            Action::Forbid => compiled.set.forbid |= bit,
        }
    }
    let set = &mut compiled.set;
    let mut values = Vec::new();
    let mut exact = |condition, table: Vec<([u8; 16], Rules)>| {
        values.extend(table.into_iter().map(|(value, rules)| (condition, value, rules)));
    };
    exact(Condition::Comm, equal(set, Condition::Comm, rules, |all| all.comm.iter().map(name).collect()));
    exact(
        Condition::Parent,
        equal(set, Condition::Parent, rules, |all| all.parent.iter().map(name).collect()),
    );
    exact(
        Condition::Uid,
        equal(set, Condition::Uid, rules, |all| all.uid.iter().map(|uid| word(u64::from(*uid))).collect()),
    );
    exact(
        Condition::Port,
        equal(set, Condition::Port, rules, |all| {
            all.port.iter().map(|port| word(u64::from(*port))).collect()
        }),
    );
    exact(
        Condition::Protocol,
        equal(set, Condition::Protocol, rules, |all| {
            all.protocol.iter().map(|one| word(u64::from(one.0))).collect()
        }),
    );
    exact(
        Condition::NewUid,
        equal(set, Condition::NewUid, rules, |all| {
            all.new_uid.iter().map(|uid| word(u64::from(*uid))).collect()
        }),
    );
    exact(
        Condition::Gains,
        equal(set, Condition::Gains, rules, |all| {
            all.gains.iter().map(|one| word(u64::from(one.0))).collect()
        }),
    );
    compiled.values = values;
    let set = &mut compiled.set;
    compiled.groups = table(set, Condition::Cgroup, rules, |all| all.cgroup.clone(), Group::covers);
    compiled.paths = table(set, Condition::Path, rules, |all| all.path.clone(), PathPattern::covers);
    let contains = |one: &Destination, other: &Destination| widened(one.0).contains(widened(other.0));
    compiled.destinations = table(set, Condition::Destination, rules, |all| all.to.clone(), contains)
        .into_iter()
        .map(|(destination, rules)| match widened(destination.0) {
            Prefix::V6(address, length) => (address.octets(), length, rules),
            Prefix::V4(address, length) => (address.to_ipv6_mapped().octets(), length + 96, rules),
        })
        .collect();
    compiled
}

fn equal(
    set: &mut Set,
    condition: Condition,
    rules: &[Rule],
    of: impl Fn(&Conditions) -> Vec<[u8; 16]>,
) -> Vec<([u8; 16], Rules)> {
    table(set, condition, rules, of, |one, other| one == other)
}

/// Returns the rules for each value. They include rules with a wider value or without this condition, because
/// the program looks up only the most specific value.
fn table<V: Ord + Clone>(
    set: &mut Set,
    condition: Condition,
    rules: &[Rule],
    of: impl Fn(&Conditions) -> Vec<V>,
    covers: impl Fn(&V, &V) -> bool,
) -> Vec<(V, Rules)> {
    let asked: Vec<(Vec<V>, Vec<V>)> = rules.iter().map(|rule| (of(&rule.when), of(&rule.unless))).collect();
    let mut all = BTreeSet::new();
    for (number, (when, unless)) in asked.iter().enumerate() {
        let bit = 1 << number;
        all.extend(when.iter().chain(unless).cloned());
        if !when.is_empty() || !unless.is_empty() {
            set.asking[condition as usize] |= bit;
        }
        if when.is_empty() {
            set.otherwise[condition as usize] |= bit;
        }
    }
    all.into_iter()
        .map(|value| {
            let satisfied = |(when, unless): &(Vec<V>, Vec<V>)| {
                (when.is_empty() || when.iter().any(|one| covers(one, &value)))
                    && !unless.iter().any(|one| covers(one, &value))
            };
            let bits = asked.iter().enumerate().filter(|(_, one)| satisfied(one));
            let rules = bits.fold(0, |bits, (number, _)| bits | 1 << number);
            (value, rules)
        })
        .collect()
}

fn widened(prefix: Prefix) -> Prefix {
    match prefix {
        Prefix::V4(address, length) => Prefix::V6(address.to_ipv6_mapped(), length + 96),
        v6 => v6,
    }
}

pub fn narrowed(octets: [u8; 16]) -> IpAddr {
    IpAddr::from(octets).to_canonical()
}

fn name(comm: &Comm) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..comm.0.len()].copy_from_slice(comm.0.as_bytes());
    bytes
}

pub fn word(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests;
