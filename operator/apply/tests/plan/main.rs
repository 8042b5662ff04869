//! Desired state of a spec on a machine with given facts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod machines;
mod points;

use std::collections::BTreeSet;

use bpfman_apply::desired::{AttachmentKey, Desired, Program, ProgramOwner};
use bpfman_apply::facts::{Facts, NodeInterface};
use bpfman_apply::plan::{ApplicationSpec, desired};
use bpfman_proto::ACTUAL_TYPE_PREFIX;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::v1::bytecode_location::Location;
use bpfman_proto::v1::{BpfmanProgramType as Wire, LoadRequest};
use machines::{cluster, machine, namespaced, owner};

fn links(spec: &ApplicationSpec, facts: &Facts) -> (Vec<String>, Vec<String>) {
    let owner = ProgramOwner { namespace: Some("shop".into()), ..owner() };
    let desired = desired(&owner, spec, facts);
    assert_eq!(desired.refused, [], "{:?}", desired.refused);
    let program = &desired.load.expect("it is wanted").programs[0];
    (program.links.keys().map(|key| key.0.clone()).collect(), program.problems.clone())
}

fn xdp(link: &str) -> ApplicationSpec {
    cluster(&format!("[{{name: count, type: XDP, xdp: {{links: [{link}]}}}}]"))
}

fn xdp_of_pods(link: &str) -> ApplicationSpec {
    namespaced(&format!("[{{name: count, type: XDP, xdp: {{links: [{link}]}}}}]"))
}

fn request(desired: Desired) -> LoadRequest {
    desired.load.expect("it is wanted").request
}

#[test]
fn a_node_that_is_not_selected_wants_nothing() {
    for (selector, wanted) in [
        ("{}", true),
        ("{matchLabels: {role: edge}}", true),
        ("{matchLabels: {role: core}}", false),
        ("{matchExpressions: [{key: role, operator: In, values: [edge, core]}]}", true),
        ("{matchExpressions: [{key: role, operator: NotIn, values: [edge]}]}", false),
        ("{matchExpressions: [{key: gone, operator: NotIn, values: [edge]}]}", true),
        ("{matchExpressions: [{key: role, operator: Exists}]}", true),
        ("{matchExpressions: [{key: role, operator: DoesNotExist}]}", false),
    ] {
        let mut spec = xdp("");
        spec.common.node_selector = serde_norway::from_str(selector).unwrap();
        let desired = desired(&owner(), &spec, &machine());
        assert_eq!(desired.load.is_some(), wanted, "{selector}");
        assert_eq!(desired.refused, [], "{selector}");
    }
}

#[test]
fn unknown_operator_is_refused_by_name() {
    let mut spec = xdp("");
    spec.common.node_selector =
        serde_norway::from_str("{matchExpressions: [{key: role, operator: Near, values: [a]}]}").unwrap();
    let desired = desired(&owner(), &spec, &machine());
    assert_eq!(desired.load, None);
    let problem = desired.refused[0].to_string();
    assert!(problem.starts_with("spec.nodeSelector.matchExpressions[0].operator: \"Near\""), "{problem}");
}

#[test]
fn interfaces_are_taken_by_name_whether_they_are_there_or_not() {
    let (keys, problems) = links(&xdp("{interfaceSelector: {interfaces: [eth0, nowhere]}}"), &machine());
    assert_eq!(keys, ["eth0", "nowhere"]);
    assert_eq!(problems, [""; 0]);
}

#[test]
fn the_primary_interface_is_the_one_with_the_nodes_address() {
    let spec = xdp("{interfaceSelector: {primaryNodeInterface: true}}");
    assert_eq!(links(&spec, &machine()).0, ["eth0"]);
    let lost = Facts { addresses: vec!["192.0.2.77".parse().unwrap()], ..machine() };
    let (keys, problems) = links(&spec, &lost);
    assert_eq!(keys, [""; 0]);
    assert_eq!(problems, ["the primary interface is not known: no interface carries 192.0.2.77"]);
    let (_, problems) = links(&spec, &Facts { addresses: Vec::new(), ..machine() });
    assert_eq!(problems, ["the primary interface is not known: the node has no internal address"]);
}

