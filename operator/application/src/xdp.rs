//! XDP attachments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::interface::InterfaceSelector;
use super::place::{LinkOrder, OnUnavailable};

/// Interface, place and verdicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct XdpPoint {
    /// Interfaces.
    pub interface_selector: InterfaceSelector,
    /// Lower runs earlier; absent counts as 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: Option<i32>,
    /// Verdicts after which the next program runs.
    #[serde(default = "default_proceed_on")]
    pub proceed_on: Vec<XdpProceedOn>,
    /// Place by intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<LinkOrder>,
    /// Treatment of a pod for which this attachment fails.
    #[serde(default)]
    pub on_unavailable: OnUnavailable,
}

fn default_proceed_on() -> Vec<XdpProceedOn> {
    vec![XdpProceedOn::Pass, XdpProceedOn::DispatcherReturn]
}

/// Verdicts of XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum XdpProceedOn {
    /// 0.
    Aborted = 0,
    /// 1.
    Drop = 1,
    /// 2.
    Pass = 2,
    /// 3.
    #[serde(rename = "TX")]
    Tx = 3,
    /// 4.
    ReDirect = 4,
    /// 31: what a dispatcher returns for a program that did not run.
    DispatcherReturn = 31,
}

impl XdpProceedOn {
    /// Returns the number in the daemon's API.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }
}
