use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use anyhow::Result;
use bpfman_examples::failure::Failure;
use bpfman_examples::prefix::Prefix;
use bpfman_examples::service::Service;

use crate::pattern::Pattern;
use crate::rule::{Bounds, Destination, Rule};

const MAX_RESOLVERS: usize = 128;
const MAX_PORTS: usize = 32_768;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub u32);

impl Class {
    /// Names keep classes with this bit (`NAME_CLASS`) from one generation to the next.
    const OF_NAMES: u32 = 0x8000_0000;

    pub fn of_name(number: u32) -> Self {
        Self(Self::OF_NAMES | number)
    }
}

#[derive(Debug, Default)]
pub struct Compiled {
    pub resolvers: BTreeSet<IpAddr>,
    pub bounds: Bounds,
    pub prefixes: Vec<(Prefix, Class)>,
    pub names: Vec<(Pattern, Class)>,
    pub ports: Vec<(Class, Service)>,
}

pub fn compile(rules: &[Rule], classes: &HashMap<Pattern, Class>) -> Result<Compiled> {
    let mut compiled = Compiled::default();
    let mut bounded = false;
    let mut prefixes: BTreeMap<Prefix, Vec<Service>> = BTreeMap::new();
    let mut names: BTreeMap<&Pattern, Vec<Service>> = BTreeMap::new();
    for rule in rules {
        match rule {
            Rule::Resolver(address) => {
                compiled.resolvers.insert(*address);
            }
            Rule::Ttl(_) if bounded => {
                return Err(Failure::invalid(
                    "two rules are about ttl",
                    "nothing was changed; one is enough",
                )
                .into());
            }
            Rule::Ttl(bounds) => (compiled.bounds, bounded) = (*bounds, true),
            Rule::Ask(pattern) => {
                names.entry(pattern).or_default();
            }
            Rule::Allow(Destination::Prefix(prefix), service) => {
                prefixes.entry(*prefix).or_default().push(*service)
            }
            Rule::Allow(Destination::Name(pattern), service) => {
                names.entry(pattern).or_default().push(*service)
            }
        }
    }
    // A packet matches only the longest prefix, so each prefix includes what wider prefixes allow.
    for ((prefix, _), number) in prefixes.iter().zip(1..) {
        compiled.prefixes.push((*prefix, Class(number)));
        let around = prefixes.iter().filter(|(wider, _)| wider.contains(*prefix));
        compiled.add_ports(Class(number), around.flat_map(|(_, services)| services));
    }
    for pattern in names.keys() {
        let class = classes.get(*pattern).copied().unwrap_or(Class(0));
        compiled.names.push(((*pattern).clone(), class));
        let around = names.iter().filter(|(wider, _)| wider.covers(pattern));
        compiled.add_ports(class, around.flat_map(|(_, services)| services));
    }
    check("resolvers", compiled.resolvers.len(), MAX_RESOLVERS)?;
    check("ports of prefixes and names", compiled.ports.len(), MAX_PORTS)?;
    Ok(compiled)
}

impl Compiled {
    fn add_ports<'a>(&mut self, class: Class, services: impl Iterator<Item = &'a Service>) {
        let mut services: Vec<Service> = services.copied().collect();
        services.sort();
        services.dedup();
        self.ports.extend(services.into_iter().map(|service| (class, service)));
    }
}

fn check(what: &str, count: usize, most: usize) -> Result<()> {
    if count > most {
        let message = format!("there is room for {most} {what}, and not for {count}");
        return Err(Failure::invalid(
            message,
            "nothing was changed; fewer rules for nested prefixes take less",
        )
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(text: &str) -> Compiled {
        let rules: Vec<Rule> = text.lines().map(|line| line.parse().unwrap()).collect();
        let classes =
            rules.iter().filter_map(Rule::pattern).cloned().zip((1..).map(Class::of_name)).collect();
        compile(&rules, &classes).unwrap()
    }

    fn ports(compiled: &Compiled, class: Class) -> Vec<String> {
        let own = compiled.ports.iter().filter(|(other, _)| *other == class);
        own.map(|(_, service)| service.to_string()).collect()
    }

    #[test]
    fn a_longer_prefix_has_the_ports_of_those_around_it() {
        let compiled = compiled(
            "allow dst 10.0.0.0/8 proto tcp dport 443\nallow dst 10.1.0.0/16 proto udp\n\
             allow dst 10.1.0.0/16 proto tcp dport 443\nallow dst 11.0.0.0/8",
        );
        let of = |prefix: &str| {
            let prefix: Prefix = prefix.parse().unwrap();
            ports(&compiled, compiled.prefixes.iter().find(|(other, _)| *other == prefix).unwrap().1)
        };
        assert_eq!(of("10.0.0.0/8"), [" proto tcp dport 443"]);
        assert_eq!(of("10.1.0.0/16"), [" proto tcp dport 443", " proto udp"]);
        assert_eq!(of("11.0.0.0/8"), [""]);
    }

    #[test]
    fn name_inherits_wildcard_ports_and_an_ask_only_name_has_none() {
        let compiled = compiled(
            "allow name *.example.com proto tcp dport 443\nallow name a.example.com proto udp\nask *.local",
        );
        let of = |name: &str| {
            let name: Pattern = name.parse().unwrap();
            ports(&compiled, compiled.names.iter().find(|(other, _)| *other == name).unwrap().1)
        };
        assert_eq!(of("a.example.com"), [" proto tcp dport 443", " proto udp"]);
        assert_eq!(of("*.example.com"), [" proto tcp dport 443"]);
        assert!(of("*.local").is_empty());
    }
}
