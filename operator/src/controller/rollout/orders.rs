//! Writes orders into the annotations of state objects, and remembers them until the watch shows them.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bpfman_application::orders::NodeOrders;
use bpfman_runtime::manager::Manager;
use bpfman_runtime::object::api;
use futures::StreamExt;
use futures::stream::iter;
use kube::Api;
use kube::api::{DynamicObject, Patch};
use serde_json::{Value, json};

use super::observe::NodeView;
use crate::controller::projection::text::SharedText;
use crate::controller::projection::{ApplicationId, TrackedApplication};
use crate::controller::write::act::{ApiWriter, WriteOutcome};

const AT_A_TIME: usize = 16;

const BELIEVED: Duration = Duration::from_secs(30);

/// Orders written but not yet seen in the watch: without them, another joining node would make the wave too large.
#[derive(Debug, Default)]
pub struct UnseenOrders(HashMap<ApplicationId, HashMap<SharedText, (NodeOrders, Instant)>>);

impl UnseenOrders {
    /// Overlays written orders on the observed ones. Removes entries on which both agree, and old ones.
    pub fn lay_over(&mut self, id: &ApplicationId, nodes: &mut BTreeMap<String, NodeView>, now: Instant) {
        let Some(unseen) = self.0.get_mut(id) else { return };
        let mut still = HashMap::new();
        for seen in nodes.values_mut() {
            let Some((orders, written)) = unseen.remove(&seen.object) else { continue };
            if orders != seen.node.orders && now.saturating_duration_since(written) < BELIEVED {
                seen.node.orders.clone_from(&orders);
                still.insert(seen.object.clone(), (orders, written));
            }
        }
        if still.is_empty() {
            self.0.remove(id);
        } else {
            *unseen = still;
        }
    }

    pub fn written(&mut self, id: &ApplicationId, orders: Vec<(SharedText, NodeOrders)>, now: Instant) {
        if orders.is_empty() {
            return;
        }
        let unseen = self.0.entry(id.clone()).or_default();
        unseen.extend(orders.into_iter().map(|(object, orders)| (object, (orders, now))));
    }

    pub fn forget(&mut self, id: &ApplicationId) {
        self.0.remove(id);
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct NodeOrder {
    /// Name of the node's state object.
    pub object: SharedText,
    /// All orders of the node after this change.
    pub orders: NodeOrders,
    /// Merge patch with the changed annotations, for the observed resource version only.
    pub patch: Value,
}

impl NodeOrder {
    /// Creates the change from the observed orders to new ones.
    #[must_use]
    pub fn new(seen: &NodeView, orders: NodeOrders) -> Self {
        let before = seen.node.orders.annotations();
        let mut changed = orders.annotations();
        changed.retain(|key, value| before.get(key) != Some(value));
        let version = &*seen.version;
        let patch = json!({ "metadata": { "annotations": changed, "resourceVersion": version } });
        Self { object: seen.object.clone(), patch, orders }
    }
}

/// Writes orders, each after a check of leadership; returns those that were written, and the worst result.
pub async fn write(
    writer: &ApiWriter,
    application: &TrackedApplication,
    orders: Vec<NodeOrder>,
) -> (Vec<(SharedText, NodeOrders)>, Result<(), WriteOutcome>) {
    let states: Api<DynamicObject> =
        api(&writer.client, &application.scope.states(), application.namespace.as_deref());
    let answers = iter(orders)
        .map(|order| async {
            if !writer.leadership.holds() {
                return (order, Err(WriteOutcome::Failed));
            }
            let patch = Patch::Merge(&order.patch);
            let answer = states.patch_metadata(&order.object, &Manager::Controller.patch(), &patch).await;
            (order, writer.record_result("order", answer))
        })
        .buffer_unordered(AT_A_TIME)
        .collect::<Vec<_>>()
        .await;
    let mut worst = Ok(());
    let mut done = Vec::new();
    for (order, written) in answers {
        match written {
            Ok(_) | Err(WriteOutcome::Done) => done.push((order.object, order.orders)),
            Err(other) => worst = Err(other),
        }
    }
    (done, worst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::RolloutNode;

    fn seen(revision: Option<&str>) -> NodeView {
        let orders = NodeOrders { revision: revision.map(str::to_owned), ..NodeOrders::default() };
        NodeView {
            object: "app-1".into(),
            version: "7".into(),
            node: RolloutNode { orders, ..RolloutNode::default() },
        }
    }

    fn order(revision: &str) -> NodeOrders {
        NodeOrders { revision: Some(revision.to_owned()), ..NodeOrders::default() }
    }

    #[test]
    fn only_what_changes_is_written() {
        let mut before = seen(Some("r1"));
        before.node.orders.soak = Some("r1".to_owned());
        let after = NodeOrder::new(&before, order("r1"));
        assert_eq!(
            after.patch,
            json!({ "metadata": {
            "annotations": { "bpfman.io/soak": null }, "resourceVersion": "7",
        } })
        );
    }

    #[test]
    fn written_order_counts_until_the_watch_shows_it() {
        let (id, now) = (ApplicationId("u1".into()), Instant::now());
        let mut unseen = UnseenOrders::default();
        unseen.written(&id, vec![("app-1".into(), order("r2"))], now);
        let mut look = |seen_revision: &str, after: Duration| {
            let mut nodes = BTreeMap::from([("n1".to_owned(), seen(Some(seen_revision)))]);
            unseen.lay_over(&id, &mut nodes, now + after);
            nodes["n1"].node.orders.revision.clone()
        };
        assert_eq!(look("r1", Duration::ZERO).as_deref(), Some("r2"));
        assert_eq!(look("r2", Duration::ZERO).as_deref(), Some("r2"));
        assert_eq!(look("r1", Duration::ZERO).as_deref(), Some("r1"));
    }

    #[test]
    fn a_watch_that_says_otherwise_is_believed_in_the_end() {
        let (id, now) = (ApplicationId("u1".into()), Instant::now());
        let mut unseen = UnseenOrders::default();
        unseen.written(&id, vec![("app-1".into(), order("r2"))], now);
        let mut nodes = BTreeMap::from([("n1".to_owned(), seen(Some("r1")))]);
        unseen.lay_over(&id, &mut nodes, now + BELIEVED);
        assert_eq!(nodes["n1"].node.orders, order("r1"));
    }
}