#[test]
fn discovery_applies_filters_also_in_named_namespaces() {
    let of = |config: &str| {
        let link = format!(
            "{{interfaceSelector: {{interfacesDiscoveryConfig: {{interfaceAutoDiscovery: true, {config}}}}}}}"
        );
        links(&xdp(&link), &machine())
    };
    let all = ["eth0", "eth1", "veth1 in /run/netns/blue"];
    assert_eq!(of("").0, all, "without lo");
    assert_eq!(of("allowedInterfaces: [eth0, ' veth1 ']").0, ["eth0", "veth1 in /run/netns/blue"]);
    assert_eq!(of("allowedInterfaces: ['/^eth[0-9]$/']").0, ["eth0", "eth1"]);
    assert_eq!(of("allowedInterfaces: [eth]").0, [""; 0], "names are exact");
    assert_eq!(of("excludeInterfaces: [eth1, veth1]").0, ["eth0", "lo", "lo in /run/netns/blue"]);
    let (keys, problems) = of("allowedInterfaces: ['/eth(/', eth1]");
    assert_eq!(keys, ["eth1"], "the rest stands");
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("allowedInterfaces: /eth(/ is no pattern: "), "{problems:?}");
    let off = "{interfaceSelector: {interfacesDiscoveryConfig: {allowedInterfaces: [eth0]}}}";
    assert_eq!(links(&xdp(off), &machine()).0, [""; 0], "it has to be switched on");
}

#[test]
fn a_name_of_the_daemons_own_namespace_is_no_other_namespace() {
    let mut facts = machine();
    let interfaces = facts.interfaces.as_mut().unwrap();
    let own = interfaces.iter().filter(|interface| interface.netns.is_none());
    let again =
        own.map(|interface| NodeInterface { netns: Some("/run/netns/here".into()), ..interface.clone() });
    let again: Vec<NodeInterface> = again.collect();
    interfaces.extend(again);
    let link = "{interfaceSelector: {interfacesDiscoveryConfig: {interfaceAutoDiscovery: true}}}";
    assert_eq!(links(&xdp(link), &facts).0, ["eth0", "eth1", "veth1 in /run/netns/blue"]);
}

#[test]
fn pods_are_taken_by_namespace_and_labels() {
    let of = |selector: &str| {
        let link =
            format!("{{interfaceSelector: {{interfaces: [eth0]}}, networkNamespaces: {{{selector}}}}}");
        links(&xdp(&link), &machine()).0
    };
    let (web, api) = ("eth0 in pod uid-web net:11:1", "eth0 in pod uid-api net:12:2");
    assert_eq!(of("namespace: shop, pods: {matchLabels: {app: web}}"), [web]);
    assert_eq!(of("namespace: bank, pods: {}"), [api]);
    // For a cluster application, a pod on the node's network selects the node's interface.
    assert_eq!(of("pods: {}"), ["eth0", api, web]);
    assert_eq!(of("pods: {matchLabels: {app: none}}"), [""; 0]);
}

#[test]
fn namespaced_application_attaches_only_in_its_own_pods() {
    let link = "{interfaceSelector: {interfaces: [eth0]}, networkNamespaces: {pods: {}}}";
    let (keys, problems) = links(&xdp_of_pods(link), &machine());
    assert_eq!(keys, ["eth0 in pod uid-web net:11:1"]);
    assert_eq!(problems, ["the network namespace of pod shop/starting is not known yet"]);
    let link = "{interfaceSelector: {interfacesDiscoveryConfig: {interfaceAutoDiscovery: true}}, \
                networkNamespaces: {pods: {matchLabels: {app: web}}}}";
    assert_eq!(links(&xdp_of_pods(link), &machine()).0, ["eth0 in pod uid-web net:11:1"]);
}

fn only(spec: &ApplicationSpec, facts: &Facts) -> Program {
    desired(&owner(), spec, facts).load.expect("it is wanted").programs.remove(0)
}

