use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Value, json};

static DEFINITIONS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    bpfman_application::crd::all().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect()
});

fn definition(kind: &str) -> &'static Value {
    DEFINITIONS.iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap()
}

fn schema(kind: &str, path: &str) -> Value {
    let crd = definition(kind);
    let mut at = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for step in path.split('.') {
        at = if step == "[]" { &at["items"] } else { &at["properties"][step] };
        assert!(at.is_object(), "{kind} has no {path}: {step}");
    }
    at.clone()
}

fn words(value: &Value) -> BTreeSet<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn set(names: &str) -> BTreeSet<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

/// API servers warn at each apply about a format that they do not know.
#[test]
fn formats_are_those_that_kubernetes_knows() {
    fn formats(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("format").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| formats(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| formats(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    DEFINITIONS.iter().for_each(|crd| formats(crd, &mut found));
    let known = ["int32", "int64", "float", "double", "byte", "date", "date-time", "password"];
    assert!(found.iter().all(|format| known.contains(&format.as_str())), "{found:?}");
}

#[test]
fn kinds_names_and_scopes() {
    let expected = [
        ("ClusterBpfApplication", "clusterbpfapplications", "Cluster", "cbpfapp"),
        ("BpfApplication", "bpfapplications", "Namespaced", "bpfapp"),
        ("ClusterBpfApplicationState", "clusterbpfapplicationstates", "Cluster", "cbpfappstate"),
        ("BpfApplicationState", "bpfapplicationstates", "Namespaced", "bpfappstate"),
        ("Config", "configs", "Cluster", ""),
    ];
    let all = &*DEFINITIONS;
    assert_eq!(all.len(), expected.len());
    for (crd, (kind, plural, scope, short)) in all.iter().zip(expected) {
        assert_eq!(crd["metadata"]["name"], format!("{plural}.bpfman.io"));
        let spec = &crd["spec"];
        assert_eq!((&spec["group"], &spec["scope"]), (&json!("bpfman.io"), &json!(scope)));
        assert_eq!(spec["names"]["kind"], kind);
        assert_eq!(spec["names"]["plural"], plural);
        assert_eq!(spec["names"]["singular"], kind.to_lowercase());
        assert_eq!(words(&spec["names"]["shortNames"]), set(short));
        assert_eq!(words(&spec["names"]["categories"]), set("bpfman"));
        let [version] = spec["versions"].as_array().unwrap().as_slice() else { panic!("{kind}") };
        assert_eq!(version["name"], "v1alpha1");
        assert_eq!((&version["served"], &version["storage"]), (&json!(true), &json!(true)));
        assert!(version["subresources"]["status"].is_object(), "{kind}");
        assert!(version["subresources"]["scale"].is_null(), "{kind}");
    }
}

#[test]
fn printer_columns() {
    let columns = |kind: &str| -> Vec<(String, String)> {
        let crd = definition(kind);
        let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        columns.iter().map(|column| (text(&column["name"]), text(&column["jsonPath"]))).collect()
    };
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect()
    };
    let (status, age) = (("Status", ".status.conditions[0].reason"), ("Age", ".metadata.creationTimestamp"));
    for kind in ["ClusterBpfApplication", "BpfApplication"] {
        let ours = [("Ready", ".status.summary.ready"), ("Phase", ".status.rollout.phase")];
        let columns = columns(kind);
        assert_eq!(columns, pairs(&[("NodeSelector", ".spec.nodeSelector"), status, ours[0], ours[1], age]));
    }
    for kind in ["ClusterBpfApplicationState", "BpfApplicationState"] {
        let ours = [("Kernel", ".status.kernel"), ("Revision", ".status.observedRevision")];
        assert_eq!(columns(kind), pairs(&[("Node", ".status.node"), status, ours[0], ours[1], age]));
    }
    let ready = |field: &str| format!(".status.conditions[?(@.type==\"Ready\")].{field}");
    let wide =
        [("Namespace", ".spec.namespace"), ("Daemon", ".spec.daemon.image"), ("Agent", ".spec.agent.image")];
    let ours = [("Ready", &*ready("status")), ("Status", &*ready("reason")), wide[0], wide[1], wide[2], age];
    assert_eq!(columns("Config"), pairs(&ours));
}

#[test]
fn states_are_chosen_by_their_node_where_servers_know_how() {
    let fields = |crd: &Value| crd["spec"]["versions"][0]["selectableFields"].clone();
    let older = bpfman_application::crd::without_selectable_fields();
    for (crd, older) in DEFINITIONS.iter().zip(older) {
        let is_state = crd["spec"]["names"]["kind"].as_str().unwrap().ends_with("State");
        let expected = if is_state { json!([{ "jsonPath": ".status.node" }]) } else { Value::Null };
        assert_eq!(fields(crd), expected);
        let older = serde_json::to_value(older).unwrap();
        assert_eq!(fields(&older), Value::Null);
        assert_eq!(older["spec"]["versions"][0]["schema"], crd["spec"]["versions"][0]["schema"]);
    }
}

#[test]
fn required_fields() {
    for (kind, path, required) in [
        ("ClusterBpfApplication", "spec", "nodeSelector byteCode programs"),
        ("BpfApplication", "spec", "nodeSelector byteCode programs"),
        ("ClusterBpfApplication", "spec.byteCode", ""),
        ("ClusterBpfApplication", "spec.byteCode.image", "url"),
        ("ClusterBpfApplication", "spec.byteCode.image.imagePullSecret", "name namespace"),
        ("ClusterBpfApplication", "spec.programs.[]", "name type"),
        ("ClusterBpfApplication", "spec.programs.[].xdp", ""),
        ("ClusterBpfApplication", "spec.programs.[].xdp.links.[]", "interfaceSelector"),
        ("BpfApplication", "spec.programs.[].xdp.links.[]", "interfaceSelector networkNamespaces"),
        ("ClusterBpfApplication", "spec.programs.[].xdp.links.[].networkNamespaces", "pods"),
        ("ClusterBpfApplication", "spec.programs.[].tc.links.[]", "interfaceSelector direction"),
        ("BpfApplication", "spec.programs.[].tc.links.[]", "interfaceSelector direction networkNamespaces"),
        ("ClusterBpfApplication", "spec.programs.[].tcx.links.[]", "interfaceSelector direction"),
        ("BpfApplication", "spec.programs.[].tcx.links.[]", "interfaceSelector direction networkNamespaces"),
        ("ClusterBpfApplication", "spec.programs.[].kprobe.links.[]", "function"),
        ("ClusterBpfApplication", "spec.programs.[].kretprobe.links.[]", "function"),
        ("ClusterBpfApplication", "spec.programs.[].tracepoint.links.[]", "name"),
        ("ClusterBpfApplication", "spec.programs.[].fentry", "function"),
        ("ClusterBpfApplication", "spec.programs.[].fexit.links.[]", "mode"),
        ("ClusterBpfApplication", "spec.programs.[].uprobe.links.[]", "target"),
        ("BpfApplication", "spec.programs.[].uretprobe.links.[]", "target containers"),
        ("ClusterBpfApplication", "spec.programs.[].uprobe.links.[].containers", "pods"),
        ("ClusterBpfApplication", "spec.programs.[].cgroup", ""),
        ("ClusterBpfApplication", "spec.programs.[].cgroup.links.[]", "path"),
        ("ClusterBpfApplication", "spec.programs.[].loadedFor.links.[]", "mode"),
        ("ClusterBpfApplication", "spec.programs.[].rawTracepoint.links.[]", "name"),
        ("ClusterBpfApplication", "spec.programs.[].netns.links.[]", ""),
        ("ClusterBpfApplication", "spec.programs.[].netfilter.links.[]", "family hook priority"),
        ("ClusterBpfApplication", "spec.programs.[].netkit.links.[]", "interface"),
        ("ClusterBpfApplication", "spec.programs.[].kprobeMulti.links.[]", "functions"),
        ("ClusterBpfApplication", "spec.programs.[].uprobeMulti.links.[]", "target functions"),
        ("ClusterBpfApplication", "spec.programs.[].usdt.links.[]", "target provider name"),
        ("ClusterBpfApplication", "spec.programs.[].perfEvent.links.[]", "event"),
        (
            "ClusterBpfApplicationState",
            "status.programs.[].netfilter.links.[]",
            "shouldAttach uuid linkStatus family hook priority",
        ),
        ("ClusterBpfApplicationState", "status", "updateCount node appLoadStatus"),
        ("BpfApplicationState", "status", "updateCount node appLoadStatus"),
        ("ClusterBpfApplicationState", "status.programs.[]", "name type programLinkStatus"),
        (
            "ClusterBpfApplicationState",
            "status.programs.[].xdp.links.[]",
            "shouldAttach uuid linkStatus interfaceName priority proceedOn",
        ),
        (
            "ClusterBpfApplicationState",
            "status.programs.[].tc.links.[]",
            "shouldAttach uuid linkStatus interfaceName direction priority proceedOn",
        ),
        (
            "ClusterBpfApplicationState",
            "status.programs.[].uprobe.links.[]",
            "shouldAttach uuid linkStatus target",
        ),
        ("ClusterBpfApplicationState", "status.programs.[].fentry", "function"),
        ("Config", "spec", "configuration agent daemon"),
        ("Config", "spec.agent", "image"),
        ("Config", "spec.daemon", "image"),
        ("Config", "spec.overrides.[]", "apiVersion kind namespace name unmanaged"),
    ] {
        assert_eq!(words(&schema(kind, path)["required"]), set(required), "{kind} {path}");
    }
}

#[test]
fn enumerations() {
    let links = "spec.programs.[]";
    for (kind, path, values) in [
        (
            "ClusterBpfApplication",
            format!("{links}.type"),
            "XDP TC TCX FEntry FExit KProbe KRetProbe UProbe URetProbe TracePoint RawTracePoint RawTracePointWritable \
             TpBtf FModRet Lsm Iter CgroupSkb CgroupSock CgroupSockAddr CgroupSockopt CgroupSysctl CgroupDevice SockOps \
             LsmCgroup SkLookup FlowDissector Netfilter KProbeMulti KRetProbeMulti KProbeSession UProbeMulti \
             URetProbeMulti UProbeSession PerfEvent SkSkb SkMsg StructOps Usdt KSyscall KRetSyscall Netkit SocketFilter \
             SkReuseport SkReuseportMigrate XdpDevmap XdpCpumap LwtIn LwtOut LwtXmit LwtSeg6local SchedAct Syscall LircMode2",
        ),
        ("BpfApplication", format!("{links}.type"), "XDP TC TCX UProbe URetProbe"),
        ("ClusterBpfApplication", "spec.byteCode.image.imagePullPolicy".into(), "Always Never IfNotPresent"),
        (
            "ClusterBpfApplication",
            format!("{links}.xdp.links.[].proceedOn.[]"),
            "Aborted Drop Pass TX ReDirect DispatcherReturn",
        ),
        (
            "BpfApplication",
            format!("{links}.tc.links.[].proceedOn.[]"),
            "UnSpec OK ReClassify Shot Pipe Stolen Queued Repeat ReDirect Trap DispatcherReturn",
        ),
        ("ClusterBpfApplication", format!("{links}.tcx.links.[].direction"), "Ingress Egress"),
        ("ClusterBpfApplication", format!("{links}.fentry.links.[].mode"), "Attach"),
    ] {
        assert_eq!(words(&schema(kind, &path)["enum"]), set(values), "{kind} {path}");
    }
}

#[test]
fn defaults() {
    let links = "spec.programs.[]";
    for (path, default) in [
        ("spec.byteCode.image.imagePullPolicy".to_owned(), json!("IfNotPresent")),
        (format!("{links}.xdp.links.[].proceedOn"), json!(["Pass", "DispatcherReturn"])),
        (format!("{links}.tc.links.[].proceedOn"), json!(["Pipe", "DispatcherReturn"])),
        (format!("{links}.kprobe.links.[].offset"), json!(0)),
        (format!("{links}.uprobe.links.[].offset"), json!(0)),
        (
            format!("{links}.xdp.links.[].interfaceSelector.interfacesDiscoveryConfig.excludeInterfaces"),
            json!(["lo"]),
        ),
        (
            format!(
                "{links}.xdp.links.[].interfaceSelector.interfacesDiscoveryConfig.interfaceAutoDiscovery"
            ),
            json!(false),
        ),
    ] {
        assert_eq!(schema("ClusterBpfApplication", &path)["default"], default, "{path}");
    }
    assert!(schema("ClusterBpfApplication", &format!("{links}.xdp.links.[].priority"))["default"].is_null());
    assert_eq!(schema("Config", "spec.agent.healthProbePort")["default"], 8175);
}

#[test]
fn bounds_and_patterns() {
    let kind = "ClusterBpfApplication";
    let name = schema(kind, "spec.programs.[].name");
    assert_eq!((&name["minLength"], &name["maxLength"]), (&json!(1), &json!(64)));
    for path in ["name", "fentry.function", "kprobe.links.[].function", "tracepoint.links.[].name"] {
        assert_eq!(schema(kind, &format!("spec.programs.[].{path}"))["pattern"], "^[a-zA-Z][a-zA-Z0-9_]+.");
    }
    let url = schema(kind, "spec.byteCode.image.url");
    assert_eq!(
        (&url["maxLength"], &url["pattern"]),
        (&json!(525), &json!("[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"))
    );
    let priority = schema(kind, "spec.programs.[].tcx.links.[].priority");
    assert_eq!(priority["minimum"].as_f64(), Some(0.0));
    assert_eq!(priority["maximum"].as_f64(), Some(1000.0));
    assert_eq!(schema(kind, "spec.programs")["minItems"], 1);
    assert_eq!(schema(kind, "spec.programs.[].fexit.links")["maxItems"], 1);
    for one_of in ["spec.byteCode", "spec.programs.[].xdp.links.[].interfaceSelector"] {
        let schema = schema(kind, one_of);
        assert_eq!((&schema["minProperties"], &schema["maxProperties"]), (&json!(1), &json!(1)), "{one_of}");
    }
    let port = schema("Config", "spec.agent.healthProbePort");
    assert_eq!((port["minimum"].as_f64(), port["maximum"].as_f64()), (Some(1.0), Some(65535.0)));
    assert_eq!(schema("Config", "spec.configuration")["minLength"], 1);
    let globals = schema(kind, "spec.globals");
    assert_eq!(
        (&globals["maxProperties"], &globals["additionalProperties"]["maxLength"]),
        (&json!(128), &json!(8192))
    );
    let sizes = schema(kind, "spec.mapSizes");
    let entries = &sizes["additionalProperties"];
    assert_eq!(
        (entries["minimum"].as_f64(), entries["maximum"].as_f64()),
        (Some(1.0), Some(4_294_967_295.0))
    );
    // Values are base64 or a list of bytes; if the schema had a type, server-side apply would reject lists.
    assert_eq!(
        schema(kind, "spec.globalData")["additionalProperties"],
        json!({ "x-kubernetes-preserve-unknown-fields": true })
    );
}

#[test]
fn conditions_are_one_a_type() {
    for kind in [
        "ClusterBpfApplication",
        "BpfApplication",
        "ClusterBpfApplicationState",
        "BpfApplicationState",
        "Config",
    ] {
        let conditions = schema(kind, "status.conditions");
        assert_eq!(conditions["x-kubernetes-list-type"], "map", "{kind}");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]), "{kind}");
    }
}

