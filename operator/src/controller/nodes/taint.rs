//! Decides which nodes are tainted until their programs are back. Pure.
//!
//! A node is new in each boot until its programs have returned; an annotation records that, so that a later application
//! does not taint it again. Kubelets that register with the taint close the gap before the controller's first write.

use std::collections::{HashMap, HashSet};

use crate::controller::decide::summarize::Presence;
use crate::controller::memory::{Memory, View};
use crate::controller::projection::text::SharedText;
use crate::controller::projection::{ClusterNode, NodeAnswer, NodeOutcome, TrackedApplication};
use bpfman_application::scope::Scope;

/// Action on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaintDecision {
    /// Leave the node as it is.
    Leave,
    /// Add the taint.
    Put,
    /// Remove the taint and record the boot.
    Settle,
    /// Remove the taint and the recorded boot: taints are disabled, or the daemon is not deployed to the node.
    Clear,
}

/// Facts about one node and its applications.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub node: &'a ClusterNode,
    /// True if the daemon is deployed to the node.
    pub daemon_selected: bool,
    /// True if the agent is ready.
    pub agent: bool,
    /// Applications that select the node.
    pub applications: Vec<SelectedApplication<'a>>,
}

/// Application that a node should run.
#[derive(Clone, Copy, Debug)]
pub struct SelectedApplication<'a> {
    /// True if the application fails closed.
    pub fails_closed: bool,
    /// True if its first revision is still being rolled out: nodes without an order have nothing to run.
    pub first_rollout: bool,
    pub answer: Option<&'a NodeAnswer>,
}

/// Decides whether a node gets, keeps or loses the taint.
#[must_use]
pub fn decide(question: &Question<'_>) -> TaintDecision {
    let node = question.node;
    if !question.daemon_selected {
        let marked = node.tainted || node.ready_boot.is_some();
        return if marked { TaintDecision::Clear } else { TaintDecision::Leave };
    }
    // A node without a boot id is not settled: its kubelet has not reported yet.
    let settled = !node.boot_id.is_empty()
        && node.ready_boot.as_deref().is_some_and(|boot| boot.eq_ignore_ascii_case(&node.boot_id));
    match (settled || is_back(question), node.tainted) {
        (true, false) if settled => TaintDecision::Leave,
        (true, _) => TaintDecision::Settle,
        (false, true) => TaintDecision::Leave,
        (false, false) => TaintDecision::Put,
    }
}

fn is_back(question: &Question<'_>) -> bool {
    let boot = &question.node.boot_id;
    if boot.is_empty() {
        return false;
    }
    if question.applications.is_empty() {
        return question.agent;
    }
    question.applications.iter().all(|wanted| {
        wanted.answer.is_some_and(|answer| {
            let fresh = answer.boot_id.as_deref().is_some_and(|answered| answered.eq_ignore_ascii_case(boot));
            let done = match answer.outcome {
                NodeOutcome::Success => true,
                NodeOutcome::Error => !wanted.fails_closed,
                // Do not wait for the node's wave: waves, and promotions between them, may take days.
                NodeOutcome::Pending => wanted.first_rollout && answer.orders.revision.is_none(),
                NodeOutcome::Unloaded | NodeOutcome::NotSelected => false,
            };
            fresh && done
        })
    })
}

fn is_first_rollout(application: &TrackedApplication) -> bool {
    application.rollout.is_some()
        && application.typed_status().rollout.is_some_and(|rollout| rollout.stable_revision.is_none())
}

