#![allow(clippy::unwrap_used, reason = "tests")]
use bpfman_application::config::Override;

use super::*;
use crate::controller::deploy::default_config;

fn images() -> DeployImages {
    DeployImages {
        daemon: "daemon:1".into(),
        agent: "agent:1".into(),
        pull_policy: "Always".into(),
        home: "operators".into(),
    }
}

fn config() -> Config {
    let mut config = default_config(&images(), "bpfman");
    config.metadata.uid = Some("u1".into());
    config
}

fn find<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    objects.iter().find(|object| object["metadata"]["name"] == name).unwrap()
}

#[test]
fn four_objects_belong_to_the_config() {
    let objects = objects(&config(), &images());
    let names: Vec<&str> =
        objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bpfman-config", "csi.bpfman.io", "bpfman-daemon", "bpfman-agent"]);
    for object in &objects {
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u1");
    }
}

#[test]
fn csi_driver_allows_restricted_pods_here_and_in_the_manifest() {
    let label = "security.openshift.io/csi-ephemeral-volume-profile";
    let objects = objects(&config(), &images());
    assert_eq!(find(&objects, "csi.bpfman.io")["metadata"]["labels"][label], "restricted");
    let manifest = include_str!("../../../../../packaging/kubernetes/base/csi-driver.yaml");
    assert!(manifest.contains(&format!("{label}: restricted")), "{manifest}");
}

#[test]
fn the_daemon_is_privileged_and_the_agent_has_nothing() {
    let objects = objects(&config(), &images());
    let daemon = &find(&objects, "bpfman-daemon")["spec"]["template"]["spec"];
    assert_eq!((&daemon["hostNetwork"], &daemon["hostPID"]), (&json!(true), &json!(true)));
    let container = &daemon["containers"][0];
    let context = json!({ "privileged": true, "runAsUser": 0, "readOnlyRootFilesystem": true });
    assert_eq!(container["securityContext"], context);
    let agent = &find(&objects, "bpfman-agent")["spec"]["template"]["spec"];
    assert!(agent.get("hostNetwork").is_none() && agent.get("hostPID").is_none());
    let context = &agent["containers"][0]["securityContext"];
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(agent["securityContext"]["runAsNonRoot"], true);
}

#[test]
fn daemon_knows_its_pod_by_its_environment() {
    let objects = objects(&config(), &images());
    let container = &find(&objects, "bpfman-daemon")["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().unwrap();
    for (name, path) in
        [("POD_NAMESPACE", "metadata.namespace"), ("POD_NAME", "metadata.name"), ("POD_UID", "metadata.uid")]
    {
        let variable = variables.iter().find(|variable| variable["name"] == name).unwrap();
        assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], path);
    }
}

/// The API server refuses bidirectional mount propagation for unprivileged containers.
#[test]
fn daemon_without_volumes_has_only_the_capabilities_it_keeps() {
    let mut config = config();
    config.spec.daemon.csi = Some(false);
    config.spec.daemon.csi_registrar_image = Some("registrar:2".into());
    let objects = objects(&config, &images());
    let template = &find(&objects, "bpfman-daemon")["spec"]["template"];
    let annotations = &template["metadata"]["annotations"];
    assert_eq!(annotations["container.apparmor.security.beta.kubernetes.io/bpfman"], "unconfined");
    let daemon = &template["spec"];
    assert_eq!(daemon["containers"].as_array().unwrap().len(), 1);
    let container = &daemon["containers"][0];
    let context = &container["securityContext"];
    assert!(context.get("privileged").is_none());
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    let page = include_str!("../../../../../docs/cage.md");
    let row = |line: &str| Some(line.strip_prefix("| `CAP_")?.split_once('`')?.0.to_owned());
    let kept: Vec<String> = page.lines().filter_map(row).collect();
    assert_eq!(context["capabilities"]["add"], json!(kept));
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| mount["mountPropagation"] != "Bidirectional"));
    let of = |name: &str| mounts.iter().find(|mount| mount["name"] == name);
    assert_eq!(of("runtime").unwrap()["mountPropagation"], "HostToContainer");
    assert_eq!((of("pods"), of("registry")), (None, None));
    let arguments = container["args"].as_array().unwrap();
    assert!(!arguments.iter().any(|argument| argument.as_str().unwrap().contains("csi")), "{arguments:?}");
    // Only the init container is privileged: it mounts, and ends before the daemon starts.
    let first = &daemon["initContainers"][0];
    assert_eq!((&first["args"], &first["securityContext"]["privileged"]), (&json!(["mount"]), &json!(true)));
}

