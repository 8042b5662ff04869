use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::check::pattern;
use bpfman_application::interface::InterfaceSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use regex::Regex;

use super::slot::PacketSlot;
use super::slot::SlotPlace;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Candidate {
    Name(String),
    Matching(String),
    Other,
}

#[must_use]
pub fn candidates<'a>(slots: impl Iterator<Item = &'a PacketSlot>) -> Vec<Candidate> {
    let mut all = BTreeSet::from([Candidate::Other]);
    for slot in slots {
        all.extend(slot.interfaces.interfaces.iter().flatten().cloned().map(Candidate::Name));
        if let Some(discovery) = &slot.interfaces.interfaces_discovery_config {
            all.extend(discovery.exclude_interfaces.iter().cloned().map(Candidate::Name));
            for entry in &discovery.allowed_interfaces {
                let entry = entry.trim();
                all.insert(match pattern(entry) {
                    Some(pattern) => Candidate::Matching(pattern.to_owned()),
                    None => Candidate::Name(entry.to_owned()),
                });
            }
        }
    }
    all.into_iter().collect()
}

#[must_use]
pub fn covered(selector: &InterfaceSelector, candidates: &[Candidate]) -> BTreeSet<usize> {
    let allowed: Vec<(&str, Option<Regex>)> = selector
        .interfaces_discovery_config
        .iter()
        .flat_map(|discovery| &discovery.allowed_interfaces)
        .map(|entry| (entry.trim(), pattern(entry.trim()).and_then(|pattern| Regex::new(pattern).ok())))
        .collect();
    let may = |candidate: &Candidate| {
        if let Some(names) = &selector.interfaces {
            return matches!(candidate, Candidate::Name(name) if names.contains(name));
        }
        let Some(discovery) = &selector.interfaces_discovery_config else {
            // The primary interface may have any name.
            return true;
        };
        if matches!(candidate, Candidate::Name(name) if discovery.exclude_interfaces.contains(name)) {
            return false;
        }
        discovery.allowed_interfaces.is_empty()
            || allowed.iter().any(|(entry, regex)| match candidate {
                Candidate::Name(name) => regex.as_ref().map_or(entry == name, |regex| regex.is_match(name)),
                Candidate::Matching(other) => {
                    pattern(entry).is_some_and(|pattern| may_share_names(pattern, other))
                }
                Candidate::Other => false,
            })
    };
    (0..candidates.len()).filter(|&at| may(&candidates[at])).collect()
}

/// Compares only literal prefixes: `^eth` and `^veth` are disjoint.
fn may_share_names(one: &str, other: &str) -> bool {
    let (Some(one), Some(other)) = (beginning(one), beginning(other)) else { return true };
    one.starts_with(other) || other.starts_with(one)
}

fn beginning(pattern: &str) -> Option<&str> {
    let rest = pattern.strip_prefix('^')?;
    if rest.contains('|') {
        return None;
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(rest.len());
    // A repeated character may occur zero times.
    let repeated = rest[end..].starts_with(['*', '?', '{']);
    Some(&rest[..if repeated { end.saturating_sub(1) } else { end }])
}

#[must_use]
pub fn may_meet(one: &PacketSlot, other: &PacketSlot) -> bool {
    let places = match (&one.place, &other.place) {
        (SlotPlace::Node, SlotPlace::Node) => true,
        (
            SlotPlace::Pods { namespace: here, labels: these },
            SlotPlace::Pods { namespace: there, labels: those },
        ) => {
            let namespaces = here.as_ref().zip(there.as_ref()).is_none_or(|(here, there)| here == there);
            namespaces && may_select_one(these, those)
        }
        // Discovery on the node includes interfaces in the network namespaces of pods.
        (SlotPlace::Node, SlotPlace::Pods { .. }) => one.interfaces.interfaces_discovery_config.is_some(),
        (SlotPlace::Pods { .. }, SlotPlace::Node) => other.interfaces.interfaces_discovery_config.is_some(),
    };
    one.hook == other.hook && places && may_select_one(&one.nodes, &other.nodes)
}

fn may_select_one(one: &LabelSelector, other: &LabelSelector) -> bool {
    let (one, other) = (demands(one), demands(other));
    one.iter().all(|(key, values)| other.get(key).is_none_or(|others| !values.is_disjoint(others)))
}

fn demands(selector: &LabelSelector) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut all: BTreeMap<&str, BTreeSet<&str>> = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), BTreeSet::from([value.as_str()])))
        .collect();
    for expression in selector.match_expressions.iter().flatten().filter(|one| one.operator == "In") {
        let values = expression.values.iter().flatten().map(String::as_str).collect();
        all.entry(expression.key.as_str())
            .and_modify(|before| before.retain(|value| BTreeSet::contains(&values, value)))
            .or_insert(values);
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn patterns_that_begin_differently_share_no_name() {
        assert!(!may_share_names("^eth[0-9]", "^veth.*"));
        assert!(may_share_names("^eth[0-9]", "^e.*"));
        assert!(may_share_names("^eth*", "^et0"), "the h may be missing");
        assert!(may_share_names("eth", "^veth"), "not anchored: it may be anywhere in a name");
        assert!(may_share_names("^eth|^veth", "^veth"));
    }

    #[test]
    fn labels_that_exclude_each_other_select_nothing_together() {
        let selector = |value: Value| serde_json::from_value::<LabelSelector>(value).unwrap();
        let edge = selector(json!({ "matchLabels": { "tier": "edge" } }));
        let core = selector(
            json!({ "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["core"] }] }),
        );
        let all = selector(json!({}));
        let other = selector(json!({ "matchLabels": { "zone": "a" } }));
        assert!(!may_select_one(&edge, &core));
        assert!(may_select_one(&edge, &all) && may_select_one(&edge, &other) && may_select_one(&edge, &edge));
    }

    #[test]
    fn a_selector_covers_what_it_names_and_what_it_matches() {
        let selector = |value: Value| serde_json::from_value::<InterfaceSelector>(value).unwrap();
        let all = [
            Candidate::Name("eth0".into()),
            Candidate::Name("lo".into()),
            Candidate::Matching("^eth.*".into()),
            Candidate::Other,
        ];
        let names = |value: Value| covered(&selector(value), &all).into_iter().collect::<Vec<_>>();
        assert_eq!(names(json!({ "interfaces": ["eth0"] })), [0]);
        assert_eq!(names(json!({ "primaryNodeInterface": true })), [0, 1, 2, 3]);
        assert_eq!(names(json!({ "interfacesDiscoveryConfig": {} })), [0, 2, 3]);
        assert_eq!(
            names(json!({ "interfacesDiscoveryConfig": { "allowedInterfaces": ["/^eth.*/"] } })),
            [0, 2]
        );
        assert_eq!(
            names(json!({ "interfacesDiscoveryConfig": { "allowedInterfaces": ["/^veth/"] } })),
            [0usize; 0]
        );
    }
}
