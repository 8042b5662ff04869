//! From a spec and the facts of a machine to what is wanted there. Pure: the same input gives the same answer.

use std::collections::BTreeMap;

use bpfman_application::application::ApplicationCommon;
use bpfman_application::bytecode::{ByteCode, ImagePullPolicy};
use bpfman_application::check;
use bpfman_application::interface::{Direction, InterfaceSelector};
use bpfman_application::labels;
use bpfman_application::place::{LinkOrder, OnUnavailable};
use bpfman_application::pods::{ClusterContainerSelector, ContainerSelector};
use bpfman_application::probe::{ClusterUprobe, Uprobe};
use bpfman_application::program::{
    ClusterProgram, ClusterProgramType, Program as NamespacedProgram, ProgramType,
};
pub use bpfman_application::spec::Spec;
use bpfman_application::tc::{TcPoint, TcxPoint};
use bpfman_application::xdp::XdpPoint;
use bpfman_proto::v1::BpfmanProgramType as Wire;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::v1::bytecode_location::Location;
use bpfman_proto::{ACTUAL_TYPE_PREFIX, APPLICATION_KEY_NEWER, v1};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::content::{CONTENT_KEY, PROGRAM_NAME_KEY, PROGRAM_NAMESPACE_KEY, UUID_KEY, content};
use crate::desired::{Desired, Link, Load, Owner, Program, Unknown};
use crate::facts::{Container, Facts, Pod};
use crate::interfaces::{Doubts, Point, Rooms, points};
use crate::key::Links;
use crate::place::DEFAULT_PRIORITY;
use crate::probes;

/// What an application wants on this machine.
///
/// A spec that breaks the rules of its definition is refused as a whole: nothing is changed by it. Patterns of
/// interfaces that are none, pods without a known namespace and the like are problems of their program, and the rest
/// stands.
#[must_use]
pub fn desired(owner: &Owner, spec: &Spec, facts: &Facts) -> Desired {
    let refused = check::structure(spec);
    if !refused.is_empty() {
        return Desired { refused, ..Desired::nothing(owner.clone()) };
    }
    if !selects(&spec.common().node_selector, &facts.labels) {
        return Desired::nothing(owner.clone());
    }
    let (info, programs): (Vec<_>, Vec<Program>) = match spec {
        Spec::Cluster(spec) => spec
            .programs
            .iter()
            .map(|program| (cluster_load(program), cluster_program(program, facts)))
            .unzip(),
        Spec::Namespaced(spec) => {
            let pods = pods_of(owner, facts);
            spec.programs
                .iter()
                .map(|program| (namespaced_load(program), namespaced_program(program, &pods, facts)))
                .unzip()
        }
    };
    let mut request = request(spec.common(), info);
    request.metadata.extend(programs.iter().filter_map(actual_type));
    // Only where it matters: a cluster application gives its maps to pods of all namespaces.
    if let (Spec::Namespaced(_), Some(namespace)) = (spec, &owner.namespace) {
        request.metadata.insert(PROGRAM_NAMESPACE_KEY.to_owned(), namespace.clone());
    }
    let content = content(&request);
    let pairs = [
        (UUID_KEY, owner.uid.as_str()),
        (PROGRAM_NAME_KEY, owner.name.as_str()),
        (APPLICATION_KEY_NEWER, owner.name.as_str()),
        (CONTENT_KEY, content.as_str()),
    ];
    request.metadata.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let pull_policy = match request.bytecode.as_ref().and_then(|bytecode| bytecode.location.as_ref()) {
        Some(Location::Image(image)) => image.image_pull_policy,
        _ => 0,
    };
    let load = Load { request, content, pull_policy, programs, held: None, object_sha256: None };
    Desired { load: Some(load), ..Desired::nothing(owner.clone()) }
}

/// The pods that a namespaced application may touch.
fn pods_of<'a>(owner: &Owner, facts: &'a Facts) -> Vec<&'a Pod> {
    let own = |pod: &&Pod| owner.namespace.as_ref() == Some(&pod.namespace);
    facts.pods.iter().filter(own).collect()
}

fn request(common: &ApplicationCommon, info: Vec<v1::LoadInfo>) -> v1::LoadRequest {
    let globals = common.global_data.iter().flatten();
    v1::LoadRequest {
        bytecode: Some(v1::BytecodeLocation { location: location(&common.byte_code) }),
        global_data: globals.map(|(name, value)| (name.clone(), value.0.clone())).collect(),
        info,
        ..Default::default()
    }
}

