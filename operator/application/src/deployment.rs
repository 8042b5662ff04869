//! Nodes, resources and tolerations of daemons and agents.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Resources of a container, as in a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResources {
    /// Amounts that the scheduler reserves for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, ResourceQuantity>,
    /// Maximum amounts that it may use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, ResourceQuantity>,
}

/// Quantity in Kubernetes notation (`10m`, `64Mi`), or a whole number, kept as the original text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ResourceQuantity(pub String);

impl<'de> Deserialize<'de> for ResourceQuantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Number(number) => Self(number.to_string()),
            Written::Text(text) => Self(text),
        })
    }
}

/// Toleration of a taint, as in a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeToleration {
    /// The taint's key; absent: every key, which needs the operator Exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub key: Option<String>,
    /// Equal, which compares the value, or Exists. Absent: Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// The taint's value, for Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Effect of the taint; absent: any effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// For NoExecute: how long a pod stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// Comparison of a toleration with a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Key and value are the same.
    Equal,
    /// The key is the same.
    Exists,
}

/// Effect of a taint on pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// Pods that do not tolerate it are not scheduled.
    NoSchedule,
    /// They are scheduled elsewhere if that is possible.
    PreferNoSchedule,
    /// Running pods that do not tolerate it are evicted, too.
    NoExecute,
}

impl NodeToleration {
    /// Returns whether pods with this toleration tolerate a taint.
    #[must_use]
    pub fn tolerates(&self, key: &str, value: &str, effect: &str) -> bool {
        let same_effect = match self.effect {
            None => true,
            Some(TaintEffect::NoSchedule) => effect == "NoSchedule",
            Some(TaintEffect::PreferNoSchedule) => effect == "PreferNoSchedule",
            Some(TaintEffect::NoExecute) => effect == "NoExecute",
        };
        let own = self.key.as_deref().unwrap_or_default();
        let same_key = own.is_empty() || own == key;
        let same_value = match self.operator {
            Some(TolerationOperator::Exists) => true,
            // Kubernetes rejects a toleration without a key unless the operator is `Exists`.
            _ => !own.is_empty() && self.value.as_deref().unwrap_or_default() == value,
        };
        same_effect && same_key && same_value
    }

    /// Returns the problem of an invalid toleration, according to Kubernetes' rules for pods.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        let exists = self.operator == Some(TolerationOperator::Exists);
        if self.key.as_deref().unwrap_or_default().is_empty() && !exists {
            Some("without a key the operator has to be Exists")
        } else if exists && self.value.as_deref().is_some_and(|value| !value.is_empty()) {
            Some("the operator Exists compares no value: leave value out")
        } else if self.toleration_seconds.is_some() && self.effect != Some(TaintEffect::NoExecute) {
            Some("tolerationSeconds is for the effect NoExecute")
        } else {
            None
        }
    }
}

/// A secret of the namespace of the pods, by which the kubelet pulls images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullSecretName {
    /// Its name.
    #[schemars(schema_with = "object_name")]
    pub name: String,
}

fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "Amounts by resource: cpu, memory, ephemeral-storage, or one that nodes of this cluster offer.",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "pattern": "^([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
        }
    })
}

/// Returns the schema of node labels.
pub fn node_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "Labels of the nodes that daemon and agent run on, besides kubernetes.io/os: linux. Absent: all nodes with Linux. An addition to the published API.",
        "maxProperties": 32,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
        }
    })
}

/// Returns the schema of an object name.
pub fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "description": "Name of an object, in lower case.",
        "maxLength": 253,
        "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
    })
}

/// Directory on a node: an absolute path without `.`, `..` and a trailing slash.
pub const FOLDER: &str = "^(/\\.?[A-Za-z0-9_-][A-Za-z0-9._-]*)+$";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use regex::Regex;
    use serde_json::json;

    use super::*;

    fn toleration(value: serde_json::Value) -> NodeToleration {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn toleration_matches_a_taint_as_in_the_scheduler() {
        for (given, taint, tolerated) in [
            (json!({ "operator": "Exists" }), ("a", "b", "NoExecute"), true),
            (json!({ "key": "a", "operator": "Exists" }), ("a", "b", "NoSchedule"), true),
            (json!({ "key": "a", "operator": "Exists" }), ("c", "b", "NoSchedule"), false),
            (json!({ "key": "a", "value": "b" }), ("a", "b", "NoSchedule"), true),
            (json!({ "key": "a", "value": "c" }), ("a", "b", "NoSchedule"), false),
            (json!({ "key": "a" }), ("a", "", "NoSchedule"), true),
            (json!({ "key": "a", "effect": "NoExecute" }), ("a", "", "NoSchedule"), false),
        ] {
            let (key, value, effect) = taint;
            assert_eq!(toleration(given.clone()).tolerates(key, value, effect), tolerated, "{given}");
        }
    }

    #[test]
    fn invalid_toleration_is_a_problem() {
        for (given, says) in [
            (json!({ "value": "b" }), Some("Exists")),
            (json!({ "key": "a", "operator": "Exists", "value": "b" }), Some("leave value out")),
            (json!({ "key": "a", "tolerationSeconds": 5 }), Some("NoExecute")),
            (json!({ "key": "a", "tolerationSeconds": 5, "effect": "NoExecute" }), None),
        ] {
            let problem = toleration(given.clone()).problem();
            assert_eq!(problem.is_some(), says.is_some(), "{given}");
            assert!(problem.unwrap_or_default().contains(says.unwrap_or_default()), "{problem:?}");
        }
    }

    #[test]
    fn quantities_are_texts_or_whole_numbers() {
        let given = json!({ "requests": { "cpu": 1, "memory": "64Mi" } });
        let resources: ContainerResources = serde_json::from_value(given).unwrap();
        assert_eq!(resources.requests["cpu"].0, "1");
        assert_eq!(serde_json::to_value(&resources).unwrap()["requests"]["memory"], "64Mi");
    }

    #[test]
    fn a_folder_is_a_whole_path_without_ways_out() {
        let folder = Regex::new(FOLDER).unwrap();
        for good in ["/var/lib/kubelet", "/var/snap/microk8s/common/var/lib/kubelet", "/a/.b"] {
            assert!(folder.is_match(good), "{good}");
        }
        for bad in ["", "/", "var/lib", "/var/", "/var/../etc", "/a/./b", "/a b", "/a//b"] {
            assert!(!folder.is_match(bad), "{bad}");
        }
    }
}
