//! Ranks: cluster applications are closer to the network than those of a namespace, whatever both request.

use std::fmt;

use bpfman_model::Direction;

use super::overlap::may_meet;
use super::slot::{PacketSlot, SlotAnchor};

const fn is_of_cluster(slot: &PacketSlot) -> bool {
    slot.application.namespace.is_none()
}

/// Returns whether packets leave by a slot's hook.
fn is_outbound(slot: &PacketSlot) -> bool {
    slot.hook.direction() == Some(Direction::Egress)
}

pub fn cannot_precede(first: &PacketSlot, second: &PacketSlot) -> bool {
    is_of_cluster(first) != is_of_cluster(second) && is_of_cluster(first) == is_outbound(first)
}

/// Order request that conflicts with ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankConflict {
    pub path: String,
    /// True if the daemon refuses the attachment; false if the daemon attaches it and ignores the requested order.
    pub refused: bool,
    message: String,
}

impl fmt::Display for RankConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

/// Returns the requests of an application that conflict with ranks.
#[must_use]
pub fn against_ranks(own: &[PacketSlot], others: &[PacketSlot]) -> Vec<RankConflict> {
    own.iter()
        .flat_map(
            |slot| if is_of_cluster(slot) { of_cluster(slot, others) } else { of_namespace(slot, others) },
        )
        .collect()
}

fn of_namespace(slot: &PacketSlot, others: &[PacketSlot]) -> Vec<RankConflict> {
    let (side, anchors, rank) = if is_outbound(slot) {
        ("after", &slot.after, "programs of a BpfApplication run before those of the machine on the way out")
    } else {
        ("before", &slot.before, "programs of a BpfApplication run after those of the machine on the way in")
    };
    let conflict = |(at, (text, anchor)): (usize, &(String, SlotAnchor))| {
        let path = format!("{}.order.{side}[{at}]", slot.path);
        let named = || others.iter().find(|other| is_of_cluster(other) && meets(slot, other, anchor));
        let (refused, whom) = match anchor {
            SlotAnchor::Foreign(_) => (false, "programs of others".to_owned()),
            SlotAnchor::Program(_) => (true, named()?.application.to_string()),
            SlotAnchor::Role(_) | SlotAnchor::Link => (false, named()?.application.to_string()),
        };
        Some(RankConflict { path, refused, message: format!("\"{text}\" means {whom}: {rank}") })
    };
    anchors.iter().enumerate().filter_map(conflict).collect()
}

fn of_cluster(slot: &PacketSlot, others: &[PacketSlot]) -> Vec<RankConflict> {
    let (side, anchors, run) = if is_outbound(slot) {
        ("before", &slot.before, "whose programs run before it on the way out")
    } else {
        ("after", &slot.after, "whose programs run after it")
    };
    let conflict = |(at, (text, anchor)): (usize, &(String, SlotAnchor))| {
        let named = others.iter().find(|other| !is_of_cluster(other) && meets(slot, other, anchor))?;
        let message = format!("\"{text}\" means {}, {run}", named.application);
        Some(RankConflict { path: format!("{}.order.{side}[{at}]", slot.path), refused: false, message })
    };
    anchors.iter().enumerate().filter_map(conflict).collect()
}

