use bpfman_application::application::{BpfApplication, ClusterBpfApplication};
use bpfman_application::check;
use bpfman_application::spec::ApplicationSpec;
use serde_json::{Value, json};

fn cluster() -> Value {
    serde_norway::from_str(
        r#"
apiVersion: bpfman.io/v1alpha1
kind: ClusterBpfApplication
metadata: { name: everything }
spec:
  nodeSelector:
    matchExpressions: [{ key: zone, operator: In, values: [a] }]
  byteCode: { image: { url: "quay.io/acme/x:1", imagePullSecret: { name: pull, namespace: bpfman } } }
  globalData: { sampling: AQAAAA== }
  globals: { rate: "100", ports: "[80, 443]" }
  mapSizes: { flows: 4096 }
  mapExports: [{ map: "*", namespaces: ["*"] }, { map: .hits_1, namespaces: [a, b-2], access: ReadWrite }]
  rollout: { waves: [1, "50%"], soakSeconds: 60 }
  programs:
    - name: count
      type: XDP
      xdp:
        links:
          - interfaceSelector: { interfaces: [eth0] }
            order: { role: counter, before: [judge] }
            networkNamespaces: { namespace: shop, pods: {} }
    - { name: on_unlink, type: FEntry, fentry: { function: vfs_unlink, links: [{ mode: Attach }] } }
    - { name: on_wake, type: KProbe, kprobe: { links: [{ function: try_to_wake_up, offset: 4 }] } }
    - { name: on_open, type: TracePoint, tracepoint: { links: [{ name: syscalls/sys_enter_openat }] } }
    - name: on_malloc
      type: UProbe
      uprobe: { links: [{ function: malloc, target: libc, pid: 7, containers: { pods: {} } }] }
    - name: shape
      type: TC
      tc: { links: [{ interfaceSelector: { primaryNodeInterface: true }, direction: Egress }] }
    - name: mirror
      type: TCX
      tcx:
        links:
          - interfaceSelector:
              interfacesDiscoveryConfig: { interfaceAutoDiscovery: true, allowedInterfaces: ["/^veth/"] }
            direction: Ingress
"#,
    )
    .unwrap()
}

fn namespaced() -> Value {
    json!({
        "apiVersion": "bpfman.io/v1alpha1",
        "kind": "BpfApplication",
        "metadata": { "name": "pods", "namespace": "shop" },
        "spec": {
            "nodeSelector": {},
            "byteCode": { "path": "/opt/x.o" },
            "programs": [{
                "name": "count", "type": "XDP",
                "xdp": { "links": [{
                    "interfaceSelector": { "interfaces": ["eth0"] },
                    "networkNamespaces": { "pods": {} },
                }] },
            }],
        },
    })
}

fn problems(manifest: &Value) -> Vec<String> {
    let mut found = check::manifest(manifest);
    if found.is_empty() {
        let spec = match manifest["kind"].as_str().unwrap() {
            "BpfApplication" => ApplicationSpec::namespaced(
                "shop",
                serde_json::from_value::<BpfApplication>(manifest.clone()).unwrap().spec,
            ),
            _ => ApplicationSpec::from(
                serde_json::from_value::<ClusterBpfApplication>(manifest.clone()).unwrap().spec,
            ),
        };
        found = check::application(&spec);
    }
    found.iter().map(ToString::to_string).collect()
}

fn with(mut manifest: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match manifest.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = value,
        parent => {
            parent.as_object_mut().unwrap().insert(field.to_owned(), value);
        }
    }
    manifest
}

#[test]
fn good_manifests_have_no_problems() {
    assert_eq!(problems(&cluster()), [""; 0]);
    assert_eq!(problems(&namespaced()), [""; 0]);
    assert_eq!(check::manifest(&with(cluster(), "/spec/globalData", json!(null))), []);
    assert_eq!(problems(&with(cluster(), "/spec/globalData/sampling", json!([1, 0, 0, 255]))), [""; 0]);
}

