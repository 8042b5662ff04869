use super::fields::SpecProblems;
use super::selectors::{interface_selector, label_selector};
use crate::packets::of_program;
use crate::place::LinkOrder;
use crate::probe::UprobePoint;
use crate::program::ClusterProgram;
use crate::tracing::Tracing;

pub fn packets(found: &mut SpecProblems, at: usize, program: &ClusterProgram) {
    for link in of_program(at, program) {
        interface_selector(found, &link.path, link.interfaces);
        found.priority(&link.path, link.priority);
        order(found, &link.path, link.order);
        if let Some(pods) = link.pods {
            label_selector(found, &format!("{}.networkNamespaces.pods", link.path), pods.labels);
        }
    }
}

pub fn probes(found: &mut SpecProblems, path: &str, program: &ClusterProgram, namespaced: bool) {
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
            if namespaced {
                uprobe_of_namespace(found, &path, &link.point);
            }
            if let Some(containers) = &link.containers {
                label_selector(found, &format!("{path}.containers.pods"), &containers.pods);
            }
        }
    }
}

pub fn order(found: &mut SpecProblems, path: &str, order: Option<&LinkOrder>) {
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

fn tracing(found: &mut SpecProblems, path: &str, block: Option<&Tracing>) {
    let Some(block) = block else { return };
    found.name(&format!("{path}.function"), &block.function);
    if block.links.len() > 1 {
        found.add(
            format!("{path}.links"),
            format!("it has {} entries: at most 1 is allowed", block.links.len()),
        );
    }
}

fn uprobe(found: &mut SpecProblems, path: &str, point: &UprobePoint) {
    // Clients of the published API send an empty function for none.
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

/// A probe on a file runs in every process that maps it, also of other namespaces: only a function's start is allowed.
fn uprobe_of_namespace(found: &mut SpecProblems, path: &str, point: &UprobePoint) {
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
    // Clients that cannot omit a number send 0 for "any process".
    if let Some(pid) = point.pid.filter(|pid| *pid > 0) {
        found.add(
            format!("{path}.pid"),
            format!(
                "{pid} is not allowed in a BpfApplication: it is a process of the node, whoever it belongs to; take it \
                 away, `containers` sets where to attach"
            ),
        );
    }
}

fn offset(found: &mut SpecProblems, path: &str, offset: i64) {
    if offset < 0 {
        found.add(format!("{path}.offset"), format!("{offset} is before the function: 0 or more is allowed"));
    }
}