#[test]
fn an_application_without_a_status_is_not_taken_for_done() {
    let first = |kind| definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    for kind in ["ClusterBpfApplication", "BpfApplication"] {
        let default = &first(kind)["properties"]["status"]["default"];
        assert_eq!(default["conditions"][0]["type"], "Ready", "{kind}");
        assert_eq!(default["conditions"][0]["status"], "Unknown", "{kind}");
    }
    assert!(first("Config")["properties"]["status"]["default"].is_null());
}

#[test]
fn states_have_no_spec() {
    for kind in ["ClusterBpfApplicationState", "BpfApplicationState"] {
        let crd = definition(kind);
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert!(schema["properties"]["spec"].is_null() && schema["required"].is_null(), "{schema}");
    }
}

#[test]
fn each_type_has_its_rule() {
    for (kind, path, rules) in [
        ("ClusterBpfApplication", "spec.programs.[]", 10 + 13 + 1),
        ("BpfApplication", "spec.programs.[]", 5),
        ("ClusterBpfApplicationState", "status.programs.[]", 10 + 13),
        ("BpfApplicationState", "status.programs.[]", 5),
    ] {
        assert_eq!(schema(kind, path)["x-kubernetes-validations"].as_array().unwrap().len(), rules, "{kind}");
    }
}

