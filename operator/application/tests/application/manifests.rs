use bpfman_application::application::{BpfApplication, ClusterBpfApplication};
use bpfman_application::bytecode::ImagePullPolicy;
use bpfman_application::config::{CONFIG_NAME, Config};
use bpfman_application::state::application::{AppLoadStatus, ClusterBpfApplicationState};
use bpfman_application::state::link::LinkStatus;
use bpfman_application::tc::TcProceedOn;
use bpfman_application::xdp::XdpProceedOn;
use bpfman_model::ProgramType;
use kube_core::CustomResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

const CLUSTER: &str = r#"
apiVersion: bpfman.io/v1alpha1
kind: ClusterBpfApplication
metadata:
  name: everything
spec:
  nodeSelector:
    matchLabels:
      role: edge
    matchExpressions:
      - { key: zone, operator: In, values: [a, b] }
  byteCode:
    image:
      url: quay.io/acme/everything:v1
      imagePullSecret: { name: pull, namespace: bpfman }
  globalData:
    sampling: AQAAAA==
  programs:
    - name: count_packets
      type: XDP
      xdp:
        links:
          - interfaceSelector: { primaryNodeInterface: true }
            priority: 55
          - interfaceSelector: { interfaces: [eth0, eth1] }
            proceedOn: [Drop, TX, ReDirect]
            networkNamespaces:
              namespace: shop
              pods: { matchLabels: { app: web } }
          - interfaceSelector:
              interfacesDiscoveryConfig:
                interfaceAutoDiscovery: true
                allowedInterfaces: ["/^veth.*/"]
    - name: shape
      type: TC
      tc:
        links:
          - interfaceSelector: { interfaces: [eth0] }
            direction: Egress
    - name: mirror
      type: TCX
      tcx:
        links:
          - interfaceSelector: { interfaces: [eth0] }
            direction: Ingress
            priority: 0
    - name: on_unlink
      type: FEntry
      fentry: { function: vfs_unlink, links: [{ mode: Attach }] }
    - name: after_unlink
      type: FExit
      fexit: { function: vfs_unlink }
    - name: on_wake
      type: KProbe
      kprobe: { links: [{ function: try_to_wake_up, offset: 4 }] }
    - name: after_wake
      type: KRetProbe
      kretprobe: { links: [{ function: try_to_wake_up }] }
    - name: on_open
      type: TracePoint
      tracepoint: { links: [{ name: syscalls/sys_enter_openat }] }
    - name: on_malloc
      type: UProbe
      uprobe:
        links:
          - function: malloc
            target: libc
            pid: 7
            containers: { pods: {}, containerNames: [main] }
    - name: after_malloc
      type: URetProbe
      uretprobe: { links: [] }
"#;

const NAMESPACED: &str = r#"
apiVersion: bpfman.io/v1alpha1
kind: BpfApplication
metadata: { name: pods, namespace: shop }
spec:
  nodeSelector: {}
  byteCode: { path: /opt/ebpf/pods.o }
  programs:
    - name: count_packets
      type: XDP
      xdp:
        links:
          - interfaceSelector: { interfaces: [eth0] }
            networkNamespaces: { pods: { matchLabels: { app: web } } }
    - name: on_malloc
      type: UProbe
      uprobe:
        links:
          - target: /usr/bin/app
            function: malloc
            containers: { pods: { matchLabels: { app: web } } }
"#;

const STATE: &str = r#"
apiVersion: bpfman.io/v1alpha1
kind: ClusterBpfApplicationState
metadata:
  name: everything-0a1b2c3d
  labels:
    bpfman.io/ownedByProgram: everything
    kubernetes.io/hostname: node-1
status:
  updateCount: 3
  node: node-1
  appLoadStatus: LoadSuccess
  programs:
    - name: count_packets
      type: XDP
      programLinkStatus: Success
      programId: 4294967295
      xdp:
        links:
          - shouldAttach: true
            uuid: 6b0c3a3e-0000-4000-8000-000000000001
            linkId: 3000000000
            linkStatus: Attached
            interfaceName: eth0
            priority: 55
            proceedOn: [Pass, DispatcherReturn]
    - name: on_wake
      type: KProbe
      programLinkStatus: Pending
      kprobe: {}
  conditions:
    - type: Success
      status: "True"
      reason: Success
      message: attached
      lastTransitionTime: "2026-01-02T03:04:05Z"
"#;

const CONFIG: &str = r#"
apiVersion: bpfman.io/v1alpha1
kind: Config
metadata: { name: bpfman-config }
spec:
  namespace: bpfman
  configuration: |
    [signing]
    allow_unsigned = true
  agent: { image: "quay.io/acme/agent:v1", logLevel: info }
  daemon: { image: "quay.io/acme/daemon:v1" }
  overrides:
    - { apiVersion: apps/v1, kind: DaemonSet, namespace: bpfman, name: bpfman-daemon, unmanaged: true }
