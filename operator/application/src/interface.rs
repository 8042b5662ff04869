//! Selectors of network interfaces, and traffic directions.

use bpfman_model::Direction;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Interfaces by name, the node's primary one, or by discovery. Exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct InterfaceSelector {
    /// Each of these; they have to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<String>>,
    /// The interface that has the node's internal address. Any value counts as true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_node_interface: Option<bool>,
    /// Interfaces as they come and go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interfaces_discovery_config: Option<InterfacesDiscovery>,
}

/// Interfaces as they come and go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterfacesDiscovery {
    /// True: discover interfaces.
    #[serde(default)]
    pub interface_auto_discovery: bool,
    /// Never these, by exact name.
    #[serde(default = "loopback")]
    pub exclude_interfaces: Vec<String>,
    /// Only these, by exact name or as `/regular expression/`; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_interfaces: Vec<String>,
}

fn loopback() -> Vec<String> {
    vec!["lo".to_owned()]
}

impl Default for InterfacesDiscovery {
    fn default() -> Self {
        Self {
            interface_auto_discovery: false,
            exclude_interfaces: loopback(),
            allowed_interfaces: Vec::new(),
        }
    }
}

/// Side of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, PartialOrd, Ord, Hash)]
pub enum TrafficDirection {
    /// Packets that come in.
    Ingress,
    /// Packets that go out.
    Egress,
}

impl From<TrafficDirection> for Direction {
    fn from(direction: TrafficDirection) -> Self {
        match direction {
            TrafficDirection::Ingress => Self::Ingress,
            TrafficDirection::Egress => Self::Egress,
        }
    }
}
