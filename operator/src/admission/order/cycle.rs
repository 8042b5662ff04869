use std::collections::BTreeSet;
use std::fmt;

use super::overlap::{candidates, covered, may_meet};
use super::rank::cannot_precede;
use super::slot::{PacketSlot, SlotAnchor};

/// Maximum number of search steps: more are needed only if hundreds of attachments name each other on one hook.
const STEPS: usize = 200_000;

#[derive(Clone, Debug)]
struct RequestedOrder<'a> {
    first: Member<'a>,
    second: Member<'a>,
    because: (&'a PacketSlot, &'static str, &'a str),
}

#[derive(Clone, Copy, Debug)]
enum Member<'a> {
    Ours(usize, &'a PacketSlot),
    Foreign(&'a str),
}

impl PartialEq for Member<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ours(one, _), Self::Ours(other, _)) => one == other,
            (Self::Foreign(one), Self::Foreign(other)) => one == other,
            _ => false,
        }
    }
}

/// Requests that cannot all be satisfied, with their applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    steps: Vec<String>,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.steps.join("; "))
    }
}

/// Returns the first cycle that an application's attachments form with each other or with those of others.
#[must_use]
pub fn find(own: &[PacketSlot], others: &[PacketSlot]) -> Option<Cycle> {
    let all: Vec<&PacketSlot> = own.iter().chain(others).collect();
    let wishes = wishes(&all);
    if wishes.is_empty() {
        return None;
    }
    let list = candidates(all.iter().copied());
    let covers: Vec<BTreeSet<usize>> = all.iter().map(|slot| covered(&slot.interfaces, &list)).collect();
    let mut search = Search { wishes: &wishes, covers: &covers, steps: STEPS };
    for (at, slot) in own.iter().enumerate() {
        let mut path = Vec::new();
        if search.from(Member::Ours(at, slot), covers[at].clone(), &mut path) {
            return Some(Cycle { steps: path.iter().map(|&wish| step(&wishes[wish])).collect() });
        }
    }
    None
}

fn wishes<'a>(all: &[&'a PacketSlot]) -> Vec<RequestedOrder<'a>> {
    let mut wishes = Vec::new();
    for (at, &slot) in all.iter().enumerate() {
        for (side, anchors) in [("before", &slot.before), ("after", &slot.after)] {
            for (text, anchor) in anchors {
                let because = (slot, side, text.as_str());
                let mut wish = |named: Member<'a>| {
                    let (first, second) = match side {
                        "before" => (Member::Ours(at, slot), named),
                        _ => (named, Member::Ours(at, slot)),
                    };
                    // The daemon does not apply this request, so it closes no cycle.
                    let never = matches!((first, second), (Member::Ours(_, one), Member::Ours(_, other)) if cannot_precede(one, other));
                    if !never {
                        wishes.push(RequestedOrder { first, second, because });
                    }
                };
                if let SlotAnchor::Foreign(name) = anchor {
                    wish(Member::Foreign(name));
                }
                for (other, &named) in all.iter().enumerate() {
                    if other != at && named.answers_to(anchor) && may_meet(slot, named) {
                        wish(Member::Ours(other, named));
                    }
                }
            }
        }
    }
    wishes
}

struct Search<'a, 'b> {
    wishes: &'b [RequestedOrder<'a>],
    covers: &'b [BTreeSet<usize>],
    steps: usize,
}

impl<'a> Search<'a, '_> {
    fn from(&mut self, last: Member<'a>, interfaces: BTreeSet<usize>, path: &mut Vec<usize>) -> bool {
        for (at, wish) in self.wishes.iter().enumerate().filter(|(_, wish)| wish.first == last) {
            let Some(left) = self.steps.checked_sub(1) else { return false };
            self.steps = left;
            let start = path.first().map_or(last, |&first| self.wishes[first].first);
            path.push(at);
            if wish.second == start {
                return true;
            }
            let visited = path[..path.len() - 1].iter().any(|&step| self.wishes[step].second == wish.second);
            let meets = |member: Member<'a>| match (member, wish.second) {
                (Member::Ours(_, one), Member::Ours(_, other)) => may_meet(one, other),
                _ => true,
            };
            if !visited && path.iter().all(|&step| meets(self.wishes[step].first)) {
                let shared = match wish.second {
                    Member::Ours(at, _) => interfaces.intersection(&self.covers[at]).copied().collect(),
                    Member::Foreign(_) => interfaces.clone(),
                };
                if !BTreeSet::is_empty(&shared) && self.from(wish.second, shared, path) {
                    return true;
                }
            }
            path.pop();
        }
        false
    }
}