"#;

/// Evaluates only the three forms of rules in use; in other tests, API servers evaluate the rules.
fn broken_rules<T: CustomResourceExt + Serialize>(resource: &T, part: &str) -> Vec<String> {
    let crd = serde_json::to_value(T::crd()).unwrap();
    let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{part}/properties/programs/items");
    let rules = crd.pointer(&path).unwrap()["x-kubernetes-validations"].as_array().unwrap();
    let resource = serde_json::to_value(resource).unwrap();
    let mut broken = Vec::new();
    for program in resource[part]["programs"].as_array().unwrap() {
        for rule in rules {
            if !holds(rule["rule"].as_str().unwrap(), program) {
                broken.push(rule["message"].as_str().unwrap().to_owned());
            }
        }
    }
    broken
}

fn holds(rule: &str, program: &Value) -> bool {
    let kind = program["type"].as_str().unwrap();
    let is_of = |list: &str| list.split(", ").any(|one| one.trim_matches('\'') == kind);
    if let Some(list) = rule.strip_prefix("!has(self.target) || (self.type in [") {
        return program.get("target").is_none() || is_of(list.strip_suffix("])").unwrap());
    }
    let inside = rule.strip_suffix(')').unwrap();
    let (of_type, block) = match inside.strip_prefix("(self.type in [") {
        Some(inside) => {
            let (list, block) = inside.split_once("]) == has(self.").unwrap();
            (is_of(list), block)
        }
        None => {
            let inside = inside.strip_prefix("(self.type == '").unwrap();
            let (one, block) = inside.split_once("') == has(self.").unwrap();
            (kind == one, block)
        }
    };
    of_type == program.get(block).is_some()
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_norway::from_str(text).unwrap()
}

#[test]
fn a_cluster_application_with_every_published_type() {
    let app: ClusterBpfApplication = read(CLUSTER);
    let image = app.spec.common.byte_code.image.as_ref().unwrap();
    assert_eq!(image.image_pull_policy, ImagePullPolicy::IfNotPresent);
    assert_eq!(app.spec.common.global_data.as_ref().unwrap()["sampling"].0, [1, 0, 0, 0]);
    assert_eq!(app.spec.programs.len(), 10);
    let xdp = &app.spec.programs[0].xdp.as_ref().unwrap().links;
    assert_eq!(xdp[0].point.priority, Some(55));
    assert_eq!(xdp[0].point.proceed_on, [XdpProceedOn::Pass, XdpProceedOn::DispatcherReturn]);
    assert_eq!(xdp[1].point.proceed_on.iter().map(|v| v.number()).collect::<Vec<_>>(), [1, 3, 4]);
    let discovery = xdp[2].point.interface_selector.interfaces_discovery_config.as_ref().unwrap();
    assert_eq!(discovery.exclude_interfaces, ["lo"]);
    let tc = &app.spec.programs[1].tc.as_ref().unwrap().links[0];
    assert_eq!(tc.point.proceed_on, [TcProceedOn::Pipe, TcProceedOn::DispatcherReturn]);
    assert_eq!(tc.point.at.priority, None);
    assert_eq!(app.spec.programs[9].program_type, ProgramType::Uretprobe);
    assert_eq!(broken_rules(&app, "spec"), Vec::<String>::new());
}

#[test]
fn a_namespaced_application() {
    let app: BpfApplication = read(NAMESPACED);
    assert_eq!(app.spec.common.byte_code.path.as_deref(), Some("/opt/ebpf/pods.o"));
    assert_eq!(broken_rules(&app, "spec"), Vec::<String>::new());
}

#[test]
fn a_state_keeps_ids_of_all_32_bits() {
    let state: ClusterBpfApplicationState = read(STATE);
    assert_eq!(broken_rules(&state, "status"), Vec::<String>::new());
    let status = state.status.unwrap();
    assert_eq!(status.node.app_load_status, AppLoadStatus::LoadSuccess);
    assert_eq!(status.programs[0].program.program_id, Some(u32::MAX));
    let link = &status.programs[0].xdp.as_ref().unwrap().links[0];
    assert_eq!((link.link.link_id, link.link.link_status), (Some(3_000_000_000), LinkStatus::Attached));
}

#[test]
fn a_config() {
    let config: Config = read(CONFIG);
    assert_eq!(config.metadata.name.as_deref(), Some(CONFIG_NAME));
    assert_eq!(config.spec.agent.health_probe_port, 8175);
    assert!(config.spec.overrides[0].unmanaged);
}