/// Decides about all nodes that are not settled. `daemon_selected` returns whether the daemon is deployed to a node.
#[must_use]
pub fn decide_all(
    memory: &Memory,
    presence: Presence,
    daemon_selected: impl Fn(&ClusterNode) -> bool,
) -> Vec<(SharedText, TaintDecision)> {
    // Cluster applications only: otherwise anyone with permission in a namespace could keep pods from new nodes.
    let counts =
        |application: &TrackedApplication| application.scope == Scope::Cluster && !application.deleting;
    let applications: Vec<View<'_>> = memory.applications().filter(|view| counts(view.application)).collect();
    let unsettled = memory.nodes().filter(|(_, node)| {
        let settled = !node.tainted && node.ready_boot.as_ref() == Some(&node.boot_id);
        !settled || (node.ready_boot.is_some() && !daemon_selected(node))
    });
    let mut unsettled = unsettled.peekable();
    if unsettled.peek().is_none() {
        return Vec::new();
    }
    let agents: HashSet<&str> = memory.agents().map(|node| &**node).collect();
    let answers: Vec<HashMap<&str, &NodeAnswer>> = applications.iter().map(View::answer_of_each).collect();
    let first_rollouts: Vec<bool> =
        applications.iter().map(|view| is_first_rollout(view.application)).collect();
    unsettled
        .map(|(name, node)| {
            let all = applications.iter().zip(&answers).zip(&first_rollouts);
            let selecting = all.filter(|((view, _), _)| view.application.selects(node));
            let question = Question {
                node,
                daemon_selected: daemon_selected(node),
                agent: presence == Presence::Everywhere || agents.contains(&**name),
                applications: selecting
                    .map(|((view, answers), first_rollout)| SelectedApplication {
                        fails_closed: view.application.fails_closed,
                        first_rollout: *first_rollout,
                        answer: answers.get(&**name).copied().filter(|answer| !answer.deleting),
                    })
                    .collect(),
            };
            (name.clone(), decide(&question))
        })
        .filter(|(_, decision)| *decision != TaintDecision::Leave)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;
    use crate::controller::projection::READY_BOOT;
    use crate::controller::projection::text::Interner;

    fn node(ready_boot: Option<&str>, tainted: bool) -> ClusterNode {
        let taints = if tainted {
            json!([{ "key": "bpfman.io/not-ready", "effect": "NoSchedule" }])
        } else {
            json!([])
        };
        let mut object = json!({
            "metadata": { "name": "n1", "annotations": {} },
            "spec": { "taints": taints },
            "status": { "nodeInfo": { "bootID": "BOOT-2" } }
        });
        if let Some(boot) = ready_boot {
            object["metadata"]["annotations"][READY_BOOT] = json!(boot);
        }
        ClusterNode::new(&serde_json::from_value(object).unwrap(), &mut Interner::default())
    }

    fn answer(condition: &str, boot: &str) -> NodeAnswer {
        let object = json!({
            "metadata": { "name": "a-1" },
            "status": { "node": "n1", "bootId": boot, "conditions": [{ "type": condition, "status": "True" }] }
        });
        NodeAnswer::new(&serde_json::from_value(object).unwrap(), &mut Interner::default())
    }

    fn ask(node: &ClusterNode, agent: bool, applications: Vec<(bool, Option<&NodeAnswer>)>) -> TaintDecision {
        let wanted =
            |(fails_closed, answer)| SelectedApplication { fails_closed, first_rollout: false, answer };
        let applications = applications.into_iter().map(wanted).collect();
        decide(&Question { node, daemon_selected: true, agent, applications })
    }

    #[test]
    fn a_new_node_is_tainted_until_its_agent_is_there() {
        assert_eq!(ask(&node(None, false), false, vec![]), TaintDecision::Put);
        assert_eq!(ask(&node(None, true), false, vec![]), TaintDecision::Leave);
        assert_eq!(ask(&node(None, true), true, vec![]), TaintDecision::Settle);
    }

    #[test]
    fn a_rebooted_node_waits_for_answers_of_this_boot() {
        let (old, fresh) = (answer("Success", "boot-1"), answer("Success", "boot-2"));
        let rebooted = node(Some("boot-1"), false);
        assert_eq!(ask(&rebooted, true, vec![(false, Some(&old))]), TaintDecision::Put);
        assert_eq!(ask(&rebooted, true, vec![(false, Some(&fresh)), (false, None)]), TaintDecision::Put);
        let tainted = node(Some("boot-1"), true);
        assert_eq!(ask(&tainted, true, vec![(false, Some(&fresh))]), TaintDecision::Settle);
    }

    #[test]
    fn pending_application_keeps_the_taint() {
        let pending = answer("Pending", "boot-2");
        assert_eq!(ask(&node(None, true), true, vec![(false, Some(&pending))]), TaintDecision::Leave);
    }

    #[test]
    fn waiting_for_its_turn_in_a_first_rollout_is_an_answer() {
        let ask = |answer: &NodeAnswer, first_rollout| {
            let wanted = SelectedApplication { fails_closed: true, first_rollout, answer: Some(answer) };
            let node = node(None, true);
            decide(&Question { node: &node, daemon_selected: true, agent: true, applications: vec![wanted] })
        };
        let mut waiting = answer("Pending", "boot-2");
        assert_eq!(ask(&waiting, true), TaintDecision::Settle);
        assert_eq!(ask(&waiting, false), TaintDecision::Leave);
        assert_eq!(ask(&answer("Pending", "boot-1"), true), TaintDecision::Leave);
        waiting.orders.revision = Some("r1".into());
        assert_eq!(ask(&waiting, true), TaintDecision::Leave);
    }

    #[test]
    fn an_application_of_a_namespace_keeps_no_node_to_itself() {
        use kube::runtime::watcher::Event;

        use crate::controller::memory::tests::fixture::{agent, application, empty};
        let decided = |scope| {
            let mut memory = empty();
            let spec = json!({ "nodeSelector": {}, "rollout": { "paused": true } });
            memory.application(scope, Event::Apply(application("u", 1, spec)));
            let node = json!({
                "metadata": { "name": "n1" },
                "spec": { "taints": [{ "key": "bpfman.io/not-ready", "effect": "NoSchedule" }] },
                "status": { "nodeInfo": { "bootID": "b1" } }
            });
            memory.node(Event::Apply(serde_json::from_value(node).unwrap()));
            memory.agent(Event::Apply(agent("n1", "True")));
            decide_all(&memory, Presence::ByPod, |_| true)
        };
        assert_eq!(decided(Scope::Namespaced), [("n1".into(), TaintDecision::Settle)]);
        assert_eq!(decided(Scope::Cluster), []);
    }

    #[test]
    fn a_failure_keeps_the_taint_only_where_it_fails_closed() {
        let failed = answer("Error", "boot-2");
        assert_eq!(ask(&node(None, true), true, vec![(true, Some(&failed))]), TaintDecision::Leave);
        assert_eq!(ask(&node(None, true), true, vec![(false, Some(&failed))]), TaintDecision::Settle);
    }

    #[test]
    fn an_application_that_comes_later_does_not_make_a_node_new() {
        assert_eq!(ask(&node(Some("boot-2"), false), true, vec![(true, None)]), TaintDecision::Leave);
    }

    #[test]
    fn a_taint_on_a_settled_node_goes() {
        assert_eq!(ask(&node(Some("boot-2"), true), true, vec![]), TaintDecision::Settle);
    }

    #[test]
    fn a_node_that_never_has_the_daemon_is_not_tainted() {
        let ask = |tainted| {
            let node = node(None, tainted);
            decide(&Question { node: &node, daemon_selected: false, agent: false, applications: vec![] })
        };
        assert_eq!(ask(false), TaintDecision::Leave);
        assert_eq!(ask(true), TaintDecision::Clear);
    }

    #[test]
    fn where_taints_are_not_wanted_any_more_the_boot_is_forgotten() {
        let mut memory = crate::controller::memory::tests::fixture::empty();
        let mut wire = crate::controller::memory::tests::fixture::node("n1", json!({}));
        wire.metadata.annotations = Some([(READY_BOOT.to_owned(), "b1".to_owned())].into());
        memory.node(kube::runtime::watcher::Event::Apply(wire));
        assert_eq!(decide_all(&memory, Presence::ByPod, |_| true), []);
        assert_eq!(decide_all(&memory, Presence::ByPod, |_| false), [("n1".into(), TaintDecision::Clear)]);
    }

    #[test]
    fn a_node_without_a_boot_id_is_not_back_yet() {
        let mut node = node(None, false);
        node.boot_id = "".into();
        assert_eq!(ask(&node, true, vec![]), TaintDecision::Put);
    }
}
