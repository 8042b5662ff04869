//! From a spec and the facts of a machine to what is wanted there. Pure: the same input gives the same answer.

use std::collections::BTreeMap;

use bpfman_application::application::ApplicationCommon;
use bpfman_application::bytecode::{ByteCode, ImagePullPolicy};
use bpfman_application::interface::TrafficDirection;
use bpfman_application::map_export::{ExportedAccess, ExportedMap};
use bpfman_application::packets::{self, PacketHook, PacketLink};
use bpfman_application::pods::PodSelector;
use bpfman_application::program::{ClusterProgram, ClusterProgramType};
pub use bpfman_application::spec::ApplicationSpec;
use bpfman_application::{check, labels};
use bpfman_proto::ext::v1::LoadValues;
use bpfman_proto::v1::BpfmanProgramType as Wire;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::v1::bytecode_location::Location;
use bpfman_proto::{
    ACTUAL_TYPE_PREFIX, APPLICATION_KEY_NEWER, MAP_EXPORTS_KEY, MapAccess, MapExport, MapExports, v1,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::content::{CONTENT_KEY, PROGRAM_NAME_KEY, PROGRAM_NAMESPACE_KEY, UUID_KEY, content};
use crate::desired::{Desired, Load, Program, ProgramOwner, UnknownPlace, WantedLink};
use crate::facts::{Facts, PodContainer, PodFacts};
use crate::interfaces::{Doubts, Point, SearchedNamespaces, points};
use crate::key::WantedLinks;
use crate::place::DEFAULT_PRIORITY;
use crate::probes;

/// What an application wants on this machine.
///
/// A spec that breaks the rules of its definition is refused as a whole: nothing is changed by it. Patterns of
/// interfaces that are none, pods without a known namespace and the like are problems of their program, and the rest
/// stands.
#[must_use]
pub fn desired(owner: &ProgramOwner, spec: &ApplicationSpec, facts: &Facts) -> Desired {
    let refused = check::structure(spec);
    if !refused.is_empty() {
        return Desired { refused, ..Desired::nothing(owner.clone()) };
    }
    if !selects(&spec.common.node_selector, &facts.labels) {
        return Desired::nothing(owner.clone());
    }
    let (info, programs): (Vec<_>, Vec<Program>) =
        spec.programs.iter().map(|one| (load_info(one), program(one, spec, facts))).unzip();
    let mut request = request(&spec.common, info);
    request.metadata.extend(programs.iter().filter_map(actual_type));
    // Only where it matters: a cluster application gives its maps to pods of all namespaces.
    if let Some(namespace) = &spec.namespace {
        request.metadata.insert(PROGRAM_NAMESPACE_KEY.to_owned(), namespace.clone());
    }
    if let Some(exports) = &spec.common.map_exports {
        request.metadata.insert(MAP_EXPORTS_KEY.to_owned(), map_exports(exports).to_string());
    }
    let values = values(&spec.common);
    let content = content(&request, values.as_ref());
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
    let load = Load { request, values, content, pull_policy, programs, held: None, object_sha256: None };
    Desired { load: Some(load), ..Desired::nothing(owner.clone()) }
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

/// What is set by type. A number of eight digits is a number in a manifest, whatever `bpfman load` takes it for.
fn values(common: &ApplicationCommon) -> Option<LoadValues> {
    let globals = common.globals.iter().flatten();
    let sizes = common.map_sizes.iter().flatten();
    let values = LoadValues {
        globals: globals.map(|(name, text)| (name.clone(), text.clone())).collect(),
        map_sizes: sizes.map(|(map, entries)| (map.clone(), *entries)).collect(),
        by_type_only: true,
    };
    (!values.globals.is_empty() || !values.map_sizes.is_empty()).then_some(values)
}

fn map_exports(exports: &[ExportedMap]) -> MapExports {
    let export = |export: &ExportedMap| MapExport {
        map: export.map.clone(),
        namespaces: export.namespaces.clone(),
        access: match export.access {
            ExportedAccess::ReadOnly => MapAccess::Read,
            ExportedAccess::ReadWrite => MapAccess::Write,
        },
    };
    MapExports(exports.iter().map(export).collect())
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

/// A type as it is declared: return probes as their entry probes.
const fn declared(kind: ClusterProgramType) -> Wire {
    match kind {
        ClusterProgramType::Xdp => Wire::Xdp,
        ClusterProgramType::Tc => Wire::Tc,
        ClusterProgramType::Tcx => Wire::Tcx,
        ClusterProgramType::FEntry => Wire::Fentry,
        ClusterProgramType::FExit => Wire::Fexit,
        ClusterProgramType::KProbe | ClusterProgramType::KRetProbe => Wire::Kprobe,
        ClusterProgramType::UProbe | ClusterProgramType::URetProbe => Wire::Uprobe,
        ClusterProgramType::TracePoint => Wire::Tracepoint,
    }
}

fn load_info(program: &ClusterProgram) -> v1::LoadInfo {
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
        program_type: declared(program.program_type).into(),
        info: fentry.or(fexit).map(|info| v1::ProgSpecificInfo { info: Some(info) }),
    }
}

fn program(program: &ClusterProgram, spec: &ApplicationSpec, facts: &Facts) -> Program {
    let mut plan = Plan::new(facts);
    for link in packets::of_program(0, program) {
        plan.packets(&link, spec.namespace.is_some());
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
    for (name, block) in [("uprobe", &program.uprobe), ("uretprobe", &program.uretprobe)] {
        for (at, link) in block.iter().flat_map(|block| &block.links).enumerate() {
            let pods = link.containers.as_ref().map(|selector| pods(facts, &selector.into()));
            plan.unseen(pods.iter().flatten().copied());
            let names = link.containers.as_ref().map_or(&[][..], |selector| &selector.container_names);
            if let Some(pods) = &pods {
                plan.matched_containers(name, at, pods, names);
            }
            probes::uprobe(&mut plan.links, &link.point, pods.map(|pods| containers(&pods, names)));
        }
    }
    plan.program(&program.name, program.program_type.names().0)
}

/// Whether labels are selected. That a selector can be evaluated was checked with the rest of the structure.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    labels::matches(selector, |key| labels.get(key).map(String::as_str)).unwrap_or(false)
}

fn pods<'a>(facts: &'a Facts, selector: &PodSelector<'_>) -> Vec<&'a PodFacts> {
    facts.pods.iter().filter(|pod| selector.matches(&pod.namespace, &pod.labels)).collect()
}

/// Containers of these pods with one of these names; without names all.
fn containers<'a>(pods: &[&'a PodFacts], names: &[String]) -> Vec<(&'a PodFacts, &'a PodContainer)> {
    let wanted = |container: &&PodContainer| names.is_empty() || names.contains(&container.name);
    let of = |pod: &'a PodFacts| pod.containers.iter().filter(wanted).map(move |container| (pod, container));
    pods.iter().copied().flat_map(of).collect()
}