#[test]
fn the_token_of_an_agent_is_bound_to_its_pod() {
    let objects = objects(&config(), &images());
    let agent = &find(&objects, "bpfman-agent")["spec"]["template"]["spec"];
    assert_eq!(agent["automountServiceAccountToken"], false);
    let volumes = agent["volumes"].as_array().unwrap();
    let account = volumes.iter().find(|volume| volume["name"] == "account").unwrap();
    assert_eq!(account["projected"]["sources"][0]["serviceAccountToken"]["path"], "token");
    let mounts = agent["containers"][0]["volumeMounts"].as_array().unwrap();
    let path = "/var/run/secrets/kubernetes.io/serviceaccount";
    assert!(mounts.iter().any(|mount| mount["name"] == "account" && mount["mountPath"] == path));
}

#[test]
fn metrics_have_their_own_port_and_the_configured_certificate() {
    let set = |config: &Config| find(&objects(config, &images()), "bpfman-agent").clone();
    let ports = |set: &Value| -> Vec<(String, u64)> {
        let ports = set["spec"]["template"]["spec"]["containers"][0]["ports"].as_array().unwrap();
        ports
            .iter()
            .map(|port| (port["name"].as_str().unwrap().to_owned(), port["containerPort"].as_u64().unwrap()))
            .collect()
    };
    let mut config = config();
    let plain = set(&config);
    assert_eq!(ports(&plain), [("probes".to_owned(), 8175), ("metrics".to_owned(), 8443)]);
    assert!(plain.to_string().contains("--metrics-bind-address=:8443"));
    assert!(!plain.to_string().contains("--metrics-certificate"));

    config.spec.agent.health_probe_port = 8443;
    config.spec.agent.metrics_certificate = Some("scraped".to_owned());
    let set = set(&config);
    assert_eq!(ports(&set), [("probes".to_owned(), 8443), ("metrics".to_owned(), 8444)]);
    let pod = &set["spec"]["template"]["spec"];
    let volume =
        pod["volumes"].as_array().unwrap().iter().find(|one| one["secret"]["secretName"] == "scraped");
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["name"] == volume.unwrap()["name"]).unwrap();
    let folder = mount["mountPath"].as_str().unwrap();
    for flag in [format!("--metrics-certificate={folder}/tls.crt"), format!("--metrics-key={folder}/tls.key")]
    {
        assert!(pod["containers"][0]["args"].as_array().unwrap().contains(&json!(flag)), "{flag}");
    }
}

