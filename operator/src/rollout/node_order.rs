use super::observation::{NodeHealth, Observation, RolloutNode};
use super::revision;

/// Returns a hash to sort nodes by, which differs by revision. FNV-1a with MurmurHash3's finalizer.
fn rank(node: &str, target: &str) -> u64 {
    let bytes = revision::source(target).bytes().chain([0]).chain(node.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Returns nodes in the order of waves. Those without the stable revision, which a superseded rollout left
/// half-way, come first.
pub fn for_waves<'a>(
    seen: &'a Observation,
    target: &str,
    wanted: impl Fn(&RolloutNode) -> bool,
) -> Vec<(&'a String, &'a RolloutNode)> {
    let stable = seen.status.stable_revision.as_deref();
    let half_way = |node: &RolloutNode| !node.is_fresh() && !stable.is_some_and(|stable| node.has(stable));
    let mut line: Vec<_> = seen.nodes.iter().filter(|(_, node)| wanted(node)).collect();
    line.sort_by_cached_key(|(name, node)| (!half_way(node), rank(name, target), (*name).clone()));
    line
}

pub fn for_trials<'a>(
    nodes: impl Iterator<Item = (&'a String, &'a RolloutNode)>,
    target: &str,
) -> Option<&'a String> {
    let asked = |node: &RolloutNode| node.orders.preflight.as_deref() == Some(target);
    let well = |node: &RolloutNode| node.is_fresh() || node.progress() == NodeHealth::Healthy;
    nodes.min_by_key(|(name, node)| (!asked(node), !well(node), rank(name, target))).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_revision_begins_with_other_nodes() {
        let nodes: Vec<String> = (0..20).map(|number| format!("node-{number}")).collect();
        let first = |target: &str| nodes.iter().min_by_key(|node| rank(node, target)).cloned();
        let firsts: std::collections::BTreeSet<_> =
            (0..10).map(|number| first(&format!("app-{number:010}"))).collect();
        assert!(firsts.len() > 3, "{firsts:?}");
    }

    #[test]
    fn a_pinned_revision_keeps_the_order_of_the_one_it_pins() {
        let pinned = revision::pinned("app-0123456789", &format!("sha256:{}", "ab".repeat(32)));
        assert_eq!(rank("node", "app-0123456789"), rank("node", &pinned));
    }
}
