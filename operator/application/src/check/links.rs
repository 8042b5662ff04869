//! Attachments: where, in which place, of which process.

use super::fields::Found;
use super::selectors::{interface_selector, label_selector};
use crate::place::LinkOrder;
use crate::probe::UprobePoint;
use crate::program::{ClusterProgram, Program};
use crate::tc::TcxPoint;
use crate::tracing::Tracing;
use crate::xdp::XdpPoint;

/// XDP, TC and TCX of cluster applications.
pub fn cluster_packets(found: &mut Found, path: &str, program: &ClusterProgram) {
    for (at, link) in program.xdp.iter().flat_map(|block| &block.links).enumerate() {
        let path = format!("{path}.xdp.links[{at}]");
        xdp(found, &path, &link.point);
        if let Some(pods) = &link.network_namespaces {
            label_selector(found, &format!("{path}.networkNamespaces.pods"), &pods.pods);
        }
    }
    for (at, link) in program.tc.iter().flat_map(|block| &block.links).enumerate() {
        let path = format!("{path}.tc.links[{at}]");
        tcx(found, &path, &link.point.at);
        if let Some(pods) = &link.network_namespaces {
            label_selector(found, &format!("{path}.networkNamespaces.pods"), &pods.pods);
        }
    }
    for (at, link) in program.tcx.iter().flat_map(|block| &block.links).enumerate() {
        let path = format!("{path}.tcx.links[{at}]");
        tcx(found, &path, &link.point);
        if let Some(pods) = &link.network_namespaces {
            label_selector(found, &format!("{path}.networkNamespaces.pods"), &pods.pods);
        }
    }
}

/// Everything else of cluster applications.
pub fn probes(found: &mut Found, path: &str, program: &ClusterProgram) {
    tracing(found, &format!("{path}.fentry"), program.fentry.as_ref());
    tracing(found, &format!("{path}.fexit"), program.fexit.as_ref());
    for (at, link) in program.kprobe.iter().flat_map(|block| &block.links).enumerate() {
        found.name(&format!("{path}.kprobe.links[{at}].function"), &link.function);
        offset(found, &format!("{path}.kprobe.links[{at}]"), link.offset);
    }
    for (at, link) in program.kretprobe.iter().flat_map(|block| &block.links).enumerate() {
        found.name(&format!("{path}.kretprobe.links[{at}].function"), &link.function);
    }
    for (at, link) in program.tracepoint.iter().flat_map(|block| &block.links).enumerate() {
        found.name(&format!("{path}.tracepoint.links[{at}].name"), &link.name);
    }
    for (block, probe) in [("uprobe", &program.uprobe), ("uretprobe", &program.uretprobe)] {
        for (at, link) in probe.iter().flat_map(|block| &block.links).enumerate() {
            let path = format!("{path}.{block}.links[{at}]");
            uprobe(found, &path, &link.point);
            if let Some(containers) = &link.containers {
                label_selector(found, &format!("{path}.containers.pods"), &containers.pods);
            }
        }
    }
}

/// All of namespaced applications.
pub fn namespaced(found: &mut Found, path: &str, program: &Program) {
    for (at, link) in program.xdp.iter().flat_map(|block| &block.links).enumerate() {
        let path = format!("{path}.xdp.links[{at}]");
        xdp(found, &path, &link.point);
        label_selector(found, &format!("{path}.networkNamespaces.pods"), &link.network_namespaces.pods);
    }
    for (at, link) in program.tc.iter().flat_map(|block| &block.links).enumerate() {
        let path = format!("{path}.tc.links[{at}]");
        tcx(found, &path, &link.point.at);
        label_selector(found, &format!("{path}.networkNamespaces.pods"), &link.network_namespaces.pods);
    }
    for (at, link) in program.tcx.iter().flat_map(|block| &block.links).enumerate() {
        let path = format!("{path}.tcx.links[{at}]");
        tcx(found, &path, &link.point);
        label_selector(found, &format!("{path}.networkNamespaces.pods"), &link.network_namespaces.pods);
    }
    for (block, probe) in [("uprobe", &program.uprobe), ("uretprobe", &program.uretprobe)] {
        for (at, link) in probe.iter().flat_map(|block| &block.links).enumerate() {
            let path = format!("{path}.{block}.links[{at}]");
            uprobe(found, &path, &link.point);
            uprobe_of_namespace(found, &path, &link.point);
            label_selector(found, &format!("{path}.containers.pods"), &link.containers.pods);
        }
    }
}

