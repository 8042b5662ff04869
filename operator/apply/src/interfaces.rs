use std::collections::BTreeSet;

use bpfman_application::check::{last_line, pattern};
use bpfman_application::interface::{InterfaceSelector, InterfacesDiscovery};
use regex::Regex;

use crate::desired::UnknownPlace;
use crate::facts::{Facts, Netns, NodeInterface, PodFacts};

const NAMED: [&str; 2] = ["/run/netns/", "/var/run/netns/"];

const NOT_LISTED: &str = "the daemon did not list the interfaces of this machine";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub interface: String,
    pub netns: Option<String>,
    pub identity: String,
    pub pod: Option<String>,
}

#[derive(Clone, Debug)]
pub enum SearchedNamespaces<'a> {
    Node,
    Pods(Vec<&'a PodFacts>),
}

struct SearchedNamespace<'a> {
    netns: Option<&'a Netns>,
    pod: Option<&'a PodFacts>,
}

impl SearchedNamespace<'_> {
    fn point(&self, interface: &str) -> Point {
        let Some(netns) = self.netns else { return Point::of_node(interface, None) };
        let (inode, cookie) = netns.identity;
        // After a reboot another pod's namespace may have the same numbers, so the identity includes the pod's uid.
        let pod = self.pod.map(|pod| pod.uid.clone());
        let uid = pod.as_deref().unwrap_or_default();
        Point {
            interface: interface.to_owned(),
            netns: Some(netns.path.clone()),
            identity: format!("{interface} in pod {uid} net:{inode}:{cookie}"),
            pod,
        }
    }
}

impl Point {
    pub fn of_node(interface: &str, netns: Option<&str>) -> Self {
        let identity = match netns {
            Some(path) => format!("{interface} in {path}"),
            None => interface.to_owned(),
        };
        Self { interface: interface.to_owned(), netns: netns.map(str::to_owned), identity, pod: None }
    }
}

#[derive(Debug, Default)]
pub struct Doubts {
    pub problems: Vec<String>,
    pub unknown: BTreeSet<UnknownPlace>,
}

impl Doubts {
    fn add(&mut self, unknown: UnknownPlace, problem: String) {
        self.unknown.insert(unknown);
        self.problems.push(problem);
    }
}

pub fn points(
    selector: &InterfaceSelector,
    namespaces: &SearchedNamespaces<'_>,
    facts: &Facts,
    doubts: &mut Doubts,
) -> Vec<Point> {
    let found = places(namespaces, doubts);
    if let Some(config) = &selector.interfaces_discovery_config {
        return match &facts.interfaces {
            _ if facts.discovery_off || !config.interface_auto_discovery => Vec::new(),
            Some(interfaces) => discovered(config, namespaces, &found, interfaces, doubts),
            None => {
                doubts.add(UnknownPlace::All, NOT_LISTED.to_owned());
                let pods = found.iter().filter_map(|namespace| namespace.pod);
                doubts.unknown.extend(pods.map(|pod| UnknownPlace::Pod(pod.uid.clone())));
                Vec::new()
            }
        };
    }
    let names = match (&selector.interfaces, selector.primary_node_interface) {
        (Some(names), _) => names.iter().map(String::as_str).collect(),
        // Any value means `true`, as in the published API.
        (None, Some(_)) => primary(facts, doubts),
        (None, None) => Vec::new(),
    };
    found.iter().flat_map(|namespace| names.iter().map(|name| namespace.point(name))).collect()
}

/// Returns one point per namespace, without a search for names. `what` identifies the attachment there.
pub fn namespace_points(what: &str, namespaces: &SearchedNamespaces<'_>, doubts: &mut Doubts) -> Vec<Point> {
    places(namespaces, doubts).iter().map(|namespace| namespace.point(what)).collect()
}

fn places<'a>(namespaces: &SearchedNamespaces<'a>, doubts: &mut Doubts) -> Vec<SearchedNamespace<'a>> {
    let SearchedNamespaces::Pods(pods) = namespaces else {
        return vec![SearchedNamespace { netns: None, pod: None }];
    };
    let mut places = Vec::new();
    for pod in pods {
        match &pod.netns {
            _ if pod.host_network => places.push(SearchedNamespace { netns: None, pod: None }),
            Some(netns) => places.push(SearchedNamespace { netns: Some(netns), pod: Some(pod) }),
            None if pod.idle => {
                doubts.unknown.insert(UnknownPlace::Pod(pod.uid.clone()));
            }
            None => {
                doubts.add(
                    UnknownPlace::Pod(pod.uid.clone()),
                    format!("the network namespace of pod {}/{} is not known yet", pod.namespace, pod.name),
                );
                doubts.problems.extend(pod.ambiguities());
            }
        }
    }
    places
}

