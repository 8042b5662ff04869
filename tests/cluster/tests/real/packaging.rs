//! Packaging: manifests that a real API server accepts, and images that can be built offline.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bpfman_cluster_tests::{Cluster, manifests, scripts};
use bpfman_operator::controller::deploy::{DeployImages, default_config, deployed_objects};
use bpfman_tests::Outcome;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

pub(super) fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").canonicalize().unwrap()
}

pub(super) fn kustomized(what: &str, overlay: &str) -> Vec<Value> {
    // Kustomize reads only files below the overlay's resources, by relative paths.
    let folder = tempfile::tempdir_in(packaging().join("kubernetes")).unwrap();
    let text = format!("resources: [../{what}]\n{overlay}");
    fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    let outcome = Outcome::of(scripts::with_kubectl("kubectl").arg("kustomize").arg(folder.path()));
    manifests::parse(&outcome.success())
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn an_overlay_names_the_images_once() {
    let overlay = "images:
  - { name: bpfman-operator, newName: registry.example/team/operator, newTag: v1 }
  - { name: bpfman-daemon, newName: registry.example/team/daemon, newTag: v2 }
";
    let objects = kustomized("base", overlay);
    let (operator, daemon) = ("registry.example/team/operator:v1", "registry.example/team/daemon:v2");
    let container =
        &find(&objects, "Deployment", "bpfman-operator")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], operator);
    let variable = |name: &str| {
        let mut list = container["env"].as_array().unwrap().iter();
        list.find(|variable| variable["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!((variable("BPFMAN_IMG"), variable("BPFMAN_AGENT_IMG")), (json!(daemon), json!(operator)));
    let config = kustomized("config", overlay);
    let config = &find(&config, "Config", "bpfman-config")["spec"];
    assert_eq!((&config["agent"]["image"], &config["daemon"]["image"]), (&json!(operator), &json!(daemon)));
}

#[test]
fn pods_other_than_the_daemon_have_no_privileges() {
    let objects = kustomized("base", "");
    let pod = &find(&objects, "Deployment", "bpfman-operator")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for field in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
        assert!(pod[field].is_null(), "{field}");
    }
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"], json!({ "drop": ["ALL"] }));
    let namespace = find(&objects, "Namespace", "bpfman");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
}

#[test]
fn scrapers_find_the_port_by_the_name_in_the_certificate() {
    let monitor = kustomized("monitoring", "");
    let monitor = &find(&monitor, "ServiceMonitor", "bpfman-operator")["spec"];
    let base = kustomized("base", "");
    let service = find(&base, "Service", "bpfman-operator-metrics");
    let wanted = monitor["selector"]["matchLabels"].as_object().unwrap();
    assert!(wanted.iter().all(|(key, value)| service["metadata"]["labels"][key] == *value), "{service}");
    let (endpoint, port) = (&monitor["endpoints"][0], &service["spec"]["ports"][0]);
    assert_eq!((&endpoint["port"], &endpoint["scheme"]), (&port["name"], &json!("https")));
    let container =
        &find(&base, "Deployment", "bpfman-operator")["spec"]["template"]["spec"]["containers"][0];
    let open = container["ports"].as_array().unwrap().iter().find(|open| open["name"] == port["targetPort"]);
    assert_eq!(open.unwrap()["containerPort"], port["port"]);
    // Certificates are issued for the Service of admission, and stored in its Secret.
    let tls = &endpoint["tlsConfig"];
    find(&base, "Service", tls["serverName"].as_str().unwrap().split('.').next().unwrap());
    find(&base, "Secret", tls["ca"]["secret"]["name"].as_str().unwrap());
}

#[test]
fn agents_are_scraped_at_their_port_by_allowed_pods_only() {
    let objects = kustomized("monitoring", "");
    let monitor = &find(&objects, "ServiceMonitor", "bpfman-agent")["spec"];
    let service = find(&objects, "Service", "bpfman-agent-metrics");
    let policy = &find(&objects, "NetworkPolicy", "bpfman-agent-metrics")["spec"];
    let (endpoint, port) = (&monitor["endpoints"][0], &service["spec"]["ports"][0]);
    assert_eq!((&endpoint["port"], &endpoint["scheme"]), (&port["name"], &json!("https")));
    assert!(endpoint["bearerTokenFile"].is_string(), "{endpoint}");
    assert_eq!(policy["ingress"][0]["ports"][0]["port"], port["targetPort"]);
    assert_eq!(policy["podSelector"]["matchLabels"], service["spec"]["selector"]);
    // A headless Service makes each agent a separate target.
    assert_eq!(service["spec"]["clusterIP"], "None");
    let images = DeployImages {
        daemon: "d".into(),
        agent: "a".into(),
        pull_policy: "Always".into(),
        home: "bpfman".into(),
    };
    let deployed = deployed_objects(&default_config(&images, "bpfman"), &images);
    let template = &find(&deployed, "DaemonSet", "bpfman-agent")["spec"]["template"];
    let has = |labels: &Value, wanted: &Value| {
        assert!(wanted.as_object().unwrap().iter().all(|(key, value)| labels[key] == *value), "{labels}");
    };
    has(&service["metadata"]["labels"], &monitor["selector"]["matchLabels"]);
    has(&template["metadata"]["labels"], &service["spec"]["selector"]);
    let open = template["spec"]["containers"][0]["ports"].as_array().unwrap();
    let open = open.iter().find(|open| open["name"] == port["targetPort"]).unwrap();
    assert_eq!(open["containerPort"], port["port"]);
    // Alerts and dashboards use this job name, which comes from a label of the Service.
    let label = monitor["jobLabel"].as_str().unwrap();
    assert_eq!(service["metadata"]["labels"][label], "bpfman-agent");
}

#[test]
fn a_drain_leaves_one_controller_and_they_are_spread() {
    let objects = kustomized("base", "");
    let deployment = &find(&objects, "Deployment", "bpfman-operator")["spec"];
    let labels = &deployment["template"]["metadata"]["labels"];
    let selects = |selector: &Value| {
        let wanted = selector["matchLabels"].as_object().unwrap();
        assert!(wanted.iter().all(|(key, value)| labels[key] == *value), "{selector}");
    };
    let budget = &find(&objects, "PodDisruptionBudget", "bpfman-operator")["spec"];
    selects(&budget["selector"]);
    assert!(deployment["replicas"].as_u64() > budget["maxUnavailable"].as_u64(), "{budget}");
    let pod = &deployment["template"]["spec"];
    find(&objects, "PriorityClass", pod["priorityClassName"].as_str().unwrap());
    let constraints = pod["topologySpreadConstraints"].as_array().unwrap();
    let keys: Vec<&Value> = constraints.iter().map(|constraint| &constraint["topologyKey"]).collect();
    assert_eq!(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
    for constraint in constraints {
        selects(&constraint["labelSelector"]);
        assert_eq!(constraint["whenUnsatisfiable"], "ScheduleAnyway", "a cluster of one node gets both");
    }
}

#[tokio::test]
async fn a_real_server_takes_every_object() {
    let Some(cluster) = Cluster::undefined() else { return };
    cluster.apply_definitions().await;
    let (namespaces, others): (Vec<Value>, Vec<Value>) =
        kustomized("base", "").into_iter().partition(|object| object["kind"] == "Namespace");
    assert!(others.len() >= 5, "{others:?}");
    let more = ["config", "clean-nodes"].into_iter().flat_map(|folder| kustomized(folder, ""));
    let all: Vec<Value> = namespaces.into_iter().chain(others).chain(more).collect();
    let mut first = Vec::new();
    for object in &all {
        first.push(cluster.apply_one(object.clone()).await);
    }
    // Managed fields have a resolution of one second: within the same second a needless write would not be detected.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // Applying repeatedly, as continuous deployment does, changes nothing.
    for (object, first) in all.into_iter().zip(first) {
        let again = cluster.apply_one(object.clone()).await;
        assert_eq!(again.metadata.generation, first.metadata.generation, "{object}");
        assert_eq!(again.metadata.resource_version, first.metadata.resource_version, "{object}");
    }
    // The server validates a pod template only when a pod is created.
    let deployment =
        &cluster.kubectl(&["-n", "bpfman", "get", "deployment", "bpfman-operator", "-o", "json"]);
    let template = deployment.clone().json()["spec"]["template"].clone();
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"] });
    pod["metadata"]["name"] = json!("operator");
    pod["metadata"]["namespace"] = json!("bpfman");
    let api = cluster.api_of(&pod).await.unwrap();
    let pod: DynamicObject = serde_json::from_value(pod).unwrap();
    let made = api.create(&PostParams { dry_run: true, ..Default::default() }, &pod).await.unwrap();
    assert_eq!(made.data["spec"]["serviceAccountName"], "bpfman-operator");
}

/// Uses stand-ins, because a build takes minutes; `make test-kube-node` builds and runs the real images.
#[test]
fn images_are_built_offline_with_one_program_and_its_licences() {
    let folder = tempfile::tempdir().unwrap();
    let archives = folder.path().join("archives");
    let busybox = "/usr/bin/busybox";
    if !Path::new(busybox).exists() {
        let name = "images_are_built_offline_with_one_program_and_its_licences";
        eprintln!("SKIPPED(busybox-static): {name}");
        return;
    }
    for binary in
        ["bpfmand", "bpfman-worker", "bpfman-operator", "bpfman-cni", "bpfman-flows", "bpfman-xdp-firewall"]
    {
        fs::copy(busybox, folder.path().join(binary)).unwrap();
    }
    let mut build = Command::new("unshare");
    build.arg("--net").arg(packaging().join("containers/build")).args([
        "-p",
        "registry.example/team",
        "-t",
        "v1",
    ]);
    build.arg("-b").arg(folder.path()).arg("-o").arg(&archives);
    build.args(["daemon", "operator", "cni", "flows-side", "xdp-firewall-side"]);
    Outcome::of(&mut build).success();
    for (image, user, entrypoint, files) in [
        (
            "bpfman-daemon",
            "",
            "/usr/sbin/bpfmand",
            &["usr/sbin/bpfmand", "usr/libexec/bpfman/bpfman-worker", "etc/ssl/certs/ca-certificates.crt"][..],
        ),
        ("bpfman-operator", "65532:65532", "/usr/bin/bpfman-operator", &["usr/bin/bpfman-operator"]),
        ("bpfman-cni", "", "/usr/bin/bpfman-cni", &["usr/bin/bpfman-cni"]),
        ("flows-side", "65532:65532", "/usr/bin/bpfman-flows", &["usr/bin/bpfman-flows"]),
        (
            "xdp-firewall-side",
            "65532:65532",
            "/usr/bin/bpfman-xdp-firewall",
            &["usr/bin/bpfman-xdp-firewall"],
        ),
    ] {
        let archive = format!("docker-archive:{}", archives.join(format!("{image}.tar")).display());
        let inspect = |words: &[&str]| {
            Outcome::of(Command::new("skopeo").arg("inspect").args(words).arg(&archive)).json()
        };
        let config = inspect(&["--config"])["config"].clone();
        assert_eq!(config["Entrypoint"], json!([entrypoint]), "{image}");
        assert_eq!(config["User"].as_str().unwrap_or_default(), user, "{image}");
        let unpacked = folder.path().join(format!("unpacked-{image}"));
        let target = format!("dir:{}", unpacked.display());
        Outcome::of(Command::new("skopeo").args(["copy", "--quiet", &archive, &target])).success();
        let mut found = Vec::new();
        for layer in inspect(&[])["Layers"].as_array().unwrap() {
            let blob = unpacked.join(layer.as_str().unwrap().trim_start_matches("sha256:"));
            let list = Outcome::of(Command::new("tar").arg("tf").arg(blob)).success();
            found.extend(list.lines().filter(|line| !line.ends_with('/')).map(str::to_owned));
        }
        found.sort();
        let licences = ["usr/share/doc/bpfman/copyright", "usr/share/doc/bpfman/third-party-licences.gz"];
        let mut files = [files, &licences].concat();
        files.sort_unstable();
        assert_eq!(found, files, "{image}");
    }
    Outcome::of(Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&archives)).success();
}

/// Uses stand-ins with a patched ELF header: `make images-oci ARCHITECTURES=...` builds real ones.
#[test]
fn an_index_has_the_images_of_each_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let busybox = "/usr/bin/busybox";
    if !Path::new(busybox).exists() {
        eprintln!("SKIPPED(busybox-static): an_index_has_the_images_of_each_architecture");
        return;
    }
    // ELF machine numbers: EM_X86_64 and EM_AARCH64.
    let architectures = [("amd64", 62), ("arm64", 183)];
    for (architecture, machine) in architectures {
        let mut stand_in = fs::read(busybox).unwrap();
        stand_in[18] = machine;
        fs::create_dir(folder.path().join(architecture)).unwrap();
        for binary in ["bpfmand", "bpfman-worker"] {
            fs::write(folder.path().join(architecture).join(binary), &stand_in).unwrap();
        }
    }
    let build = || {
        let mut build = Command::new("unshare");
        build
            .arg("--net")
            .arg(packaging().join("containers/build"))
            .args(["-t", "v1", "-a", "amd64", "-a", "arm64"]);
        build.arg("-b").arg(folder.path()).arg("-o").arg(folder.path()).arg("daemon");
        Outcome::of(&mut build)
    };
    build().success();
    let archive = format!("oci-archive:{}", folder.path().join("bpfman-daemon.oci.tar").display());
    let inspect = |words: &[&str]| Outcome::of(Command::new("skopeo").args(words).arg(&archive)).json();
    let index = inspect(&["inspect", "--raw"]);
    let listed =
        index["manifests"].as_array().unwrap().iter().map(|entry| &entry["platform"]["architecture"]);
    assert_eq!(listed.collect::<Vec<_>>(), architectures.map(|(name, _)| name));
    for (architecture, _) in architectures {
        let config = inspect(&["--override-arch", architecture, "inspect", "--config"]);
        assert_eq!(config["architecture"], architecture);
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/sbin/bpfmand"]));
    }
    fs::copy(folder.path().join("amd64/bpfmand"), folder.path().join("arm64/bpfmand")).unwrap();
    build().fails(1, &["is not for arm64"]);
}

