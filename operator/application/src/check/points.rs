use super::fields::{SpecProblems, matches};
use super::links::order;
use super::selectors::{is_interface_name, label_selector};
use crate::name;
use crate::points::kernel::{EVENT, FUNCTION, IDENTIFIER, PerfEventLink};
use crate::points::maps::MAP_NAME;
use crate::points::network::NetfilterPoint;
use crate::points::{MAX_FUNCTIONS, MAX_PATTERNS, PointBlocks, links};

/// `NF_IP_PRI_CONNTRACK_DEFRAG` of the kernel.
const DEFRAGMENTS_AT: i32 = -400;

pub fn check(found: &mut SpecProblems, path: &str, blocks: &PointBlocks) {
    let count = blocks.loaded_for.as_ref().map_or(0, |block| block.links.len());
    if count > 1 {
        found.add(format!("{path}.loadedFor.links"), format!("it has {count} entries: at most 1 is allowed"));
    }
    for (at, link) in links(blocks.raw_tracepoint.as_ref()) {
        let says = "no raw trace point: its name without a category, such as sched_switch, is needed";
        text(found, format!("{path}.rawTracepoint.links[{at}].name"), &link.name, (IDENTIFIER, 127), says);
    }
    for (at, link) in links(blocks.cgroup.as_ref()) {
        let path = format!("{path}.cgroup.links[{at}]");
        cgroup(found, format!("{path}.path"), &link.point.path);
        order(found, &path, link.order.as_ref());
    }
    for (at, link) in links(blocks.kprobe_multi.as_ref()) {
        kernel_functions(found, &format!("{path}.kprobeMulti.links[{at}].functions"), &link.functions);
    }
    for (at, link) in links(blocks.perf_event.as_ref()) {
        perf_event(found, &format!("{path}.perfEvent.links[{at}]"), link);
    }
    let maps = links(blocks.sockmap.as_ref()).map(|(at, link)| ("sockmap", at, &link.map));
    let maps = maps.chain(links(blocks.struct_ops.as_ref()).map(|(at, link)| ("structOps", at, &link.map)));
    for (block, at, map) in maps {
        let says = "no name of a map: letters, digits, _ and . are allowed, 64 at most";
        text(found, format!("{path}.{block}.links[{at}].map"), map, (MAP_NAME, 64), says);
    }
    for (at, link) in links(blocks.ksyscall.as_ref()) {
        let says = "no name of a system call: letters, digits and _ are allowed, such as openat";
        text(found, format!("{path}.ksyscall.links[{at}].name"), &link.name, (IDENTIFIER, 64), says);
    }
    binaries(found, path, blocks);
    networks(found, path, blocks);
}

fn text(found: &mut SpecProblems, path: String, value: &str, (pattern, longest): (&str, usize), says: &str) {
    if value.chars().count() > longest || !matches(pattern, value) {
        found.add(path, format!("{:?} is {says}", value.chars().take(60).collect::<String>()));
    }
}

fn cgroup(found: &mut SpecProblems, path: String, group: &str) {
    let leads_away = group.split('/').any(|name| matches!(name, "." | ".."));
    if !group.starts_with('/') || leads_away || group.len() > 4096 || group.contains(char::is_control) {
        let says = "no cgroup: its path from the root of the hierarchy, such as /system.slice/web.service, is needed";
        found.add(path, format!("{:?} is {says}", group.chars().take(60).collect::<String>()));
    }
}

fn functions(found: &mut SpecProblems, path: &str, functions: &[String]) {
    if !(1..=MAX_FUNCTIONS).contains(&functions.len()) {
        found.add(path, format!("it has {} entries: 1 to {MAX_FUNCTIONS} are allowed", functions.len()));
    }
}

fn kernel_functions(found: &mut SpecProblems, path: &str, names: &[String]) {
    functions(found, path, names);
    for (at, name) in names.iter().enumerate() {
        let says = "neither a kernel function nor a pattern of some with * and ?";
        text(found, format!("{path}[{at}]"), name, (FUNCTION, 128), says);
    }
    let patterns = names.iter().filter(|name| name.contains(['*', '?'])).count();
    if patterns > MAX_PATTERNS {
        found
            .add(path, format!("{patterns} of its entries are patterns: at most {MAX_PATTERNS} are allowed"));
    }
}