/// Metadata that says of a return probe that it is one, whatever its section is called: the wire has no number for it.
fn actual_type(program: &Program) -> Option<(String, String)> {
    let exact = program.program_type.to_ascii_lowercase();
    exact.ends_with("retprobe").then(|| (format!("{ACTUAL_TYPE_PREFIX}{}", program.name), exact))
}

fn location(code: &ByteCode) -> Option<Location> {
    if let Some(image) = &code.image {
        return Some(Location::Image(v1::BytecodeImage {
            url: image.url.clone(),
            image_pull_policy: match image.image_pull_policy {
                ImagePullPolicy::Always => 0,
                ImagePullPolicy::IfNotPresent => 1,
                ImagePullPolicy::Never => 2,
            },
            ..Default::default()
        }));
    }
    code.path.clone().map(Location::File)
}

/// Name of a type in manifests, and the type as it is declared: return probes as their entry probes.
const fn cluster_type(kind: ClusterProgramType) -> (&'static str, Wire) {
    match kind {
        ClusterProgramType::Xdp => ("XDP", Wire::Xdp),
        ClusterProgramType::Tc => ("TC", Wire::Tc),
        ClusterProgramType::Tcx => ("TCX", Wire::Tcx),
        ClusterProgramType::FEntry => ("FEntry", Wire::Fentry),
        ClusterProgramType::FExit => ("FExit", Wire::Fexit),
        ClusterProgramType::KProbe => ("KProbe", Wire::Kprobe),
        ClusterProgramType::KRetProbe => ("KRetProbe", Wire::Kprobe),
        ClusterProgramType::UProbe => ("UProbe", Wire::Uprobe),
        ClusterProgramType::URetProbe => ("URetProbe", Wire::Uprobe),
        ClusterProgramType::TracePoint => ("TracePoint", Wire::Tracepoint),
    }
}

const fn namespaced_type(kind: ProgramType) -> (&'static str, Wire) {
    match kind {
        ProgramType::Xdp => ("XDP", Wire::Xdp),
        ProgramType::Tc => ("TC", Wire::Tc),
        ProgramType::Tcx => ("TCX", Wire::Tcx),
        ProgramType::UProbe => ("UProbe", Wire::Uprobe),
        ProgramType::URetProbe => ("URetProbe", Wire::Uprobe),
    }
}

fn cluster_load(program: &ClusterProgram) -> v1::LoadInfo {
    use v1::prog_specific_info::Info as Specific;
    let fentry = program
        .fentry
        .as_ref()
        .map(|block| Specific::FentryLoadInfo(v1::FentryLoadInfo { fn_name: block.function.clone() }));
    let fexit = program
        .fexit
        .as_ref()
        .map(|block| Specific::FexitLoadInfo(v1::FexitLoadInfo { fn_name: block.function.clone() }));
    v1::LoadInfo {
        name: program.name.clone(),
        program_type: cluster_type(program.program_type).1.into(),
        info: fentry.or(fexit).map(|info| v1::ProgSpecificInfo { info: Some(info) }),
    }
}

fn namespaced_load(program: &NamespacedProgram) -> v1::LoadInfo {
    v1::LoadInfo {
        name: program.name.clone(),
        program_type: namespaced_type(program.program_type).1.into(),
        info: None,
    }
}

