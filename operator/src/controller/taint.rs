//! Which nodes keep pods away until their programs are back. Pure.
//!
//! A node is new in each boot until its programs were seen back in that boot; that is remembered in an annotation of the
//! node, so that an application which comes later does not make it new again. Kubelets may register with the taint
//! (`--register-with-taints`), which leaves no moment without it; it is taken away just the same.

use std::collections::{HashMap, HashSet};

use super::memory::{Memory, View};
use super::projection::{Answer, Node, Outcome};
use super::summarize::Presence;
use super::text::Text;

/// What is to be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it is as it should be.
    Leave,
    /// Keep pods away.
    Put,
    /// Let pods in, and remember the boot.
    Settle,
    /// Let pods in, and forget the boot: taints are not wanted, or not here.
    Clear,
}

/// What is known of one node and its applications.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The node.
    pub node: &'a Node,
    /// Whether the daemon is meant to run there.
    pub daemon_selected: bool,
    /// Whether the agent is there.
    pub agent: bool,
    /// Applications that select it: whether each fails closed, and what the node answered.
    pub applications: Vec<(bool, Option<&'a Answer>)>,
}

/// Decides about one node.
#[must_use]
pub fn decide(question: &Question<'_>) -> Decision {
    let node = question.node;
    if !question.daemon_selected {
        return if node.tainted { Decision::Clear } else { Decision::Leave };
    }
    // A node that has not said in which boot it is: its kubelet has not reported yet.
    let settled = !node.boot_id.is_empty()
        && node.ready_boot.as_deref().is_some_and(|boot| boot.eq_ignore_ascii_case(&node.boot_id));
    match (settled || is_back(question), node.tainted) {
        (true, false) if settled => Decision::Leave,
        (true, _) => Decision::Settle,
        (false, true) => Decision::Leave,
        (false, false) => Decision::Put,
    }
}

/// Whether every application that selects the node was answered for in this boot, and none failed that fails closed.
fn is_back(question: &Question<'_>) -> bool {
    let boot = &question.node.boot_id;
    if boot.is_empty() {
        return false;
    }
    if question.applications.is_empty() {
        return question.agent;
    }
    question.applications.iter().all(|(closed, answer)| {
        answer.is_some_and(|answer| {
            let fresh = answer.boot_id.as_deref().is_some_and(|answered| answered.eq_ignore_ascii_case(boot));
            let done = match answer.outcome {
                Outcome::Success => true,
                Outcome::Error => !closed,
                Outcome::Pending | Outcome::Unloaded | Outcome::NotSelected => false,
            };
            fresh && done
        })
    })
}

/// Decides about all nodes that are not settled. `daemon_selected` says where the daemon is meant to run.
#[must_use]
pub fn decide_all(
    memory: &Memory,
    presence: Presence,
    daemon_selected: impl Fn(&Node) -> bool,
) -> Vec<(Text, Decision)> {
    let applications: Vec<View<'_>> = memory.applications().filter(|view| !view.application.going).collect();
    let unsettled =
        memory.nodes().filter(|(_, node)| node.tainted || node.ready_boot.as_ref() != Some(&node.boot_id));
    let mut unsettled = unsettled.peekable();
    if unsettled.peek().is_none() {
        return Vec::new();
    }
    let agents: HashSet<&str> = memory.agents().map(|node| &**node).collect();
    let answers: Vec<HashMap<&str, &Answer>> = applications
        .iter()
        .map(|view| {
            view.answers().filter(|answer| !answer.going).map(|answer| (&*answer.node, answer)).collect()
        })
        .collect();
    let selects = |view: &View<'_>, node: &Node| {
        view.application.selector.as_ref().is_ok_and(|selector| selector.matches(|key| node.label(key)))
    };
    unsettled
        .map(|(name, node)| {
            let selecting = applications.iter().zip(&answers).filter(|(view, _)| selects(view, node));
            let question = Question {
                node,
                daemon_selected: daemon_selected(node),
                agent: presence == Presence::Everywhere || agents.contains(&**name),
                applications: selecting
                    .map(|(view, answers)| (view.application.fails_closed, answers.get(&**name).copied()))
                    .collect(),
            };
            (name.clone(), decide(&question))
        })
        .filter(|(_, decision)| *decision != Decision::Leave)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;
    use crate::controller::projection::READY_BOOT;
    use crate::controller::text::Interner;

    fn node(ready_boot: Option<&str>, tainted: bool) -> Node {
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
        Node::new(&serde_json::from_value(object).unwrap(), &mut Interner::default())
    }

    fn answer(condition: &str, boot: &str) -> Answer {
        let object = json!({
            "metadata": { "name": "a-1" },
            "status": { "node": "n1", "bootId": boot, "conditions": [{ "type": condition, "status": "True" }] }
        });
        Answer::new(&serde_json::from_value(object).unwrap(), &mut Interner::default())
    }

    fn ask(node: &Node, agent: bool, applications: Vec<(bool, Option<&Answer>)>) -> Decision {
        decide(&Question { node, daemon_selected: true, agent, applications })
    }

    #[test]
    fn a_new_node_is_tainted_until_its_agent_is_there() {
        assert_eq!(ask(&node(None, false), false, vec![]), Decision::Put);
        assert_eq!(ask(&node(None, true), false, vec![]), Decision::Leave);
        assert_eq!(ask(&node(None, true), true, vec![]), Decision::Settle);
    }

    #[test]
    fn a_rebooted_node_waits_for_answers_of_this_boot() {
        let (old, fresh) = (answer("Success", "boot-1"), answer("Success", "boot-2"));
        let rebooted = node(Some("boot-1"), false);
        assert_eq!(ask(&rebooted, true, vec![(false, Some(&old))]), Decision::Put);
        assert_eq!(ask(&rebooted, true, vec![(false, Some(&fresh)), (false, None)]), Decision::Put);
        let tainted = node(Some("boot-1"), true);
        assert_eq!(ask(&tainted, true, vec![(false, Some(&fresh))]), Decision::Settle);
    }

    #[test]
    fn what_is_pending_keeps_the_taint() {
        let pending = answer("Pending", "boot-2");
        assert_eq!(ask(&node(None, true), true, vec![(false, Some(&pending))]), Decision::Leave);
    }

    #[test]
    fn a_failure_keeps_the_taint_only_where_it_fails_closed() {
        let failed = answer("Error", "boot-2");
        assert_eq!(ask(&node(None, true), true, vec![(true, Some(&failed))]), Decision::Leave);
        assert_eq!(ask(&node(None, true), true, vec![(false, Some(&failed))]), Decision::Settle);
    }

    #[test]
    fn an_application_that_comes_later_does_not_make_a_node_new() {
        assert_eq!(ask(&node(Some("boot-2"), false), true, vec![(true, None)]), Decision::Leave);
    }

    #[test]
    fn a_taint_on_a_settled_node_goes() {
        // A kubelet that restarts registers it again.
        assert_eq!(ask(&node(Some("boot-2"), true), true, vec![]), Decision::Settle);
    }

    #[test]
    fn a_node_that_never_has_the_daemon_is_not_tainted() {
        let ask = |tainted| {
            let node = node(None, tainted);
            decide(&Question { node: &node, daemon_selected: false, agent: false, applications: vec![] })
        };
        assert_eq!(ask(false), Decision::Leave);
        assert_eq!(ask(true), Decision::Clear);
    }

    #[test]
    fn a_node_without_a_boot_id_is_not_back_yet() {
        let mut node = node(None, false);
        node.boot_id = "".into();
        assert_eq!(ask(&node, true, vec![]), Decision::Put);
    }
}