fn primary<'a>(facts: &'a Facts, doubts: &mut Doubts) -> Vec<&'a str> {
    let Some(interfaces) = &facts.interfaces else {
        doubts.add(UnknownPlace::All, NOT_LISTED.to_owned());
        return Vec::new();
    };
    let carries = |interface: &&NodeInterface| {
        interface.netns.is_none() && interface.addresses.iter().any(|one| facts.addresses.contains(one))
    };
    let found = interfaces.iter().find(carries).map(|interface| interface.name.as_str());
    if found.is_none() {
        let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
        let why = match &addresses[..] {
            [] => "the primary interface is not known: the node has no internal address".to_owned(),
            _ => {
                format!("the primary interface is not known: no interface carries {}", addresses.join(" or "))
            }
        };
        doubts.add(UnknownPlace::All, why);
    }
    found.into_iter().collect()
}

fn discovered(
    config: &InterfacesDiscovery,
    namespaces: &SearchedNamespaces<'_>,
    places: &[SearchedNamespace<'_>],
    interfaces: &[NodeInterface],
    doubts: &mut Doubts,
) -> Vec<Point> {
    let allowed = allowed(&config.allowed_interfaces, doubts);
    let wanted = |interface: &NodeInterface| {
        let name = &interface.name;
        let excluded = config.exclude_interfaces.iter().any(|excluded| excluded.trim() == name);
        !excluded && (config.allowed_interfaces.is_empty() || allowed.iter().any(|one| one.matches(name)))
    };
    let all = interfaces.iter().filter(|interface| wanted(interface));
    match namespaces {
        // Interfaces that are down count too: an interface that goes down and up keeps its program.
        SearchedNamespaces::Node => all
            .filter(|interface| {
                let netns = interface.netns.as_deref();
                netns.is_none_or(|path| is_named(path) && !is_own(path, interfaces))
            })
            .map(|interface| Point::of_node(&interface.name, interface.netns.as_deref()))
            .collect(),
        SearchedNamespaces::Pods(_) => {
            let all: Vec<&NodeInterface> = all.collect();
            let inside = |namespace: &SearchedNamespace<'_>, interface: &NodeInterface| {
                interface.netns.as_deref() == namespace.netns.map(|netns| netns.path.as_str())
            };
            // Every namespace has at least `lo`: one without interfaces was not scanned yet, or is gone.
            for namespace in places {
                let looked_into = || interfaces.iter().any(|interface| inside(namespace, interface));
                if let (Some(pod), false) = (namespace.pod, looked_into()) {
                    let named = format!("{}/{}", pod.namespace, pod.name);
                    let why = format!("the interfaces of pod {named} are not known yet");
                    doubts.add(UnknownPlace::Pod(pod.uid.clone()), why);
                }
            }
            let of = |namespace| {
                all.iter()
                    .filter(move |interface| inside(namespace, interface))
                    .map(|one| namespace.point(&one.name))
            };
            places.iter().flat_map(of).collect()
        }
    }
}

/// Returns whether a path leads to the daemon's own namespace: interfaces and addresses are equal.
fn is_own(path: &str, interfaces: &[NodeInterface]) -> bool {
    let of = |netns: Option<&str>| -> Vec<_> {
        let inside = interfaces.iter().filter(|interface| interface.netns.as_deref() == netns);
        let mut all: Vec<_> = inside.map(|one| (one.index, &one.name, &one.addresses)).collect();
        all.sort();
        all
    };
    of(None) == of(Some(path))
}

fn is_named(path: &str) -> bool {
    NAMED.iter().any(|folder| path.starts_with(folder))
}

enum Allowed<'a> {
    Exactly(&'a str),
    Pattern(Regex),
}

impl Allowed<'_> {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exactly(one) => *one == name,
            Self::Pattern(pattern) => pattern.is_match(name),
        }
    }
}

fn allowed<'a>(entries: &'a [String], doubts: &mut Doubts) -> Vec<Allowed<'a>> {
    let mut understood = Vec::new();
    for entry in entries.iter().map(|entry| entry.trim()) {
        match pattern(entry).map(Regex::new) {
            None => understood.push(Allowed::Exactly(entry)),
            Some(Ok(pattern)) => understood.push(Allowed::Pattern(pattern)),
            Some(Err(error)) => {
                let why = format!("allowedInterfaces: {entry} is no pattern: {}", last_line(&error));
                doubts.add(UnknownPlace::All, why);
            }
        }
    }
    understood
}