fn cluster_program(program: &ClusterProgram, facts: &Facts) -> Program {
    let mut plan = Plan::new(facts);
    let rooms = |selector: Option<(&Option<String>, &LabelSelector)>| match selector {
        None => Rooms::Node,
        Some((namespace, pods)) => Rooms::Pods(cluster_pods(facts, namespace.as_deref(), pods)),
    };
    for (at, link) in program.xdp.iter().flat_map(|block| &block.links).enumerate() {
        let pods = link.network_namespaces.as_ref().map(|pods| (&pods.namespace, &pods.pods));
        let rooms = rooms(pods);
        plan.matched("xdp", at, &rooms);
        plan.xdp(&link.point, &rooms);
    }
    for (at, link) in program.tc.iter().flat_map(|block| &block.links).enumerate() {
        let pods = link.network_namespaces.as_ref().map(|pods| (&pods.namespace, &pods.pods));
        let rooms = rooms(pods);
        plan.matched("tc", at, &rooms);
        plan.tc(&link.point, &rooms);
    }
    for (at, link) in program.tcx.iter().flat_map(|block| &block.links).enumerate() {
        let pods = link.network_namespaces.as_ref().map(|pods| (&pods.namespace, &pods.pods));
        let rooms = rooms(pods);
        plan.matched("tcx", at, &rooms);
        plan.tcx(&link.point, &rooms);
    }
    if let Some(block) = &program.fentry {
        probes::fentry(&mut plan.links, block);
    }
    if let Some(block) = &program.fexit {
        probes::fexit(&mut plan.links, block);
    }
    for link in program.kprobe.iter().flat_map(|block| &block.links) {
        probes::kprobe(&mut plan.links, &link.function, link.offset);
    }
    for link in program.kretprobe.iter().flat_map(|block| &block.links) {
        probes::kprobe(&mut plan.links, &link.function, 0);
    }
    for link in program.tracepoint.iter().flat_map(|block| &block.links) {
        probes::tracepoint(&mut plan.links, &link.name);
    }
    let blocks: [(&str, &Option<ClusterUprobe>); 2] =
        [("uprobe", &program.uprobe), ("uretprobe", &program.uretprobe)];
    for (name, block) in blocks {
        for (at, link) in block.iter().flat_map(|block| &block.links).enumerate() {
            let of = |selector: &ClusterContainerSelector| {
                cluster_pods(facts, selector.namespace.as_deref(), &selector.pods)
            };
            let pods = link.containers.as_ref().map(of);
            plan.unseen(pods.iter().flatten().copied());
            let names = link.containers.as_ref().map_or(&[][..], |selector| &selector.container_names);
            if let Some(pods) = &pods {
                plan.matched_containers(name, at, pods, names);
            }
            probes::uprobe(&mut plan.links, &link.point, pods.map(|pods| containers(&pods, names)));
        }
    }
    plan.program(&program.name, cluster_type(program.program_type).0)
}

fn namespaced_program(program: &NamespacedProgram, pods: &[&Pod], facts: &Facts) -> Program {
    let mut plan = Plan::new(facts);
    // A pod in the node's namespace would lead to the node's own interfaces.
    let rooms = |selector: &LabelSelector| {
        let own = pods.iter().filter(|pod| !pod.host_network && selects(selector, &pod.labels));
        Rooms::Pods(own.copied().collect())
    };
    for (at, link) in program.xdp.iter().flat_map(|block| &block.links).enumerate() {
        let rooms = rooms(&link.network_namespaces.pods);
        plan.matched("xdp", at, &rooms);
        plan.xdp(&link.point, &rooms);
    }
    for (at, link) in program.tc.iter().flat_map(|block| &block.links).enumerate() {
        let rooms = rooms(&link.network_namespaces.pods);
        plan.matched("tc", at, &rooms);
        plan.tc(&link.point, &rooms);
    }
    for (at, link) in program.tcx.iter().flat_map(|block| &block.links).enumerate() {
        let rooms = rooms(&link.network_namespaces.pods);
        plan.matched("tcx", at, &rooms);
        plan.tcx(&link.point, &rooms);
    }
    let blocks: [(&str, &Option<Uprobe>); 2] =
        [("uprobe", &program.uprobe), ("uretprobe", &program.uretprobe)];
    for (name, block) in blocks {
        for (at, link) in block.iter().flat_map(|block| &block.links).enumerate() {
            let ContainerSelector { pods: selector, container_names } = &link.containers;
            let own = pods.iter().filter(|pod| selects(selector, &pod.labels));
            let own: Vec<&Pod> = own.copied().collect();
            plan.unseen(own.iter().copied());
            plan.matched_containers(name, at, &own, container_names);
            probes::uprobe(&mut plan.links, &link.point, Some(containers(&own, container_names)));
        }
    }
    plan.program(&program.name, namespaced_type(program.program_type).0)
}

/// Whether labels are selected. That a selector can be evaluated was checked with the rest of the structure.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    labels::matches(selector, |key| labels.get(key).map(String::as_str)).unwrap_or(false)
}

fn cluster_pods<'a>(facts: &'a Facts, namespace: Option<&str>, selector: &LabelSelector) -> Vec<&'a Pod> {
    let namespace = namespace.filter(|name| !name.is_empty());
    let wanted =
        |pod: &&Pod| namespace.is_none_or(|name| name == pod.namespace) && selects(selector, &pod.labels);
    facts.pods.iter().filter(wanted).collect()
}

/// Containers of these pods with one of these names; without names all.
fn containers<'a>(pods: &[&'a Pod], names: &[String]) -> Vec<(&'a Pod, &'a Container)> {
    let wanted = |container: &&Container| names.is_empty() || names.contains(&container.name);
    let of = |pod: &'a Pod| pod.containers.iter().filter(wanted).map(move |container| (pod, container));
    pods.iter().copied().flat_map(of).collect()
}