fn xdp(found: &mut Found, path: &str, point: &XdpPoint) {
    interface_selector(found, path, &point.interface_selector);
    found.priority(path, point.priority);
    order(found, path, point.order.as_ref());
}

fn tcx(found: &mut Found, path: &str, point: &TcxPoint) {
    interface_selector(found, path, &point.interface_selector);
    found.priority(path, point.priority);
    order(found, path, point.order.as_ref());
}

fn order(found: &mut Found, path: &str, order: Option<&LinkOrder>) {
    let Some(order) = order else { return };
    if let Some(role) = &order.role {
        let length = role.chars().count();
        if !(1..=64).contains(&length) {
            found.add(
                format!("{path}.order.role"),
                format!("it has {length} characters: 1 to 64 are allowed"),
            );
        }
    }
    for (side, anchors) in [("before", &order.before), ("after", &order.after)] {
        if anchors.len() > 16 {
            found.add(
                format!("{path}.order.{side}"),
                format!("it names {} programs: at most 16 are allowed", anchors.len()),
            );
        }
        for (at, anchor) in anchors.iter().enumerate().filter(|(_, anchor)| anchor.is_empty()) {
            found.add(
                format!("{path}.order.{side}[{at}]"),
                format!("{anchor:?} names no program: a function name, role=NAME or foreign:NAME is allowed"),
            );
        }
    }
}

fn tracing(found: &mut Found, path: &str, block: Option<&Tracing>) {
    let Some(block) = block else { return };
    found.name(&format!("{path}.function"), &block.function);
    if block.links.len() > 1 {
        found.add(
            format!("{path}.links"),
            format!("it has {} entries: at most 1 is allowed", block.links.len()),
        );
    }
}

fn uprobe(found: &mut Found, path: &str, point: &UprobePoint) {
    // Clients of the published API send an empty function where they mean none.
    if let Some(function) = point.function.as_ref().filter(|function| !function.is_empty()) {
        found.name(&format!("{path}.function"), function);
    }
    if point.target.is_empty() {
        found.add(
            format!("{path}.target"),
            "it is empty: the path of a binary or the name of a library is needed",
        );
    }
    if let Some(pid) = point.pid.filter(|pid| *pid < 0) {
        found.add(format!("{path}.pid"), format!("{pid} is no process id: 1 or more is allowed, or none"));
    }
    offset(found, path, point.offset);
}

/// A probe on a file runs in every process that maps the file, also in those of other namespaces whose images share a
/// layer with it: so a namespace gets probes at the beginnings of functions alone.
fn uprobe_of_namespace(found: &mut Found, path: &str, point: &UprobePoint) {
    if point.offset > 0 {
        found.add(
            format!("{path}.offset"),
            format!(
                "{} is not allowed in a BpfApplication: inside an instruction it would end every process that runs the \
                 function, those of other namespaces too; take the offset away, or ask for a ClusterBpfApplication",
                point.offset
            ),
        );
    }
    // 0 stands for "any process" in clients that cannot leave a number out.
    if let Some(pid) = point.pid.filter(|pid| *pid > 0) {
        found.add(
            format!("{path}.pid"),
            format!(
                "{pid} is not allowed in a BpfApplication: it is a process of the node, whoever it belongs to; take it \
                 away, `containers` says where to attach"
            ),
        );
    }
}

fn offset(found: &mut Found, path: &str, offset: i64) {
    if offset < 0 {
        found.add(format!("{path}.offset"), format!("{offset} is before the function: 0 or more is allowed"));
    }
}