#[test]
fn each_field_of_a_cluster_application_is_held_against_its_rule() {
    for (pointer, value, says) in [
        (
            "/spec/nodeSelector/matchExpressions/0/operator",
            json!("Near"),
            "spec.nodeSelector.matchExpressions[0].operator: \"Near\" is no operator: In, NotIn, Exists and DoesNotExist",
        ),
        (
            "/spec/nodeSelector/matchExpressions/0/values",
            json!([]),
            "spec.nodeSelector.matchExpressions[0].values: In needs at least one value",
        ),
        (
            "/spec/globalData/sampling",
            json!([1, 256]),
            "spec.globalData.sampling: not each entry of the list is a byte: numbers from 0 to 255 are",
        ),
        ("/spec/globalData/sampling", json!("no base64!"), "spec.globalData.sampling: it is not base64"),
        (
            "/spec/globalData/sampling",
            json!(1),
            "spec.globalData.sampling: it is neither base64 nor a list of",
        ),
        (
            "/spec/globals/rate",
            json!(100),
            "spec.globals.rate: 100 is not a text (in YAML, quote what looks like",
        ),
        (
            "/spec/globals/rate",
            json!("1".repeat(8193)),
            "spec.globals.rate: it has 8193 characters: at most 8192",
        ),
        (
            "/spec/globals/sampling",
            json!("1"),
            "spec.globals.sampling: spec.globalData has a value for it too",
        ),
        ("/spec/globals/", json!("1"), "spec.globals: \"\" names no global variable"),
        ("/spec/mapSizes/flows", json!(0), "spec.mapSizes.flows: 0 is out of range: 1 to 4294967295 are"),
        ("/spec/mapSizes/flows", json!(-1), "spec.mapSizes.flows: -1 is out of range"),
        ("/spec/mapSizes/flows", json!(4_294_967_296_u64), "spec.mapSizes.flows: 4294967296 is out of range"),
        ("/spec/mapSizes/flows", json!("1024"), "spec.mapSizes.flows: \"1024\" is not a whole number"),
        ("/spec/mapSizes/..%2fflows", json!(1), "spec.mapSizes: \"..%2fflows\" is no name of a map"),
        ("/spec/mapSizes/*", json!(1), "spec.mapSizes: \"*\" is no name of a map"),
        ("/spec/mapExports/0/map", json!("../hits"), "spec.mapExports[0].map: \"../hits\" does not match"),
        ("/spec/mapExports/0/namespaces", json!([]), "spec.mapExports[0].namespaces: it has 0 entries"),
        (
            "/spec/mapExports/1/namespaces/1",
            json!("Shop"),
            "spec.mapExports[1].namespaces[1]: \"Shop\" does not match",
        ),
        (
            "/spec/mapExports/1/access",
            json!("rw"),
            "spec.mapExports[1].access: \"rw\" is not allowed: ReadOnly, ReadWrite",
        ),
        ("/spec/byteCode/path", json!("/opt/x.o"), "spec.byteCode: it has 2 entries: exactly 1 is allowed"),
        (
            "/spec/byteCode/image/url",
            json!("a".repeat(526)),
            "spec.byteCode.image.url: it has 526 characters: at most 525",
        ),
        (
            "/spec/byteCode/image/imagePullPolicy",
            json!("Sometimes"),
            "spec.byteCode.image.imagePullPolicy: \"Sometimes\" is not allowed: Always, Never, IfNotPresent are",
        ),
        ("/spec/byteCode/image/imagePullSecret/name", json!(""), "imagePullSecret.name: it is empty"),
        (
            "/spec/rollout/waves/1",
            json!("150%"),
            "spec.rollout.waves[1]: \"150%\" does not match the pattern",
        ),
        ("/spec/rollout/soakSeconds", json!(90_000), "spec.rollout.soakSeconds: 90000 is out of range"),
        ("/spec/programs/1/name", json!("count"), "spec.programs[1].name: \"count\" is there twice"),
        (
            "/spec/programs/0/type",
            json!("TC"),
            "spec.programs[0].xdp: it does not belong to type TC: only the block tc",
        ),
        (
            "/spec/programs/0/xdp/links/0/interfaceSelector/interfaces/0",
            json!("eth/0"),
            "interfaceSelector.interfaces[0]: \"eth/0\" is no name of an interface",
        ),
        (
            "/spec/programs/0/xdp/links/0/order/role",
            json!(""),
            "xdp.links[0].order.role: it has 0 characters: 1 to 64",
        ),
        (
            "/spec/programs/0/xdp/links/0/order/before",
            json!(vec!["x"; 17]),
            "order.before: it has 17 entries",
        ),
        (
            "/spec/programs/0/xdp/links/0/networkNamespaces/pods",
            json!({"matchExpressions": [{"key": "", "operator": "Exists"}]}),
            "xdp.links[0].networkNamespaces.pods.matchExpressions[0].key: it is empty",
        ),
        (
            "/spec/programs/1/fentry/function",
            json!("x"),
            "spec.programs[1].fentry.function: \"x\" does not match",
        ),
        (
            "/spec/programs/1/fentry/links",
            json!([{"mode": "Attach"}, {"mode": "Attach"}]),
            "spec.programs[1].fentry.links: it has 2 entries: at most 1 is allowed",
        ),
        (
            "/spec/programs/1/fentry/links/0/mode",
            json!("Detach"),
            "links[0].mode: \"Detach\" is not allowed: Attach",
        ),
        (
            "/spec/programs/2/kprobe/links/0/offset",
            json!(-4),
            "spec.programs[2].kprobe.links[0].offset: -4 is before the function",
        ),
        ("/spec/programs/2/kprobe/links/0/function", json!(7), "kprobe.links[0].function: 7 is not a text"),
        (
            "/spec/programs/3/tracepoint/links/0/name",
            json!("a"),
            "spec.programs[3].tracepoint.links[0].name: \"a\" does not match",
        ),
        (
            "/spec/programs/4/uprobe/links/0/target",
            json!(""),
            "spec.programs[4].uprobe.links[0].target: it is empty",
        ),
        (
            "/spec/programs/4/uprobe/links/0/pid",
            json!(-1),
            "spec.programs[4].uprobe.links[0].pid: -1 is no process id",
        ),
        (
            "/spec/programs/4/uprobe/links/0/pid",
            json!(3_000_000_000_i64),
            "links[0].pid: 3000000000 is out of range",
        ),
        (
            "/spec/programs/5/tc/links/0/direction",
            json!("ingress"),
            "tc.links[0].direction: \"ingress\" is not allowed: Ingress, Egress",
        ),
        (
            "/spec/programs/5/tc/links/0/interfaceSelector/interfaces",
            json!(["eth0"]),
            "interfaceSelector: it has 2 entries",
        ),
        (
            "/spec/programs/6/tcx/links/0/interfaceSelector/interfacesDiscoveryConfig/allowedInterfaces/0",
            json!("/veth(/"),
            "allowedInterfaces[0]: \"/veth(/\" is no pattern: unclosed group",
        ),
    ] {
        let found = problems(&with(cluster(), pointer, value));
        let wrong = if pointer.ends_with("/type") { 2 } else { 1 };
        assert_eq!(found.len(), wrong, "{pointer}: {found:?}");
        assert!(found[0].contains(says), "{pointer}: {found:?} lacks {says:?}");
    }
}