#[test]
fn attachments_whose_selector_means_nothing_here_are_named() {
    let unmatched = |programs: &str| only(&cluster(programs), &machine()).unmatched;
    let pods = |pods: &str| {
        let link = "{interfaceSelector: {interfaces: [eth0]}, networkNamespaces: {pods: {matchLabels: {app: ";
        format!("{link}{pods}}}}}}}}}")
    };
    let xdp = format!("[{{name: count, type: XDP, xdp: {{links: [{}, {}]}}}}]", pods("web"), pods("none"));
    assert_eq!(unmatched(&xdp), ["xdp.links[1].networkNamespaces"]);
    let node = "[{name: count, type: XDP, xdp: {links: [{interfaceSelector: {interfaces: [nowhere]}}]}}]";
    assert_eq!(unmatched(node), [""; 0], "an interface of the node that is not there is another matter");
    let probe = |containers: &str| {
        unmatched(&format!(
            "[{{name: count, type: UProbe, uprobe: {{links: [{{function: malloc, target: libc, containers: {containers}}}]}}}}]"
        ))
    };
    assert_eq!(probe("{pods: {}}"), [""; 0]);
    assert_eq!(probe("{pods: {matchLabels: {app: none}}}"), ["uprobe.links[0].containers"]);
    let other = "{pods: {matchLabels: {app: web}}, containerNames: [bpfman-agent]}";
    assert_eq!(probe(other), ["uprobe.links[0].containers"]);
}

#[test]
fn attachments_stay_while_interfaces_of_the_node_are_unknown() {
    let key = AttachmentKey("eth7".into());
    let discovered = xdp("{interfaceSelector: {interfacesDiscoveryConfig: {interfaceAutoDiscovery: true}}}");
    let primary = xdp("{interfaceSelector: {primaryNodeInterface: true}}");
    let unlisted = Facts { interfaces: None, ..machine() };
    let unaddressed = Facts { addresses: Vec::new(), ..machine() };
    for (spec, facts) in [(&discovered, &unlisted), (&primary, &unlisted), (&primary, &unaddressed)] {
        let program = only(spec, facts);
        assert!(program.links.is_empty() && program.keeps(&key), "{program:?}");
        assert_eq!(program.problems.len(), 1, "{:?}", program.problems);
    }
    assert!(!only(&discovered, &machine()).keeps(&key));
    assert!(!only(&primary, &machine()).keeps(&key));
    let named = only(&xdp("{interfaceSelector: {interfaces: [eth0]}}"), &unlisted);
    assert!(!named.keeps(&key) && named.links.len() == 1, "names need no list");
}

#[test]
fn discovery_that_is_switched_off_leaves_the_primary_interface() {
    let facts = Facts { discovery_off: true, ..machine() };
    assert_eq!(links(&xdp("{interfaceSelector: {primaryNodeInterface: true}}"), &facts).0, ["eth0"]);
    let discovered = xdp("{interfaceSelector: {interfacesDiscoveryConfig: {interfaceAutoDiscovery: true}}}");
    assert_eq!(links(&discovered, &facts), (Vec::new(), Vec::new()));
}

#[test]
fn pod_with_unknown_network_keeps_its_links_and_only_it() {
    let there = AttachmentKey("eth0 in pod uid-web net:11:1".into());
    let other = AttachmentKey("eth0 in pod uid-api net:12:2".into());
    let named = xdp(
        "{interfaceSelector: {interfaces: [eth0]}, networkNamespaces: {pods: {matchLabels: {app: web}}}}",
    );
    let mut facts = machine();
    facts.pods[0].netns = None;
    facts.pods[0].containers = Vec::new();
    assert_eq!(only(&named, &facts).problems.len(), 1, "its container should be there");
    facts.pods[0].idle = true;
    let between = only(&named, &facts);
    assert_eq!((between.problems.len(), between.links.len()), (0, 0), "nothing runs in it: no problem");
    assert!(between.keeps(&there) && !between.keeps(&other));
    facts.pods.remove(0);
    assert!(!only(&named, &facts).keeps(&there), "the pod is gone");
}

#[test]
fn pod_with_unread_namespace_keeps_its_links() {
    let discovered = xdp_of_pods(
        "{interfaceSelector: {interfacesDiscoveryConfig: {interfaceAutoDiscovery: true}}, \
          networkNamespaces: {pods: {matchLabels: {app: web}}}}",
    );
    let plan = |facts: &Facts| {
        let owner = ProgramOwner { namespace: Some("shop".into()), ..owner() };
        desired(&owner, &discovered, facts).load.unwrap().programs.remove(0)
    };
    let mut facts = machine();
    facts.pods[0].netns.as_mut().unwrap().path = "/proc/99/ns/net".into();
    let program = plan(&facts);
    assert!(program.links.is_empty());
    assert!(program.keeps(&AttachmentKey("eth0 in pod uid-web net:11:1".into())));
    assert_eq!(program.problems, ["the interfaces of pod shop/web are not known yet"]);
    assert!(plan(&machine()).unknown.is_empty());
}