/// Uses stand-in binaries. Krew unpacks the archives in the same way and checks the same checksums.
#[test]
fn krew_gets_an_archive_for_each_machine_with_its_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let busybox = "/usr/bin/busybox";
    if !Path::new(busybox).exists() {
        eprintln!("SKIPPED(busybox-static): krew_gets_an_archive_for_each_machine_with_its_checksum");
        return;
    }
    let build = |out: &str| {
        let mut build = Command::new(packaging().join("krew/build"));
        build.arg("-b").arg(folder.path()).arg("-o").arg(folder.path().join(out)).args(["-v", "1.2.3"]);
        Outcome::of(build.arg("https://releases.example/v1.2.3/"))
    };
    build("none").fails(1, &["no kubectl-bpfman in"]);
    for (architecture, machine) in [("amd64", 62), ("arm64", 183)] {
        let mut stand_in = fs::read(busybox).unwrap();
        stand_in[18] = machine;
        fs::create_dir(folder.path().join(architecture)).unwrap();
        fs::write(folder.path().join(architecture).join("kubectl-bpfman"), stand_in).unwrap();
    }
    build("first").success();
    let manifest = fs::read_to_string(folder.path().join("first/bpfman.yaml")).unwrap();
    let plugin = manifests::parse(&manifest).remove(0);
    assert_eq!((&plugin["kind"], &plugin["spec"]["version"]), (&json!("Plugin"), &json!("v1.2.3")));
    let platforms = plugin["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for platform in platforms {
        let name =
            platform["uri"].as_str().unwrap().strip_prefix("https://releases.example/v1.2.3/").unwrap();
        let archive = folder.path().join("first").join(name);
        let sum = Outcome::of(Command::new("sha256sum").arg(&archive)).success();
        assert_eq!(sum.split(' ').next(), platform["sha256"].as_str(), "{name}");
        let unpacked = tempfile::tempdir().unwrap();
        let mut tar = Command::new("tar");
        Outcome::of(tar.arg("xzf").arg(&archive).arg("-C").arg(unpacked.path())).success();
        let binary = fs::read(unpacked.path().join(platform["bin"].as_str().unwrap())).unwrap();
        let machine = if platform["selector"]["matchLabels"]["arch"] == "arm64" { 183 } else { 62 };
        assert_eq!(binary[18], machine, "{name}");
        for file in platform["files"].as_array().unwrap() {
            assert!(unpacked.path().join(file["from"].as_str().unwrap()).exists(), "{file}");
        }
        let licences = fs::read(unpacked.path().join("third-party-licences")).unwrap();
        let licences = String::from_utf8_lossy(&licences);
        assert!(licences.lines().any(|line| line.starts_with("kube ")), "{name}");
    }
    let sums = folder.path().join("first");
    Outcome::of(Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(sums)).success();
    build("second").success();
    let same = Outcome::of(
        Command::new("diff").arg("-r").args(["first", "second"].map(|out| folder.path().join(out))),
    );
    same.success();
    fs::copy(folder.path().join("amd64/kubectl-bpfman"), folder.path().join("arm64/kubectl-bpfman")).unwrap();
    build("third").fails(1, &["two binaries are for amd64"]);
}