#[test]
fn blocks_of_other_scopes_and_missing_ones_are_named() {
    let probe = with(namespaced(), "/spec/programs/0/kprobe", json!({}));
    assert!(
        problems(&probe)[0].starts_with("spec.programs[0].kprobe: there is no such field; there are"),
        "{:?}",
        problems(&probe)
    );
    let typed = with(namespaced(), "/spec/programs/0/type", json!("KProbe"));
    assert!(problems(&typed)[0].contains("\"KProbe\" is not allowed"), "{:?}", problems(&typed));
    let mut bare = namespaced();
    bare.pointer_mut("/spec/programs/0").unwrap().as_object_mut().unwrap().remove("xdp");
    assert_eq!(problems(&bare), ["spec.programs[0].xdp: it is missing: type XDP needs the block xdp"]);
    let mut everywhere = namespaced();
    everywhere
        .pointer_mut("/spec/programs/0/xdp/links/0")
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove("networkNamespaces");
    assert_eq!(problems(&everywhere), ["spec.programs[0].xdp.links[0].networkNamespaces: it is missing"]);
}

#[test]
fn a_pattern_that_is_none_leaves_the_structure_alone() {
    let pointer =
        "/spec/programs/6/tcx/links/0/interfaceSelector/interfacesDiscoveryConfig/allowedInterfaces/0";
    let manifest = with(cluster(), pointer, json!("/(/"));
    let spec = ApplicationSpec::from(serde_json::from_value::<ClusterBpfApplication>(manifest).unwrap().spec);
    assert_eq!(check::structure(&spec), []);
    assert_eq!(check::application(&spec).len(), 1);
}

#[test]
fn namespaced_probes_are_at_function_entries_of_all_processes() {
    let probed = |block: &str, change: fn(&mut Value)| {
        let mut link = json!({ "function": "malloc", "target": "libc", "offset": 0, "pid": 0, "containers": { "pods": {} } });
        change(&mut link);
        let kind = if block == "uprobe" { "UProbe" } else { "URetProbe" };
        let mut manifest = namespaced();
        manifest["spec"]["programs"][0] =
            json!({ "name": "count", "type": kind, block: { "links": [link] } });
        manifest
    };
    for block in ["uprobe", "uretprobe"] {
        assert_eq!(problems(&probed(block, |_| {})), [""; 0], "zeros are what clients send that mean none");
        let field = |field: &str, says: &str| format!("spec.programs[0].{block}.links[0].{field}: {says}");
        let offset = problems(&probed(block, |link| link["offset"] = json!(6)));
        assert!(
            offset[0].starts_with(&field("offset", "6 is not allowed in a BpfApplication")),
            "{offset:?}"
        );
        let pid = problems(&probed(block, |link| link["pid"] = json!(7)));
        assert!(pid[0].starts_with(&field("pid", "7 is not allowed in a BpfApplication")), "{pid:?}");
        assert_eq!((offset.len(), pid.len()), (1, 1));
    }
    // Cluster applications have no such restriction: their authors may do anything on the node.
    let cluster = with(cluster(), "/spec/programs/4/uprobe/links/0/offset", json!(6));
    assert_eq!(problems(&cluster), [""; 0]);
}
