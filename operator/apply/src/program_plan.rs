//! Attachments of one program, collected from its blocks.

use std::path::PathBuf;

use bpfman_application::packets::{self, PacketLink};
use bpfman_application::pods::{ClusterContainerSelector, PodSelector};
use bpfman_application::program::ClusterProgram;
use bpfman_application::spec::ApplicationSpec;
use bpfman_model::Interface;
use bpfman_proto::WirePoint;
use bpfman_proto::v1::attach_info::Info;

use crate::desired::{Program, UnknownPlace, WantedLink};
use crate::facts::{Facts, PodContainer, PodFacts};
use crate::interfaces::{Doubts, Point, SearchedNamespaces, points};
use crate::key::WantedLinks;
use crate::place::DEFAULT_PRIORITY;
use crate::probes;

pub fn program(program: &ClusterProgram, spec: &ApplicationSpec, facts: &Facts) -> Program {
    let mut plan = ProgramPlan::new(facts);
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
            let containers = plan.containers(name, at, link.containers.as_ref());
            probes::uprobe(&mut plan.links, &link.point, containers);
        }
    }
    plan.points(program.program_type, &program.points);
    plan.program(&program.name, program.program_type.manifest_name().unwrap_or_default())
}

fn pods<'a>(facts: &'a Facts, selector: &PodSelector<'_>) -> Vec<&'a PodFacts> {
    facts.pods.iter().filter(|pod| selector.matches(&pod.namespace, &pod.labels)).collect()
}

fn containers<'a>(pods: &[&'a PodFacts], names: &[String]) -> Vec<(&'a PodFacts, &'a PodContainer)> {
    let wanted = |container: &&PodContainer| names.is_empty() || names.contains(&container.name);
    let of = |pod: &'a PodFacts| pod.containers.iter().filter(wanted).map(move |container| (pod, container));
    pods.iter().copied().flat_map(of).collect()
}

pub struct ProgramPlan<'a> {
    facts: &'a Facts,
    pub(crate) links: WantedLinks,
    pub(crate) doubts: Doubts,
    unmatched: Vec<String>,
}

impl<'a> ProgramPlan<'a> {
    fn new(facts: &'a Facts) -> Self {
        Self { facts, links: WantedLinks::default(), doubts: Doubts::default(), unmatched: Vec::new() }
    }

    pub(crate) fn containers(
        &mut self,
        block: &str,
        at: usize,
        selector: Option<&ClusterContainerSelector>,
    ) -> Option<Vec<(&'a PodFacts, &'a PodContainer)>> {
        let selector = selector?;
        let pods = pods(self.facts, &selector.into());
        // Attachments to containers that the daemon did not find may still be wanted.
        let unseen = pods.iter().flat_map(|pod| &pod.unseen);
        self.doubts.unknown.extend(unseen.map(|id| UnknownPlace::Container(id.clone())));
        self.doubts.problems.extend(pods.iter().flat_map(|pod| pod.ambiguities()));
        let found = containers(&pods, &selector.container_names);
        let may_come = pods.iter().any(|pod| pod.idle || !pod.unseen.is_empty());
        if !may_come && found.is_empty() {
            self.unmatched.push(format!("{block}.links[{at}].containers"));
        }
        Some(found)
    }

    pub(crate) fn namespaces(
        &mut self,
        (block, at): (&str, usize),
        selector: Option<&PodSelector<'_>>,
        namespaced: bool,
    ) -> SearchedNamespaces<'a> {
        // A pod on the node's network would give a namespaced application access to the node's interfaces.
        let may = |pod: &&PodFacts| !(namespaced && pod.host_network);
        let Some(selector) = selector else { return SearchedNamespaces::Node };
        let pods: Vec<_> = pods(self.facts, selector).into_iter().filter(may).collect();
        if pods.is_empty() {
            self.unmatched.push(format!("{block}.links[{at}].networkNamespaces"));
        }
        SearchedNamespaces::Pods(pods)
    }

    fn packets(&mut self, wanted: &PacketLink<'_>, namespaced: bool) {
        let field = (wanted.hook.name(), wanted.link_at);
        let namespaces = self.namespaces(field, wanted.pods.as_ref(), namespaced);
        for at in points(wanted.interfaces, &namespaces, self.facts, &mut self.doubts) {
            let identity = match wanted.hook.direction() {
                None => at.identity.clone(),
                Some(direction) => format!("{direction} {}", at.identity),
            };
            let link = WantedLink {
                point: packet_point(wanted, &at),
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

fn packet_point(wanted: &PacketLink<'_>, at: &Point) -> WirePoint {
    let interface = Interface { name: at.interface.clone(), netns: at.netns.as_ref().map(PathBuf::from) };
    let mut point = WirePoint::of_hook(wanted.hook, &interface, wanted.priority.unwrap_or(DEFAULT_PRIORITY));
    match &mut point {
        WirePoint::Published(Info::XdpAttachInfo(info)) => info.proceed_on.clone_from(&wanted.proceed_on),
        WirePoint::Published(Info::TcAttachInfo(info)) => info.proceed_on.clone_from(&wanted.proceed_on),
        _ => {}
    }
    point
}
