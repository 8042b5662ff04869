//! Selectors of nodes, pods and containers by labels.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::labels;

/// Returns the schema of a label selector. Server-side apply replaces lists and the selector as a whole.
pub fn selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "Labels that must be there. Empty selects everything.",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchExpressions": {
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "type": "string" },
                        "operator": { "type": "string", "description": "In, NotIn, Exists or DoesNotExist." },
                        "values": {
                            "type": "array",
                            "x-kubernetes-list-type": "atomic",
                            "items": { "type": "string" }
                        }
                    }
                }
            },
            "matchLabels": { "type": "object", "additionalProperties": { "type": "string" } }
        }
    })
}

/// Network namespaces of pods, anywhere in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetworkNamespaceSelector {
    /// Only pods of this namespace; all namespaces if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Pods whose network namespaces are selected.
    #[schemars(schema_with = "selector")]
    pub pods: LabelSelector,
}

/// Network namespaces of pods of the application's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkNamespaceSelector {
    /// Pods whose network namespaces are selected.
    #[schemars(schema_with = "selector")]
    pub pods: LabelSelector,
}

/// Containers of pods, anywhere in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterContainerSelector {
    /// Only pods of this namespace; all namespaces if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Pods whose containers are selected.
    #[schemars(schema_with = "selector")]
    pub pods: LabelSelector,
    /// Only containers of these names; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub container_names: Vec<String>,
}

/// Containers of pods of the application's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSelector {
    /// Pods whose containers are selected.
    #[schemars(schema_with = "selector")]
    pub pods: LabelSelector,
    /// Only containers of these names; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub container_names: Vec<String>,
}

/// Selector of pods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PodSelector<'a> {
    /// Namespace of the pods; `None` means every namespace.
    pub namespace: Option<&'a str>,
    /// Selector of the pods' labels.
    pub labels: &'a LabelSelector,
}

impl<'a> From<&'a ClusterNetworkNamespaceSelector> for PodSelector<'a> {
    fn from(selector: &'a ClusterNetworkNamespaceSelector) -> Self {
        Self::within(&selector.namespace, &selector.pods)
    }
}

impl<'a> From<&'a ClusterContainerSelector> for PodSelector<'a> {
    fn from(selector: &'a ClusterContainerSelector) -> Self {
        Self::within(&selector.namespace, &selector.pods)
    }
}

impl<'a> PodSelector<'a> {
    fn within(namespace: &'a Option<String>, labels: &'a LabelSelector) -> Self {
        let namespace = namespace.as_deref().filter(|namespace| !namespace.is_empty());
        Self { namespace, labels }
    }

    /// Returns whether a pod is selected. An invalid selector selects nothing; the planner reports it.
    #[must_use]
    pub fn matches(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let label = |key: &str| labels.get(key).map(String::as_str);
        self.namespace.is_none_or(|only| only == namespace)
            && labels::matches(self.labels, label).unwrap_or(false)
    }
}