/// With server-side apply the client would own a field that it sends as null.
#[test]
fn nothing_absent_is_written_as_null() {
    fn nulls(value: &Value) -> usize {
        match value {
            Value::Null => 1,
            Value::Array(items) => items.iter().map(nulls).sum(),
            Value::Object(fields) => fields.values().map(nulls).sum(),
            _ => 0,
        }
    }
    let written = [
        serde_json::to_value(read::<ClusterBpfApplication>(CLUSTER)).unwrap(),
        serde_json::to_value(read::<ClusterBpfApplication>(POINTS)).unwrap(),
        serde_json::to_value(read::<BpfApplication>(NAMESPACED)).unwrap(),
        serde_json::to_value(read::<ClusterBpfApplicationState>(STATE)).unwrap(),
        serde_json::to_value(read::<Config>(CONFIG)).unwrap(),
    ];
    for value in written {
        assert_eq!(nulls(&value), 0, "{value}");
    }
}

#[test]
fn the_block_of_another_type_is_refused() {
    let mut app: ClusterBpfApplication = read(CLUSTER);
    app.spec.programs[0].program_type = ProgramType::Tc;
    assert_eq!(
        broken_rules(&app, "spec"),
        [
            "the block xdp belongs to type XDP, and is needed there",
            "the block tc belongs to type TC, and is needed there",
        ]
    );
}

#[test]
fn a_missing_block_and_a_second_block_are_refused() {
    let mut missing: ClusterBpfApplication = read(CLUSTER);
    missing.spec.programs[7].tracepoint = None;
    let message = "the block tracepoint belongs to type TracePoint, and is needed there";
    assert_eq!(broken_rules(&missing, "spec"), [message]);
    let mut second: ClusterBpfApplication = read(CLUSTER);
    second.spec.programs[7].fexit = second.spec.programs[4].fexit.clone();
    assert_eq!(broken_rules(&second, "spec"), ["the block fexit belongs to type FExit, and is needed there"]);
}

#[test]
fn types_of_the_cluster_are_unknown_in_a_namespace() {
    let text = NAMESPACED.replace("type: UProbe", "type: KProbe");
    assert!(serde_norway::from_str::<BpfApplication>(&text).is_err());
    let text = NAMESPACED.replace("networkNamespaces", "otherNamespaces");
    let message = serde_norway::from_str::<BpfApplication>(&text).unwrap_err().to_string();
    assert!(message.contains("networkNamespaces"), "{message}");
}

/// Types that the published API does not have.
const BEYOND: &[ProgramType] =
    ProgramType::ALL.split_at(10).1.split_at(ProgramType::MANIFEST_NAMES.len() - 10).0;
const POINTS: &str = include_str!("../points.yaml");

#[test]
fn cluster_application_with_every_type_beyond_the_published_api() {
    let app: ClusterBpfApplication = read(POINTS);
    assert_eq!(broken_rules(&app, "spec"), Vec::<String>::new());
    let kinds: Vec<ProgramType> = app.spec.programs.iter().map(|program| program.program_type).collect();
    assert_eq!(kinds, BEYOND, "each, in the order in which they are explained");
    let again: ClusterBpfApplication = serde_json::from_value(serde_json::to_value(&app).unwrap()).unwrap();
    assert_eq!(again, app);
}

#[test]
fn rules_for_shared_blocks_and_targets_are_enforced() {
    let broken = |at: usize, change: &dyn Fn(&mut Value)| {
        let mut manifest: Value = serde_norway::from_str(POINTS).unwrap();
        change(&mut manifest["spec"]["programs"][at]);
        broken_rules(&serde_json::from_value::<ClusterBpfApplication>(manifest).unwrap(), "spec")
    };
    let of = |kind: ProgramType| BEYOND.iter().position(|one| *one == kind).unwrap();
    let lookup = of(ProgramType::SkLookup);
    let removed = broken(lookup, &|program| {
        program.as_object_mut().unwrap().remove("netns");
    });
    assert_eq!(removed, ["the block netns belongs to types SkLookup, FlowDissector, and is needed there"]);
    let second = broken(lookup, &|program| program["cgroup"] = json!({}));
    assert!(second[0].starts_with("the block cgroup belongs to types CgroupSkb"), "{second:?}");
    let loaded_only = broken(of(ProgramType::Syscall), &|program| program["ksyscall"] = json!({}));
    assert_eq!(loaded_only.len(), 1, "{loaded_only:?}");
    let told = broken(lookup, &|program| program["target"] = json!("connect4"));
    assert!(told[0].starts_with("target belongs to types TpBtf"), "{told:?}");
    assert_eq!(broken(of(ProgramType::CgroupSkb), &|program| program["target"] = json!("egress")), [""; 0]);
}