fn perf_event(found: &mut SpecProblems, path: &str, link: &PerfEventLink) {
    let says = "no perf event: its name, such as cpu-clock, is needed";
    text(found, format!("{path}.event"), &link.event, (EVENT, 64), says);
    match (link.frequency, link.period) {
        (Some(_), Some(_)) => found.add(path, "frequency and period are both given: exactly one is allowed"),
        (None, None) => found.add(path, "neither frequency nor period is given: exactly one is needed"),
        _ => {}
    }
    for (field, value) in [("frequency", link.frequency), ("period", link.period)] {
        if let Some(value) = value.filter(|value| *value < 1) {
            found.add(format!("{path}.{field}"), format!("{value} is never: 1 or more is allowed"));
        }
    }
    process(found, path, link.pid);
}

fn process(found: &mut SpecProblems, path: &str, pid: Option<i32>) {
    if let Some(pid) = pid.filter(|pid| *pid < 1) {
        found.add(format!("{path}.pid"), format!("{pid} is no process id: 1 or more is allowed, or none"));
    }
}

fn binaries(found: &mut SpecProblems, path: &str, blocks: &PointBlocks) {
    for (at, link) in links(blocks.uprobe_multi.as_ref()) {
        let path = format!("{path}.uprobeMulti.links[{at}]");
        given(found, &path, &[("target", &link.point.target)]);
        functions(found, &format!("{path}.functions"), &link.point.functions);
        for (at, name) in link.point.functions.iter().enumerate() {
            given(found, &path, &[(&format!("functions[{at}]"), name)]);
        }
        process(found, &path, link.point.pid);
        if let Some(containers) = &link.containers {
            label_selector(found, &format!("{path}.containers.pods"), &containers.pods);
        }
    }
    for (at, link) in links(blocks.usdt.as_ref()) {
        let path = format!("{path}.usdt.links[{at}]");
        let point = &link.point;
        given(
            found,
            &path,
            &[("target", &point.target), ("provider", &point.provider), ("name", &point.name)],
        );
        process(found, &path, point.pid);
        if let Some(containers) = &link.containers {
            label_selector(found, &format!("{path}.containers.pods"), &containers.pods);
        }
    }
}

fn given(found: &mut SpecProblems, path: &str, fields: &[(&str, &String)]) {
    for (field, _) in fields.iter().filter(|(_, value)| value.is_empty() || value.contains('\0')) {
        found.add(format!("{path}.{field}"), "it is empty: a name is needed");
    }
}

fn networks(found: &mut SpecProblems, path: &str, blocks: &PointBlocks) {
    for (block, at, choice) in blocks.namespaces() {
        let path = format!("{path}.{block}.links[{at}]");
        if choice.netns_path.is_some() && choice.network_namespaces.is_some() {
            found.add(&*path, "netnsPath and networkNamespaces are both given: at most one is allowed");
        }
        if let Some(file) = &choice.netns_path
            && !matches(name::PATH, file)
        {
            found.add(format!("{path}.netnsPath"), format!("\"{file}\" is no absolute path of a file"));
        }
        if let Some(pods) = choice.pods() {
            label_selector(found, &format!("{path}.networkNamespaces.pods"), pods.labels);
        }
    }
    for (at, link) in links(blocks.netfilter.as_ref()) {
        netfilter(found, &format!("{path}.netfilter.links[{at}].priority"), &link.point);
    }
    for (at, link) in links(blocks.netkit.as_ref()) {
        let interface = &link.point.interface;
        if !is_interface_name(interface) {
            found.add(
                format!("{path}.netkit.links[{at}].interface"),
                format!(
                    "\"{interface}\" is no name of an interface: 1 to 15 bytes without / and spaces are allowed"
                ),
            );
        }
    }
}

fn netfilter(found: &mut SpecProblems, path: &str, point: &NetfilterPoint) {
    match point.priority {
        i32::MIN | i32::MAX => {
            found.add(path, format!("{} is the kernel's own: one between is allowed", point.priority));
        }
        early if point.defragment && early <= DEFRAGMENTS_AT => found.add(
            path,
            format!(
                "{early} is before fragments are put together: with defragment more than {DEFRAGMENTS_AT} is allowed"
            ),
        ),
        _ => {}
    }
}