fn step(wish: &RequestedOrder<'_>) -> String {
    let name = |member: Member<'_>| match member {
        Member::Ours(_, slot) => format!("{} ({})", slot.program, slot.application),
        Member::Foreign(name) => format!("foreign:{name}"),
    };
    let (slot, side, text) = wish.because;
    format!(
        "{} before {} ({}, {}.order.{side}: \"{text}\")",
        name(wish.first),
        name(wish.second),
        slot.application,
        slot.path
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bpfman_application::spec::ApplicationSpec;
    use serde_json::{Value, json};

    use super::super::slot::{ApplicationName, slots, unknown_anchors};
    use super::*;

    fn one(name: &str, program: &str, interfaces: Value, order: Value) -> Vec<PacketSlot> {
        with(name, program, json!({ "interfaceSelector": interfaces, "order": order }), json!({}))
    }

    fn with(name: &str, program: &str, link: Value, nodes: Value) -> Vec<PacketSlot> {
        let spec = json!({
            "nodeSelector": nodes, "byteCode": { "path": "/a.o" },
            "programs": [{ "name": program, "type": "XDP", "xdp": { "links": [link] } }],
        });
        let spec = ApplicationSpec::read(None, spec).unwrap();
        slots(&ApplicationName { namespace: None, name: name.to_owned() }, &spec)
    }

    fn eth0() -> Value {
        json!({ "interfaces": ["eth0"] })
    }

    #[test]
    fn two_that_both_want_to_be_first_are_named_with_their_wishes() {
        let other = one("shop", "count", eth0(), json!({ "before": ["filter"] }));
        let own = one("wall", "filter", eth0(), json!({ "before": ["count"] }));
        let cycle = find(&own, &other).unwrap().to_string();
        assert_eq!(
            cycle,
            "filter (ClusterBpfApplication wall) before count (ClusterBpfApplication shop) \
             (ClusterBpfApplication wall, spec.programs[0].xdp.links[0].order.before: \"count\"); \
             count (ClusterBpfApplication shop) before filter (ClusterBpfApplication wall) \
             (ClusterBpfApplication shop, spec.programs[0].xdp.links[0].order.before: \"filter\")"
        );
    }

    #[test]
    fn a_circle_goes_over_roles_and_over_one_that_wants_nothing() {
        let middle = one("mid", "meter", eth0(), json!({}));
        let first = one("first", "alpha", eth0(), json!({ "role": "firewall", "before": ["meter"] }));
        let others: Vec<PacketSlot> = [middle, first].concat();
        let own = one("last", "omega", eth0(), json!({ "after": ["meter"], "before": ["role=firewall"] }));
        let cycle = find(&own, &others).unwrap().to_string();
        assert!(cycle.contains("first") && cycle.contains("mid") && cycle.contains("last"), "{cycle}");
        let harmless = one("last", "omega", eth0(), json!({ "after": ["meter", "role=firewall"] }));
        assert_eq!(find(&harmless, &others), None);
    }

    #[test]
    fn orders_without_a_common_interface_do_not_conflict() {
        let other = one("shop", "count", eth0(), json!({ "before": ["filter"] }));
        for (interfaces, meet) in [
            (json!({ "interfaces": ["eth1"] }), false),
            (json!({ "interfaces": ["eth1", "eth0"] }), true),
            (json!({ "primaryNodeInterface": true }), true),
            (json!({ "interfacesDiscoveryConfig": { "allowedInterfaces": ["/^eth/"] } }), true),
            (json!({ "interfacesDiscoveryConfig": { "allowedInterfaces": ["/^veth/"] } }), false),
            (json!({ "interfacesDiscoveryConfig": { "excludeInterfaces": ["eth0"] } }), false),
        ] {
            let own = one("wall", "filter", interfaces.clone(), json!({ "before": ["count"] }));
            assert_eq!(find(&own, &other).is_some(), meet, "{interfaces}");
        }
    }

    #[test]
    fn a_circle_needs_one_interface_for_all_its_members() {
        let wish = |name: &str, program: &str, interfaces: &[&str], before: &str| {
            one(name, program, json!({ "interfaces": interfaces }), json!({ "before": [before] }))
        };
        let others =
            [wish("b", "bbb", &["eth0", "eth1"], "ccc"), wish("c", "ccc", &["eth1", "eth2"], "aaa")].concat();
        assert_eq!(find(&wish("a", "aaa", &["eth0", "eth2"], "bbb"), &others), None);
        assert!(find(&wish("a", "aaa", &["eth0", "eth1", "eth2"], "bbb"), &others).is_some());
    }

    #[test]
    fn other_nodes_and_pods_are_other_hooks() {
        let link = |pods: Option<Value>, before: &str| {
            let mut link = json!({ "interfaceSelector": eth0(), "order": { "before": [before] } });
            if let Some(pods) = pods {
                link["networkNamespaces"] = pods;
            }
            link
        };
        let edge = json!({ "matchLabels": { "tier": "edge" } });
        let core = json!({ "matchLabels": { "tier": "core" } });
        let other = with("shop", "count", link(None, "filter"), edge.clone());
        assert!(find(&with("wall", "filter", link(None, "count"), edge.clone()), &other).is_some());
        assert_eq!(find(&with("wall", "filter", link(None, "count"), core), &other), None);
        let pods = json!({ "namespace": "shop", "pods": {} });
        assert_eq!(find(&with("wall", "filter", link(Some(pods), "count"), edge), &other), None);
    }

    #[test]
    fn third_party_programs_take_part_in_cycles() {
        let other = one("shop", "count", eth0(), json!({ "before": ["foreign:cilium"] }));
        let own = one("wall", "filter", eth0(), json!({ "after": ["foreign:cilium"], "before": ["count"] }));
        assert!(find(&own, &other).unwrap().to_string().contains("foreign:cilium"));
    }

    #[test]
    fn anchors_without_match_are_found() {
        let other = one("shop", "count", eth0(), json!({ "role": "meter" }));
        let own = one(
            "wall",
            "filter",
            eth0(),
            json!({ "before": ["count", "nobody"], "after": ["role=meter", "role=none", "foreign:x", "12"] }),
        );
        let unknown: Vec<&str> = unknown_anchors(&own, &other).map(|(_, anchor)| anchor).collect();
        assert_eq!(unknown, ["nobody", "role=none"]);
    }
}