#[test]
fn a_container_that_the_daemon_does_not_find_keeps_its_probes() {
    let spec = cluster(
        "[{name: count, type: UProbe, uprobe: {links: [{function: malloc, target: libc, containers: {pods: {}}}]}}]",
    );
    let mut facts = machine();
    let lost = facts.pods[0].containers.remove(0);
    let key = AttachmentKey("libc:malloc+0 in containerd://web-main".into());
    assert!(!only(&spec, &facts).keeps(&key), "it ended");
    facts.pods[0].unseen.push(lost.id);
    assert!(only(&spec, &facts).keeps(&key));
    assert!(only(&spec, &facts).keeps(&AttachmentKey(format!("{} #2", key.0))));
    assert!(!only(&spec, &facts).keeps(&AttachmentKey("libc:malloc+0 in containerd://web-side".into())));
}

#[test]
fn ambiguous_container_is_a_problem_with_its_reason() {
    let problem = "container containerd://web-main of pod shop/web is not known for certain: /a and /b are named like it";
    let probes = cluster(
        "[{name: count, type: UProbe, uprobe: {links: [{function: malloc, target: libc, containers: {pods: {}}}]}}]",
    );
    let packets = cluster(
        "[{name: pass, type: XDP, xdp: {links: [{interfaceSelector: {interfaces: [eth0]}, networkNamespaces: {pods: {}}}]}}]",
    );
    let mut facts = machine();
    let lost = facts.pods[0].containers.remove(0);
    facts.pods[0].unseen.push(lost.id.clone());
    assert!(only(&probes, &facts).problems.is_empty());
    facts.pods[0].ambiguous.push((lost.id, "/a and /b are named like it".to_owned()));
    let program = only(&probes, &facts);
    assert_eq!(program.problems, [problem]);
    assert!(program.keeps(&AttachmentKey("libc:malloc+0 in containerd://web-main".into())));
    assert!(!only(&packets, &facts).problems.contains(&problem.to_owned()));
    facts.pods[0].netns = None;
    assert!(only(&packets, &facts).problems.contains(&problem.to_owned()));
}

#[test]
fn probes_go_into_the_containers_that_are_named_or_into_all() {
    let of = |containers: &str| {
        let spec = cluster(&format!(
            "[{{name: count, type: UProbe, uprobe: {{links: [{{function: malloc, target: libc, containers: {containers}}}]}}}}]"
        ));
        links(&spec, &machine()).0
    };
    let (main, side) = ("libc:malloc+0 in containerd://web-main", "libc:malloc+0 in containerd://web-side");
    assert_eq!(of("{namespace: shop, pods: {matchLabels: {app: web}}}"), [main, side]);
    assert_eq!(of("{namespace: shop, pods: {matchLabels: {app: web}}, containerNames: [side]}"), [side]);
    assert_eq!(of("{namespace: shop, pods: {matchLabels: {app: web}}, containerNames: [none]}"), [""; 0]);
    let on_node =
        cluster("[{name: count, type: UProbe, uprobe: {links: [{function: malloc, target: libc}]}}]");
    assert_eq!(links(&on_node, &machine()).0, ["libc:malloc+0"]);
}

#[test]
fn defaults_are_those_of_the_published_api() {
    let spec = cluster(
        "[{name: one, type: XDP, xdp: {links: [{interfaceSelector: {interfaces: [eth0]}}]}},
          {name: two, type: TC, tc: {links: [{interfaceSelector: {interfaces: [eth0]}, direction: Egress}]}},
          {name: three, type: TCX, tcx: {links: [{interfaceSelector: {interfaces: [eth0]}, direction: Ingress, priority: 0}]}}]",
    );
    let load = desired(&owner(), &spec, &machine()).load.unwrap();
    let info =
        |at: usize| load.programs[at].links.values().next().unwrap().point.as_published().cloned().unwrap();
    let Info::XdpAttachInfo(xdp) = info(0) else { panic!() };
    assert_eq!((xdp.priority, xdp.proceed_on, xdp.netns), (1000, vec![2, 31], None));
    let Info::TcAttachInfo(tc) = info(1) else { panic!() };
    assert_eq!((tc.priority, tc.proceed_on, tc.direction.as_str()), (1000, vec![3, 30], "egress"));
    let Info::TcxAttachInfo(tcx) = info(2) else { panic!() };
    assert_eq!((tcx.priority, tcx.direction.as_str()), (0, "ingress"));
}

