//! Random specs of applications, and the resulting state of a node.

use std::collections::BTreeSet;

use bpfman_tests::compile;
use bpfman_tests::random::Random;
use serde_json::{Value, json};

use super::{INTERFACES, NAMESPACE};

/// Attachment: program name, interface and priority.
pub type Place = (String, String, i64);

#[derive(Clone, Debug)]
pub struct Wanted {
    is_namespaced: bool,
    programs: Value,
    object: &'static str,
    rollout: Value,
    pub has_rollout: bool,
}

pub fn head(name: &str, is_namespaced: bool) -> Value {
    match is_namespaced {
        false => {
            json!({ "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "metadata": { "name": name } })
        }
        true => json!({ "apiVersion": "bpfman.io/v1alpha1", "kind": "BpfApplication",
            "metadata": { "name": name, "namespace": NAMESPACE } }),
    }
}

impl Wanted {
    pub fn any(random: &mut Random, is_namespaced: bool, before: Option<&Self>) -> Self {
        // Programs of namespaced applications are loaded only: they attach in pods, of which there are none.
        let has_rollout = !is_namespaced && random.below(3) == 0;
        // A broken version is released only with a rollout and a previous revision to roll back to.
        let is_broken =
            has_rollout && before.is_some_and(|before| before.has_rollout) && random.below(3) == 0;
        let all = if is_broken {
            &["broken"][..]
        } else {
            &["xdp_member", "xdp_another", "tc_member", "tcx_member"]
        };
        let mut programs = Vec::new();
        for name in all {
            if is_broken || random.below(2) == 0 {
                programs.push(program(random, name, is_namespaced));
            }
        }
        if programs.is_empty() {
            programs.push(program(random, all[0], is_namespaced));
        }
        let rollout = json!({
            "waves": [1], "soakSeconds": random.below(2), "progressDeadlineSeconds": 60,
            "preflight": if random.below(2) == 0 { "Always" } else { "Never" },
        });
        Self {
            is_namespaced,
            programs: json!(programs),
            object: if is_broken { "broken" } else { "chain" },
            rollout: if has_rollout { rollout } else { Value::Null },
            has_rollout,
        }
    }

    pub fn object(&self, name: &str) -> Value {
        let mut object = head(name, self.is_namespaced);
        object["spec"] = json!({
            "nodeSelector": { "matchLabels": { "zone": "one" } },
            "byteCode": { "path": compile::object(self.object).display().to_string() },
            "programs": self.programs,
        });
        if self.has_rollout {
            object["spec"]["rollout"] = self.rollout.clone();
        }
        object
    }

    pub fn on_node(&self) -> (BTreeSet<String>, BTreeSet<Place>) {
        on_node(&self.programs)
    }
}

fn program(random: &mut Random, name: &str, is_namespaced: bool) -> Value {
    let kind = name.split('_').next().filter(|kind| ["tc", "tcx"].contains(kind)).unwrap_or("xdp");
    let mut links = Vec::new();
    for interface in INTERFACES {
        if random.below(3) == 0 {
            continue;
        }
        let mut link = json!({
            "interfaceSelector": { "interfaces": [interface] }, "priority": 1 + random.below(5),
        });
        if kind != "xdp" {
            link["direction"] = json!("Ingress");
        }
        if is_namespaced {
            link["networkNamespaces"] = json!({ "pods": { "matchLabels": { "app": "none" } } });
        }
        links.push(link);
    }
    json!({ "name": name, "type": kind.to_uppercase(), kind: { "links": links } })
}

pub fn on_node(programs: &Value) -> (BTreeSet<String>, BTreeSet<Place>) {
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for program in programs.as_array().into_iter().flatten() {
        let name = program["name"].as_str().unwrap_or_default().to_owned();
        for kind in ["xdp", "tc", "tcx"] {
            for link in program[kind]["links"].as_array().into_iter().flatten() {
                if link["networkNamespaces"].is_object() {
                    continue;
                }
                let interface = link["interfaceSelector"]["interfaces"][0].as_str().unwrap_or_default();
                places.insert((
                    name.clone(),
                    interface.to_owned(),
                    link["priority"].as_i64().unwrap_or_default(),
                ));
            }
        }
        names.insert(name);
    }
    (names, places)
}