#[test]
fn agents_elsewhere_look_for_revisions_where_the_operator_is() {
    let mut config = config();
    config.spec.namespace = Some("elsewhere".into());
    let objects = objects(&config, &images());
    let agent = find(&objects, "bpfman-agent");
    assert_eq!(agent["metadata"]["namespace"], "elsewhere");
    let container = &agent["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().unwrap();
    assert!(arguments.contains(&json!("--namespace=operators")), "{arguments:?}");
}

#[test]
fn a_policy_of_the_user_is_given_to_the_daemon_if_there_is_one() {
    let objects = objects(&config(), &images());
    let volumes = find(&objects, "bpfman-daemon")["spec"]["template"]["spec"]["volumes"].clone();
    let volumes = volumes.as_array().unwrap();
    let sources = volumes.iter().find(|volume| volume["name"] == "configuration").unwrap();
    let policy = &sources["projected"]["sources"][1]["configMap"];
    assert_eq!((&policy["name"], &policy["optional"]), (&json!("bpfman-policy"), &json!(true)));
    assert!(!objects.iter().any(|object| object["metadata"]["name"] == "bpfman-policy"));
}

#[test]
fn manifests_that_select_the_published_daemons_pods_select_ours() {
    let objects = objects(&config(), &images());
    let daemon = &find(&objects, "bpfman-daemon")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(daemon["name"], "bpfman-daemon");
    assert_eq!(daemon["app.kubernetes.io/name"], "bpfman-daemon");
}

#[test]
fn daemon_and_agent_have_probes_and_resource_requests() {
    let objects = objects(&config(), &images());
    for name in ["bpfman-daemon", "bpfman-agent"] {
        let container = &find(&objects, name)["spec"]["template"]["spec"]["containers"][0];
        for field in ["/readinessProbe", "/livenessProbe", "/resources/requests/memory"] {
            assert!(container.pointer(field).is_some(), "{name} {field}");
        }
    }
    let daemon = &find(&objects, "bpfman-daemon")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(daemon["readinessProbe"]["exec"]["command"], json!(["/usr/sbin/bpfmand", "check"]));
}

#[test]
fn agent_user_differs_from_the_common_nonroot_user_of_images() {
    let objects = objects(&config(), &images());
    let agent = &find(&objects, "bpfman-agent")["spec"]["template"]["spec"]["securityContext"];
    assert!(![0, 1000, 65532, 65533, 65534, 65535].contains(&agent["runAsUser"].as_u64().unwrap()));
}

#[test]
fn neither_is_kept_away_by_taints() {
    let objects = objects(&config(), &images());
    for name in ["bpfman-daemon", "bpfman-agent"] {
        let tolerations = &find(&objects, name)["spec"]["template"]["spec"]["tolerations"];
        assert_eq!(*tolerations, json!([{ "operator": "Exists" }]), "{name}");
    }
}

#[test]
fn pod_settings_of_config_are_in_both_daemon_sets() {
    let mut config = config();
    let given: serde_json::Map<String, Value> = serde_json::from_value(json!({
        "nodeSelector": { "tier": "edge" }, "priorityClassName": "high",
        "tolerations": [{ "key": "gpu", "operator": "Exists", "effect": "NoSchedule" }],
        "imagePullSecrets": [{ "name": "registry" }], "kubeletDir": "/var/lib/k0s/kubelet",
        "cni": { "image": "cni:1", "resources": { "limits": { "memory": "32Mi" } } },
    }))
    .unwrap();
    let mut spec = serde_json::to_value(&config.spec).unwrap();
    spec.as_object_mut().unwrap().extend(given);
    for (part, cpu) in [("daemon", "20m"), ("agent", "30m")] {
        spec[part]["resources"] = json!({ "requests": { "cpu": cpu } });
    }
    config.spec = serde_json::from_value(spec).unwrap();
    let objects = objects(&config, &images());
    for (name, cpu) in [("bpfman-daemon", "20m"), ("bpfman-agent", "30m")] {
        let pod = &find(&objects, name)["spec"]["template"]["spec"];
        assert_eq!(pod["nodeSelector"], json!({ "kubernetes.io/os": "linux", "tier": "edge" }));
        assert_eq!(pod["priorityClassName"], "high");
        assert_eq!(pod["imagePullSecrets"], json!([{ "name": "registry" }]));
        let ours = json!({ "key": "bpfman.io/not-ready", "operator": "Exists" });
        assert_eq!(pod["tolerations"].as_array().unwrap().len(), 2);
        assert_eq!(pod["tolerations"][1], ours);
        assert_eq!(pod["containers"][0]["resources"], json!({ "requests": { "cpu": cpu } }));
    }
    let daemon = &find(&objects, "bpfman-daemon")["spec"]["template"]["spec"];
    let agent = &find(&objects, "bpfman-agent")["spec"]["template"]["spec"];
    assert_eq!(agent["containers"][1]["resources"], json!({ "limits": { "memory": "32Mi" } }));
    assert!(!daemon.to_string().contains("/var/lib/kubelet"), "{daemon}");
    for (volume, path) in
        [("pods", "/var/lib/k0s/kubelet/pods"), ("registry", "/var/lib/k0s/kubelet/plugins_registry")]
    {
        let named =
            |list: &Value| list.as_array().unwrap().iter().find(|one| one["name"] == volume).unwrap().clone();
        assert_eq!(named(&daemon["volumes"])["hostPath"]["path"], path);
        assert_eq!(named(&daemon["containers"][0]["volumeMounts"])["mountPath"], path);
    }
    let arguments = daemon["containers"][0]["args"].to_string();
    assert!(
        arguments.contains("--csi-registration-dir=/var/lib/k0s/kubelet/plugins_registry"),
        "{arguments}"
    );
}

#[test]
fn a_field_that_is_wanted_no_more_is_a_difference() {
    let mut before = config();
    before.spec.node_selector.insert("tier".into(), "edge".into());
    let (before, after) = (objects(&before, &images()), objects(&config(), &images()));
    let both = find(&before, "bpfman-agent").clone();
    assert!(!crate::controller::deploy::covers::covers(&both, find(&after, "bpfman-agent")));
}

#[test]
fn a_new_configuration_restarts_the_pods() {
    let (old, mut changed) = (config(), config());
    changed.spec.configuration.push_str("\n[chains]\ncounters = \"on\"\n");
    let template =
        |config: &Config| find(&objects(config, &images()), "bpfman-daemon")["spec"]["template"].clone();
    assert_ne!(template(&old), template(&changed));
}

#[test]
fn unmanaged_object_is_not_deployed() {
    let mut config = config();
    let entry = |name: &str, unmanaged| Override {
        api_version: "apps/v1".into(),
        kind: "DaemonSet".into(),
        namespace: "bpfman".into(),
        name: name.into(),
        unmanaged,
    };
    config.spec.overrides = vec![entry("bpfman-agent", true), entry("bpfman-daemon", false)];
    let objects = objects(&config, &images());
    assert_eq!(objects.len(), 3);
    assert!(!objects.iter().any(|object| object["metadata"]["name"] == "bpfman-agent"));
}

#[test]
fn registrar_runs_beside_the_daemon_only_if_an_image_is_named() {
    let mut config = config();
    let containers = |config: &Config| {
        find(&objects(config, &images()), "bpfman-daemon")["spec"]["template"]["spec"]["containers"].clone()
    };
    assert_eq!(containers(&config).as_array().unwrap().len(), 1);
    config.spec.daemon.csi_registrar_image = Some("registrar:2".into());
    let both = containers(&config);
    assert_eq!(both[1]["image"], "registrar:2");
    let arguments = both[0]["args"].to_string();
    assert!(!arguments.contains("--csi-registration-dir"), "{arguments}");
}