fn meets(slot: &PacketSlot, other: &PacketSlot, anchor: &SlotAnchor) -> bool {
    other.answers_to(anchor) && may_meet(slot, other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bpfman_application::spec::ApplicationSpec;
    use serde_json::{Value, json};

    use super::super::{ApplicationName, find, slots};
    use super::*;

    fn one(namespace: Option<&str>, name: &str, program: &str, order: Value) -> Vec<PacketSlot> {
        at(namespace, name, program, ("XDP", json!({})), order)
    }

    fn at(
        namespace: Option<&str>,
        name: &str,
        program: &str,
        (kind, more): (&str, Value),
        order: Value,
    ) -> Vec<PacketSlot> {
        let pods = match namespace {
            None => json!({ "namespace": "shop", "pods": {} }),
            Some(_) => json!({ "pods": {} }),
        };
        let mut link = json!({ "interfaceSelector": { "interfaces": ["eth0"] }, "networkNamespaces": pods, "order": order });
        link.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut program = json!({ "name": program, "type": kind });
        program[kind.to_lowercase()] = json!({ "links": [link] });
        let spec = json!({ "nodeSelector": {}, "byteCode": { "path": "/a.o" }, "programs": [program] });
        let spec = ApplicationSpec::read(namespace, spec).unwrap();
        slots(&ApplicationName { namespace: namespace.map(str::to_owned), name: name.to_owned() }, &spec)
    }

    #[test]
    fn a_namespaces_program_cannot_be_before_one_of_the_cluster() {
        let wall = one(None, "wall", "filter", json!({ "role": "firewall" }));
        let tenant = |order: Value| one(Some("shop"), "shop", "count", order);
        let found = against_ranks(&tenant(json!({ "before": ["filter"] })), &wall);
        assert!(found[0].refused && found[0].path.ends_with("order.before[0]"), "{found:?}");
        assert!(found[0].to_string().contains("ClusterBpfApplication wall"), "{found:?}");
        for anchor in ["role=firewall", "foreign:cilium"] {
            let found = against_ranks(&tenant(json!({ "before": [anchor] })), &wall);
            assert_eq!(found.iter().map(|one| one.refused).collect::<Vec<_>>(), [false], "{anchor}");
        }
        assert_eq!(against_ranks(&tenant(json!({ "after": ["filter"] })), &wall), []);
        let equal = one(Some("shop"), "other", "filter", json!({}));
        assert_eq!(against_ranks(&tenant(json!({ "before": ["filter"] })), &equal), []);
        assert_eq!(against_ranks(&one(None, "net", "meter", json!({ "before": ["filter"] })), &wall), []);
    }

    #[test]
    fn cluster_program_is_warned_of_running_before_namespaced_ones() {
        let tenant = one(Some("shop"), "shop", "count", json!({}));
        let found = against_ranks(&one(None, "wall", "filter", json!({ "after": ["count"] })), &tenant);
        assert!(!found[0].refused && found[0].to_string().contains("BpfApplication shop/shop"), "{found:?}");
    }

    #[test]
    fn on_the_way_out_the_cluster_is_behind_a_namespace() {
        let out = |namespace, program, order| {
            at(namespace, "any", program, ("TC", json!({ "direction": "Egress" })), order)
        };
        let wall = out(None, "filter", json!({ "role": "firewall" }));
        let found = against_ranks(&out(Some("shop"), "count", json!({ "after": ["filter"] })), &wall);
        assert!(found[0].refused && found[0].path.ends_with("order.after[0]"), "{found:?}");
        assert_eq!(against_ranks(&out(Some("shop"), "count", json!({ "before": ["filter"] })), &wall), []);
        let tenant = out(Some("shop"), "count", json!({ "after": ["filter"] }));
        let found = against_ranks(&out(None, "filter", json!({ "before": ["count"] })), &tenant);
        assert!(!found[0].refused && found[0].to_string().contains("before it on the way out"), "{found:?}");
        let wall = out(None, "filter", json!({ "after": ["count"] }));
        assert_eq!(find(&wall, &tenant), None);
    }

    /// If it did, any user with permission to write a `BpfApplication` could block a cluster application.
    #[test]
    fn a_wish_of_a_namespace_against_ranks_closes_no_cycle() {
        let tenant = one(Some("shop"), "shop", "count", json!({ "before": ["filter"] }));
        let wall = one(None, "wall", "filter", json!({ "before": ["count"] }));
        assert_eq!(find(&wall, &tenant), None);
        let equal = one(None, "shop", "count", json!({ "before": ["filter"] }));
        assert!(find(&wall, &equal).is_some());
    }
}