#[test]
fn every_type_is_declared_as_the_daemon_takes_it() {
    let spec = cluster(
        "[{name: p_xdp, type: XDP, xdp: {}}, {name: p_tc, type: TC, tc: {}}, {name: p_tcx, type: TCX, tcx: {}},
          {name: p_fentry, type: FEntry, fentry: {function: vfs_unlink, links: [{mode: Attach}]}},
          {name: p_fexit, type: FExit, fexit: {function: vfs_unlink}},
          {name: p_kprobe, type: KProbe, kprobe: {links: [{function: vfs_unlink, offset: 4}]}},
          {name: p_kretprobe, type: KRetProbe, kretprobe: {links: [{function: vfs_unlink}]}},
          {name: p_uprobe, type: UProbe, uprobe: {links: [{function: '', offset: 9, target: /bin/x, pid: 7}]}},
          {name: p_uretprobe, type: URetProbe, uretprobe: {}},
          {name: p_tracepoint, type: TracePoint, tracepoint: {links: [{name: syscalls/sys_enter_openat}]}}]",
    );
    let load = desired(&owner(), &spec, &machine()).load.unwrap();
    let types: Vec<Wire> = load.request.info.iter().map(|info| info.program_type()).collect();
    use Wire::{Fentry, Fexit, Kprobe, Tc, Tcx, Tracepoint, Uprobe, Xdp};
    assert_eq!(types, [Xdp, Tc, Tcx, Fentry, Fexit, Kprobe, Kprobe, Uprobe, Uprobe, Tracepoint]);
    assert!(load.request.info[3].info.is_some() && load.request.info[4].info.is_some());
    let actual = |name: &str| load.request.metadata.get(&format!("{ACTUAL_TYPE_PREFIX}{name}")).cloned();
    assert_eq!(actual("p_kretprobe").as_deref(), Some("kretprobe"));
    assert_eq!(actual("p_uretprobe").as_deref(), Some("uretprobe"));
    assert_eq!((actual("p_kprobe"), actual("p_uprobe"), actual("p_xdp")), (None, None, None));
    let keys: Vec<Vec<&str>> = load
        .programs
        .iter()
        .map(|program| program.links.keys().map(|key| key.0.as_str()).collect())
        .collect();
    let none: Vec<&str> = vec![];
    assert_eq!(keys[3], ["vfs_unlink"]);
    assert_eq!(keys[4], none, "loaded, and not attached");
    assert_eq!(keys[5], ["vfs_unlink+4"]);
    assert_eq!(keys[6], ["vfs_unlink+0"]);
    assert_eq!(keys[7], ["/bin/x:+9 pid 7"], "an empty function is none");
    assert_eq!(keys[9], ["syscalls/sys_enter_openat"]);
    let Some(Info::UprobeAttachInfo(uprobe)) =
        load.programs[7].links.values().next().unwrap().point.as_published()
    else {
        panic!()
    };
    assert_eq!((&uprobe.fn_name, uprobe.offset, uprobe.pid), (&None, 9, Some(7)));
}

#[test]
fn equal_links_are_one_and_another_place_makes_another_link() {
    let link = "{interfaceSelector: {interfaces: [eth0, eth0]}, priority: 5}";
    assert_eq!(links(&xdp(&format!("{link}, {link}")), &machine()).0, ["eth0"]);
    let other = "{interfaceSelector: {interfaces: [eth0]}, priority: 6}";
    assert_eq!(links(&xdp(&format!("{link}, {other}")), &machine()).0, ["eth0", "eth0 #2"]);
}

#[test]
fn the_load_names_owner_application_and_content_and_no_secret() {
    let spec = cluster("[{name: count, type: XDP, xdp: {}}]");
    let request = request(desired(&owner(), &spec, &machine()));
    assert_eq!(request.metadata["bpfman.io/uuid"], "uid-1");
    assert_eq!(request.metadata["bpfman.io/ProgramName"], "firewall");
    assert_eq!(request.metadata["bpfman.io/content"].len(), 32);
    assert_eq!(request.global_data["sampling"], [1, 0, 0, 0]);
    let Some(Location::Image(image)) = request.bytecode.unwrap().location else { panic!() };
    assert_eq!((image.url.as_str(), image.image_pull_policy), ("registry.example/firewall:v1", 1));
    assert_eq!((image.username, image.password), (None, None));
}

