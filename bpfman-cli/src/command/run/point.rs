//! Conversion of hooks to the wire.

use std::path::Path;

use bpfman_model::{AttachPoint, WrittenPoint};
use bpfman_proto::WirePoint;

use crate::args::value::absolute;

pub fn on_the_wire(hook: &WrittenPoint, priority: i32) -> WirePoint {
    let mut point = hook.point.clone();
    if let Some(own) = point.priority_mut() {
        *own = priority;
    }
    match &mut point {
        // A target without a slash is a library's name, which the daemon looks up.
        AttachPoint::Uprobe { target, .. }
        | AttachPoint::UprobeMulti { target, .. }
        | AttachPoint::Usdt { target, .. }
            if target.contains('/') =>
        {
            *target = absolute(Path::new(target));
        }
        AttachPoint::Netns { netns: Some(path) } => *path = absolute(path).into(),
        _ => {}
    }
    WirePoint::from(&point)
}
