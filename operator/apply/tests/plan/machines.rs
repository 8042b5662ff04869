use bpfman_apply::desired::ProgramOwner;
use bpfman_apply::facts::{Facts, Netns, NodeInterface, PodContainer, PodFacts};
use bpfman_apply::plan::ApplicationSpec;

pub fn owner() -> ProgramOwner {
    ProgramOwner { namespace: None, name: "firewall".into(), uid: "uid-1".into() }
}

fn interface(name: &str, netns: Option<&str>, address: Option<&str>) -> NodeInterface {
    NodeInterface {
        name: name.into(),
        netns: netns.map(str::to_owned),
        addresses: address.map(|address| address.parse().unwrap()).into_iter().collect(),
        ..NodeInterface::default()
    }
}

fn pod(namespace: &str, name: &str, netns: Option<(u64, u64)>) -> PodFacts {
    let container =
        |role: &str, pid| PodContainer { name: role.into(), id: format!("containerd://{name}-{role}"), pid };
    PodFacts {
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        labels: [("app".to_owned(), name.to_owned())].into(),
        netns: netns.map(|identity| Netns { path: format!("/proc/{}/ns/net", identity.0), identity }),
        containers: vec![container("main", 21), container("side", 22)],
        host_network: false,
        idle: false,
        unseen: Vec::new(),
        ambiguous: Vec::new(),
    }
}

pub fn machine() -> Facts {
    let host = PodFacts {
        host_network: true,
        labels: [("app".into(), "host".into())].into(),
        ..pod("shop", "host", None)
    };
    let starting = PodFacts { labels: [].into(), ..pod("shop", "starting", None) };
    Facts {
        node: "node-1".into(),
        labels: [("role".to_owned(), "edge".to_owned())].into(),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        interfaces: Some(vec![
            interface("lo", None, Some("127.0.0.1")),
            interface("eth0", None, Some("192.0.2.1")),
            interface("eth1", None, Some("198.51.100.1")),
            interface("lo", Some("/run/netns/blue"), None),
            interface("veth1", Some("/run/netns/blue"), None),
            interface("lo", Some("/proc/11/ns/net"), None),
            interface("eth0", Some("/proc/11/ns/net"), None),
        ]),
        discovery_off: false,
        pods: vec![pod("shop", "web", Some((11, 1))), pod("bank", "api", Some((12, 2))), host, starting],
    }
}

fn manifest(programs: &str) -> String {
    format!(
        "nodeSelector: {{}}\nbyteCode: {{image: {{url: 'registry.example/firewall:v1'}}}}\n\
         globalData: {{sampling: AQAAAA==}}\nprograms: {programs}\n"
    )
}

pub fn cluster(programs: &str) -> ApplicationSpec {
    ApplicationSpec::read(None, serde_norway::from_str(&manifest(programs)).unwrap()).unwrap()
}

pub fn namespaced(programs: &str) -> ApplicationSpec {
    ApplicationSpec::read(Some("shop"), serde_norway::from_str(&manifest(programs)).unwrap()).unwrap()
}