#[test]
fn the_load_has_the_values_by_type_and_the_sizes_of_the_spec() {
    let mut spec = namespaced("[{name: count, type: XDP, xdp: {}}]");
    let load = |spec: &ApplicationSpec| desired(&owner(), spec, &machine()).load.unwrap();
    assert_eq!(load(&spec).values, None);
    spec.common.globals = Some([("rate".to_owned(), "10000000".to_owned())].into());
    spec.common.map_sizes = Some([("flows".to_owned(), 4096)].into());
    let values = load(&spec).values.unwrap();
    assert_eq!((values.globals["rate"].as_str(), values.map_sizes["flows"]), ("10000000", 4096));
    assert!(values.by_type_only, "digits of a manifest are a number");
    spec.common.map_sizes = Some([("flows".to_owned(), 0)].into());
    let refused = desired(&owner(), &spec, &machine()).refused;
    assert_eq!(refused[0].to_string(), "spec.mapSizes.flows: 0 is out of range: 1 to 4294967295 are allowed");
}

#[test]
fn only_programs_of_a_namespaced_application_name_its_namespace() {
    let machine = machine();
    let programs = "[{name: count, type: XDP, xdp: {}}]";
    let with = |spec: &ApplicationSpec| desired(&owner(), spec, &machine).load.unwrap();
    let shop = with(&namespaced(programs));
    assert_eq!(shop.request.metadata["bpfman.io/ProgramNamespace"], "shop");
    let other = ApplicationSpec { namespace: Some("bank".to_owned()), ..namespaced(programs) };
    assert_ne!(shop.content, with(&other).content);
    let cluster = with(&cluster(programs));
    assert_ne!(shop.content, cluster.content);
    assert!(!cluster.request.metadata.contains_key("bpfman.io/ProgramNamespace"));
}

#[test]
fn content_hash_changes_exactly_with_the_version() {
    let programs = "[{name: count, type: XDP, xdp: {}}, {name: shape, type: TC, tc: {}}]";
    let content = |spec: &ApplicationSpec| desired(&owner(), spec, &machine()).load.unwrap().content;
    let first = content(&cluster(programs));
    let mut seen = BTreeSet::from([first.clone()]);
    let mut other = |change: &dyn Fn(&mut ApplicationSpec)| {
        let mut spec = cluster(programs);
        change(&mut spec);
        assert!(seen.insert(content(&spec)), "{spec:?}");
    };
    other(&|spec| spec.common.byte_code.image.as_mut().unwrap().url.push('2'));
    other(&|spec| {
        spec.common.byte_code.image.as_mut().unwrap().image_pull_policy =
            bpfman_application::bytecode::ImagePullPolicy::Always;
    });
    other(&|spec| {
        spec.common.byte_code.image = None;
        spec.common.byte_code.path = Some("/opt/x.o".into());
    });
    other(&|spec| {
        spec.common.global_data.as_mut().unwrap().get_mut("sampling").unwrap().0[0] = 2;
    });
    other(&|spec| spec.common.global_data = None);
    let text = |text: &str| Some([("rate".to_owned(), text.to_owned())].into());
    other(&|spec| spec.common.globals = text("1"));
    other(&|spec| spec.common.globals = text("2"));
    let size = |entries| Some([("rate".to_owned(), entries)].into());
    other(&|spec| spec.common.map_sizes = size(1));
    other(&|spec| spec.common.map_sizes = size(2));
    let mut empty = cluster(programs);
    (empty.common.globals, empty.common.map_sizes) = (Some([].into()), Some([].into()));
    assert_eq!(content(&empty), first);
    other(&|spec| {
        spec.programs.pop();
    });
    other(&|spec| spec.programs[1].name.push('s'));
    let turned = "[{name: shape, type: TC, tc: {}}, {name: count, type: XDP, xdp: {links: [{interfaceSelector: {interfaces: [eth0]}}]}}]";
    assert_eq!(content(&cluster(turned)), first);
}
