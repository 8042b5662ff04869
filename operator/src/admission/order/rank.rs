//! Orders that ranks override: programs of cluster applications always run before those of a namespace.

use std::fmt;

use super::overlap::may_meet;
use super::slot::{PacketSlot, SlotAnchor};

/// Returns whether the attachment belongs to a cluster application, which ranks above those of a namespace.
const fn is_of_cluster(slot: &PacketSlot) -> bool {
    slot.application.namespace.is_none()
}

/// Returns whether the daemon never places `first` before `second`.
pub fn cannot_precede(first: &PacketSlot, second: &PacketSlot) -> bool {
    !is_of_cluster(first) && is_of_cluster(second)
}

/// Order request that conflicts with ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankConflict {
    /// Path of the field.
    pub path: String,
    /// True if the daemon refuses the attachment; otherwise it ignores the request and attaches.
    pub refused: bool,
    wish: String,
}

impl fmt::Display for RankConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wish)
    }
}

/// Returns the requests of an application that conflict with ranks.
#[must_use]
pub fn against_ranks(own: &[PacketSlot], others: &[PacketSlot]) -> Vec<RankConflict> {
    own.iter().flat_map(|slot| [before(slot, others), after(slot, others)].concat()).collect()
}

/// Returns conflicting `before` requests of a namespaced program.
fn before(slot: &PacketSlot, others: &[PacketSlot]) -> Vec<RankConflict> {
    if is_of_cluster(slot) {
        return Vec::new();
    }
    let conflict = |(at, (text, anchor)): (usize, &(String, SlotAnchor))| {
        let path = format!("{}.order.before[{at}]", slot.path);
        let named = || others.iter().find(|other| is_of_cluster(other) && meets(slot, other, anchor));
        let (refused, whom) = match anchor {
            SlotAnchor::Foreign(_) => (false, "programs of others".to_owned()),
            SlotAnchor::Program(_) => (true, named()?.application.to_string()),
            SlotAnchor::Role(_) | SlotAnchor::Link => (false, named()?.application.to_string()),
        };
        let rank = "programs of a BpfApplication run after those of the machine";
        Some(RankConflict { path, refused, wish: format!("\"{text}\" means {whom}: {rank}") })
    };
    slot.before.iter().enumerate().filter_map(conflict).collect()
}

/// Returns conflicting `after` requests of a cluster program.
fn after(slot: &PacketSlot, others: &[PacketSlot]) -> Vec<RankConflict> {
    if !is_of_cluster(slot) {
        return Vec::new();
    }
    let conflict = |(at, (text, anchor)): (usize, &(String, SlotAnchor))| {
        let named = others.iter().find(|other| !is_of_cluster(other) && meets(slot, other, anchor))?;
        let wish = format!("\"{text}\" means {}, whose programs run after it", named.application);
        Some(RankConflict { path: format!("{}.order.after[{at}]", slot.path), refused: false, wish })
    };
    slot.after.iter().enumerate().filter_map(conflict).collect()
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

    /// Creates an application with one XDP program, at the pods of a namespace.
    fn one(namespace: Option<&str>, name: &str, program: &str, order: Value) -> Vec<PacketSlot> {
        let pods = match namespace {
            None => json!({ "namespace": "shop", "pods": {} }),
            Some(_) => json!({ "pods": {} }),
        };
        let link = json!({ "interfaceSelector": { "interfaces": ["eth0"] }, "networkNamespaces": pods, "order": order });
        let spec = json!({
            "nodeSelector": {}, "byteCode": { "path": "/a.o" },
            "programs": [{ "name": program, "type": "XDP", "xdp": { "links": [link] } }],
        });
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
        // The daemon ignores these.
        for anchor in ["role=firewall", "foreign:cilium"] {
            let found = against_ranks(&tenant(json!({ "before": [anchor] })), &wall);
            assert_eq!(found.iter().map(|one| one.refused).collect::<Vec<_>>(), [false], "{anchor}");
        }
        assert_eq!(against_ranks(&tenant(json!({ "after": ["filter"] })), &wall), []);
        // Between equal ranks the orders apply.
        let equal = one(Some("shop"), "other", "filter", json!({}));
        assert_eq!(against_ranks(&tenant(json!({ "before": ["filter"] })), &equal), []);
        assert_eq!(against_ranks(&one(None, "net", "meter", json!({ "before": ["filter"] })), &wall), []);
    }

    #[test]
    fn a_program_of_the_cluster_is_told_that_it_runs_before_a_namespaces() {
        let tenant = one(Some("shop"), "shop", "count", json!({}));
        let found = against_ranks(&one(None, "wall", "filter", json!({ "after": ["count"] })), &tenant);
        assert!(!found[0].refused && found[0].to_string().contains("BpfApplication shop/shop"), "{found:?}");
    }

    /// Otherwise, anyone who may write a `BpfApplication` could block a cluster application.
    #[test]
    fn a_wish_of_a_namespace_against_ranks_closes_no_cycle() {
        let tenant = one(Some("shop"), "shop", "count", json!({ "before": ["filter"] }));
        let wall = one(None, "wall", "filter", json!({ "before": ["count"] }));
        assert_eq!(find(&wall, &tenant), None);
        // Between equal ranks it is a cycle.
        let equal = one(None, "shop", "count", json!({ "before": ["filter"] }));
        assert!(find(&wall, &equal).is_some());
    }
}
