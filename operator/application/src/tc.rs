//! TC and TCX attachments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::interface::{InterfaceSelector, TrafficDirection};
use super::place::{LinkOrder, OnUnavailable};

/// Interface, side and place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcxPoint {
    /// Interfaces.
    pub interface_selector: InterfaceSelector,
    /// Direction of the packets.
    pub direction: TrafficDirection,
    /// Lower runs earlier; absent counts as 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: Option<i32>,
    /// Place by intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<LinkOrder>,
    /// Treatment of a pod for which this attachment fails.
    #[serde(default)]
    pub on_unavailable: OnUnavailable,
}

/// Interface, side, place and verdicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcPoint {
    /// Interface, side and place.
    #[serde(flatten)]
    pub at: TcxPoint,
    /// Verdicts after which the next program runs.
    #[serde(default = "default_proceed_on")]
    pub proceed_on: Vec<TcProceedOn>,
}

fn default_proceed_on() -> Vec<TcProceedOn> {
    vec![TcProceedOn::Pipe, TcProceedOn::DispatcherReturn]
}

/// Verdicts of TC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TcProceedOn {
    /// -1.
    UnSpec = -1,
    /// 0.
    #[serde(rename = "OK")]
    Ok = 0,
    /// 1.
    ReClassify = 1,
    /// 2.
    Shot = 2,
    /// 3.
    Pipe = 3,
    /// 4.
    Stolen = 4,
    /// 5.
    Queued = 5,
    /// 6.
    Repeat = 6,
    /// 7.
    ReDirect = 7,
    /// 8.
    Trap = 8,
    /// 30: what a dispatcher returns for a program that did not run.
    DispatcherReturn = 30,
}

impl TcProceedOn {
    /// Returns the number in the daemon's API.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }
}