/// The attachments of one program while they are gathered.
struct Plan<'a> {
    facts: &'a Facts,
    links: WantedLinks,
    doubts: Doubts,
    unmatched: Vec<String>,
}

impl<'a> Plan<'a> {
    fn new(facts: &'a Facts) -> Self {
        Self { facts, links: WantedLinks::default(), doubts: Doubts::default(), unmatched: Vec::new() }
    }
}

impl Plan<'_> {
    /// Whether there are containers of these names; those that are not seen yet may be.
    fn matched_containers(&mut self, block: &str, at: usize, pods: &[&PodFacts], names: &[String]) {
        let may_come = pods.iter().any(|pod| pod.idle || !pod.unseen.is_empty());
        if !may_come && containers(pods, names).is_empty() {
            self.unmatched.push(format!("{block}.links[{at}].containers"));
        }
    }

    /// Containers that the daemon did not find: what is attached to them may be wanted still.
    fn unseen<'p>(&mut self, pods: impl Iterator<Item = &'p PodFacts>) {
        let ids = pods.flat_map(|pod| &pod.unseen);
        self.doubts.unknown.extend(ids.map(|id| UnknownPlace::Container(id.clone())));
    }

    /// One attachment for each interface. `namespaced`: it is asked for by an application of a namespace.
    fn packets(&mut self, wanted: &PacketLink<'_>, namespaced: bool) {
        // A pod in the node's namespace would lead a namespace to the node's own interfaces.
        let may = |pod: &&PodFacts| !(namespaced && pod.host_network);
        let namespaces = wanted.pods.as_ref().map_or(SearchedNamespaces::Node, |selector| {
            SearchedNamespaces::Pods(pods(self.facts, selector).into_iter().filter(may).collect())
        });
        if matches!(&namespaces, SearchedNamespaces::Pods(pods) if pods.is_empty()) {
            let (block, at) = (wanted.hook.block(), wanted.link_at);
            self.unmatched.push(format!("{block}.links[{at}].networkNamespaces"));
        }
        for at in points(wanted.interfaces, &namespaces, self.facts, &mut self.doubts) {
            let identity = match wanted.hook {
                PacketHook::Xdp => at.identity.clone(),
                PacketHook::Tc(side) | PacketHook::Tcx(side) => {
                    format!("{} {}", direction(side), at.identity)
                }
            };
            let link = WantedLink {
                attach: v1::AttachInfo { info: Some(info(wanted, &at)) },
                order: wanted.order.cloned(),
                on_unavailable: wanted.on_unavailable,
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

/// An attachment of packets on the wire.
fn info(wanted: &PacketLink<'_>, at: &Point) -> Info {
    let (priority, iface) = (wanted.priority.unwrap_or(DEFAULT_PRIORITY), at.interface.clone());
    let (proceed_on, netns) = (wanted.proceed_on.clone(), at.netns.clone());
    match wanted.hook {
        PacketHook::Xdp => Info::XdpAttachInfo(v1::XdpAttachInfo {
            priority,
            iface,
            proceed_on,
            netns,
            ..Default::default()
        }),
        PacketHook::Tc(side) => Info::TcAttachInfo(v1::TcAttachInfo {
            priority,
            iface,
            direction: direction(side).to_owned(),
            proceed_on,
            netns,
            ..Default::default()
        }),
        PacketHook::Tcx(side) => Info::TcxAttachInfo(v1::TcxAttachInfo {
            priority,
            iface,
            direction: direction(side).to_owned(),
            netns,
            ..Default::default()
        }),
    }
}

const fn direction(direction: TrafficDirection) -> &'static str {
    match direction {
        TrafficDirection::Ingress => "ingress",
        TrafficDirection::Egress => "egress",
    }
}