#[test]
fn for_older_servers_only_the_rules_are_left_out() {
    let stripped: Vec<Value> = bpfman_application::crd::without_rules()
        .iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
        .collect();
    for newer in ["x-kubernetes-validations", "selectableFields"] {
        assert!(!format!("{stripped:?}").contains(newer));
    }
    for (crd, stripped) in DEFINITIONS.iter().zip(&stripped) {
        assert_eq!(crd["metadata"]["name"], stripped["metadata"]["name"]);
        let version = |crd: &Value| crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        assert_eq!(without(version(crd)), version(stripped));
    }
    fn without(mut schema: Value) -> Value {
        match &mut schema {
            Value::Object(fields) => {
                fields.remove("x-kubernetes-validations");
                fields.values_mut().for_each(|field| *field = without(field.take()));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| *item = without(item.take())),
            _ => {}
        }
        schema
    }
}

#[test]
fn schemas_are_structural() {
    fn check(at: &Value, path: &str) {
        let Some(schema) = at.as_object() else { return };
        let either = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
        let either = either.iter().any(|open| at[*open] == true);
        assert!(schema.contains_key("type") != either, "{path} has no type, or too many: {at}");
        for forbidden in ["$ref", "nullable", "anyOf", "oneOf", "allOf", "$schema", "definitions", "title"] {
            assert!(!schema.contains_key(forbidden), "{path} has {forbidden}");
        }
        let both = schema.contains_key("properties") && schema.contains_key("additionalProperties");
        assert!(!both, "{path} has properties and additionalProperties");
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            properties.iter().for_each(|(name, schema)| check(schema, &format!("{path}.{name}")));
        }
        for keyword in ["items", "additionalProperties"] {
            if let Some(schema) = schema.get(keyword) {
                check(schema, &format!("{path}.[]"));
            }
        }
    }
    for crd in &*DEFINITIONS {
        check(
            &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            crd["spec"]["names"]["kind"].as_str().unwrap(),
        );
    }
}

#[test]
fn every_field_of_a_spec_is_explained() {
    fn check(at: &Value, path: &str) {
        let properties = at["properties"].as_object();
        for (name, schema) in properties.into_iter().flatten() {
            let path = format!("{path}.{name}");
            // Selectors and conditions have Kubernetes' own fields, which need no description.
            let known =
                ["matchExpressions", "matchLabels", "conditions"].iter().any(|part| path.contains(part));
            assert!(known || schema["description"].is_string(), "{path} has no description");
            if !known {
                check(schema, &path);
                check(&schema["items"], &format!("{path}.[]"));
            }
        }
    }
    for kind in ["ClusterBpfApplication", "BpfApplication", "Config"] {
        check(&schema(kind, "spec"), kind);
    }
}
