//! Limits the size of a status: the API server refuses objects above about one MiB, and the write would fail forever.
//! Healthy attachments are left out first, from the end; the condition has their number.

use bpfman_application::state::link::LinkStatus;
use bpfman_application::state::program::ClusterProgramState;
use serde_json::Value;

use crate::agent::objects::state::Status;

/// Maximum size of a written status, in bytes of JSON. Metadata and the entries of field managers are added to it.
pub const MAX_STATUS: usize = 700 << 10;

/// Leaves out attachments until the status fits. Returns the number left out, and the number of all.
pub fn fit(status: &mut Status, largest: usize) -> Option<(usize, usize)> {
    let size = size(status);
    if size <= largest {
        return None;
    }
    let all: usize =
        status.programs.iter().map(|program| blocks(program).map_or(0, |links| links.len())).sum();
    let mut excess = size - largest;
    let mut left_out = 0;
    for only_attached in [true, false] {
        for program in status.programs.iter_mut().rev() {
            let (removed, bytes) = remove(program, excess, only_attached);
            left_out += removed;
            excess = excess.saturating_sub(bytes);
            if excess == 0 {
                return Some((left_out, all));
            }
        }
    }
    Some((left_out, all))
}

fn size(status: &Status) -> usize {
    serde_json::to_vec(status).map_or(0, |json| json.len())
}

fn blocks(program: &ClusterProgramState) -> Option<Vec<Value>> {
    let value = serde_json::to_value(program).ok()?;
    let block = value.as_object()?.values().find_map(|block| block.get("links"))?;
    block.as_array().cloned()
}

fn remove(program: &mut ClusterProgramState, excess: usize, only_attached: bool) -> (usize, usize) {
    let Ok(mut value) = serde_json::to_value(&*program) else { return (0, 0) };
    let Some(links) = value
        .as_object_mut()
        .and_then(|program| program.values_mut().find_map(|block| block.get_mut("links")))
        .and_then(Value::as_array_mut)
    else {
        return (0, 0);
    };
    let attached = serde_json::to_value(LinkStatus::Attached).unwrap_or_default();
    let (mut removed, mut bytes) = (0, 0);
    let mut kept = Vec::with_capacity(links.len());
    while let Some(link) = links.pop() {
        if bytes < excess && (!only_attached || link["linkStatus"] == attached) {
            removed += 1;
            bytes += link.to_string().len() + 1;
        } else {
            kept.push(link);
        }
    }
    kept.reverse();
    *links = kept;
    match serde_json::from_value(value) {
        Ok(fewer) => {
            *program = fewer;
            (removed, bytes)
        }
        Err(_) => (0, 0),
    }
}