/// The attachments of one program while they are gathered.
struct Plan<'a> {
    facts: &'a Facts,
    links: Links,
    doubts: Doubts,
    unmatched: Vec<String>,
}

impl<'a> Plan<'a> {
    fn new(facts: &'a Facts) -> Self {
        Self { facts, links: Links::default(), doubts: Doubts::default(), unmatched: Vec::new() }
    }
}

impl Plan<'_> {
    /// Whether the pods of an attachment are any.
    fn matched(&mut self, block: &str, at: usize, rooms: &Rooms<'_>) {
        if matches!(rooms, Rooms::Pods(pods) if pods.is_empty()) {
            self.unmatched.push(format!("{block}.links[{at}].networkNamespaces"));
        }
    }

    /// Whether there are containers of these names; those that are not seen yet may be.
    fn matched_containers(&mut self, block: &str, at: usize, pods: &[&Pod], names: &[String]) {
        let may_come = pods.iter().any(|pod| pod.idle || !pod.unseen.is_empty());
        if !may_come && containers(pods, names).is_empty() {
            self.unmatched.push(format!("{block}.links[{at}].containers"));
        }
    }

    fn xdp(&mut self, point: &XdpPoint, rooms: &Rooms<'_>) {
        let proceed_on: Vec<i32> = point.proceed_on.iter().map(|verdict| verdict.number()).collect();
        self.packets("", &point.interface_selector, rooms, &point.order, point.on_unavailable, |at| {
            Info::XdpAttachInfo(v1::XdpAttachInfo {
                priority: point.priority.unwrap_or(DEFAULT_PRIORITY),
                iface: at.interface.clone(),
                proceed_on: proceed_on.clone(),
                netns: at.netns.clone(),
                ..Default::default()
            })
        });
    }

    fn tc(&mut self, point: &TcPoint, rooms: &Rooms<'_>) {
        let TcPoint { at, proceed_on } = point;
        let proceed_on: Vec<i32> = proceed_on.iter().map(|verdict| verdict.number()).collect();
        let side = direction(at.direction);
        self.packets(side, &at.interface_selector, rooms, &at.order, at.on_unavailable, |place| {
            Info::TcAttachInfo(v1::TcAttachInfo {
                priority: at.priority.unwrap_or(DEFAULT_PRIORITY),
                iface: place.interface.clone(),
                direction: side.to_owned(),
                proceed_on: proceed_on.clone(),
                netns: place.netns.clone(),
                ..Default::default()
            })
        });
    }

    fn tcx(&mut self, point: &TcxPoint, rooms: &Rooms<'_>) {
        let side = direction(point.direction);
        self.packets(side, &point.interface_selector, rooms, &point.order, point.on_unavailable, |place| {
            Info::TcxAttachInfo(v1::TcxAttachInfo {
                priority: point.priority.unwrap_or(DEFAULT_PRIORITY),
                iface: place.interface.clone(),
                direction: side.to_owned(),
                netns: place.netns.clone(),
                ..Default::default()
            })
        });
    }

    /// Containers that the daemon did not find: what is attached to them may be wanted still.
    fn unseen<'p>(&mut self, pods: impl Iterator<Item = &'p Pod>) {
        let ids = pods.flat_map(|pod| &pod.unseen);
        self.doubts.unknown.extend(ids.map(|id| Unknown::Container(id.clone())));
    }

    /// One attachment for each interface.
    fn packets(
        &mut self,
        side: &str,
        selector: &InterfaceSelector,
        rooms: &Rooms<'_>,
        order: &Option<LinkOrder>,
        on_unavailable: OnUnavailable,
        info: impl Fn(&Point) -> Info,
    ) {
        for at in points(selector, rooms, self.facts, &mut self.doubts) {
            let identity = match side {
                "" => at.identity.clone(),
                side => format!("{side} {}", at.identity),
            };
            let link = Link {
                attach: v1::AttachInfo { info: Some(info(&at)) },
                order: order.clone(),
                on_unavailable,
                pod: at.pod,
            };
            self.links.add(&identity, link);
        }
    }

    fn program(self, name: &str, program_type: &'static str) -> Program {
        let Doubts { mut problems, unknown } = self.doubts;
        problems.sort();
        problems.dedup();
        Program {
            name: name.to_owned(),
            program_type,
            links: self.links.into_map(),
            problems,
            unmatched: self.unmatched,
            unknown,
        }
    }
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}
