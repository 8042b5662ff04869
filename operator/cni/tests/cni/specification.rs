use std::fs;
use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use bpfman_cni::protocol::{self, PluginAnswer, PluginProblem, PluginRequest, VERSION, Verb};
use bpfman_cni::rules::{PodRule, Rules};
use serde_json::{Value, json};

const ARGS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u-1";

struct Outcome {
    ok: bool,
    output: Value,
    notes: String,
}

fn call(command: &str, changes: &[(&str, Option<&str>)], input: &str) -> Outcome {
    let mut process = Command::new(env!("CARGO_BIN_EXE_bpfman-cni"));
    process.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.envs([
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c0ffee"),
        ("CNI_NETNS", "/var/run/netns/cni-1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
        ("CNI_ARGS", ARGS),
    ]);
    for (name, value) in changes {
        match value {
            Some(value) => process.env(name, value),
            None => process.env_remove(name),
        };
    }
    let mut child = process.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    Outcome {
        ok: done.status.success(),
        output: serde_json::from_slice(&done.stdout).unwrap_or_default(),
        notes: String::from_utf8(done.stderr).unwrap(),
    }
}

fn result() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/var/run/netns/cni-1" }],
        "ips": [{ "address": "10.88.0.2/24", "gateway": "10.88.0.1", "interface": 0 }],
        "routes": [{ "dst": "0.0.0.0/0" }], "dns": {}, "custom": { "kept": [1, 2.5, null] }
    })
}

fn network(folder: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "bpfman-cni",
        "agentSocket": folder.join("cni.sock"), "stateFile": folder.join("protect.json"),
        "timeoutSeconds": 300, "prevResult": result()
    })
}

fn agent(folder: &Path, answer: PluginAnswer) -> std::thread::JoinHandle<PluginRequest> {
    let listener = UnixListener::bind(folder.join("cni.sock")).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let request = protocol::read(BufReader::new(&stream)).unwrap();
        protocol::write(&stream, &answer).unwrap();
        request
    })
}

fn assert_error(outcome: &Outcome, code: u32, names: &str) {
    assert!(!outcome.ok, "{}", outcome.output);
    assert_eq!(outcome.output["code"], code, "{}", outcome.output);
    let text = format!("{}: {}", outcome.output["msg"], outcome.output["details"]);
    assert!(text.contains(names), "{names}: {text}");
    assert!(outcome.output["cniVersion"].is_string());
}

#[test]
fn previous_result_is_passed_on_after_the_agents_answer() {
    let folder = tempfile::tempdir().unwrap();
    let agent =
        agent(folder.path(), PluginAnswer { version: VERSION, attached: 2, ..PluginAnswer::default() });
    let done = call("ADD", &[], &network(folder.path()).to_string());
    assert!(done.ok, "{}", done.output);
    assert_eq!(done.output, result());
    let expected = PluginRequest {
        version: VERSION,
        verb: Verb::Add,
        namespace: "shop".into(),
        name: "web-1".into(),
        uid: Some("u-1".into()),
        netns: "/var/run/netns/cni-1".into(),
        ifname: "eth0".into(),
        container: "c0ffee".into(),
        file: String::new(),
    };
    assert_eq!(agent.join().unwrap(), expected);
}

#[test]
fn refusal_has_reason_and_fail_open_is_only_noted() {
    let folder = tempfile::tempdir().unwrap();
    let why = "ClusterBpfApplication firewall: drop_all: the verifier refuses";
    let refusing = agent(
        folder.path(),
        PluginAnswer { version: VERSION, refuse: Some(why.into()), ..PluginAnswer::default() },
    );
    assert_error(&call("ADD", &[], &network(folder.path()).to_string()), 100, why);
    refusing.join().unwrap();
    fs::remove_file(folder.path().join("cni.sock")).unwrap();
    let problem = PluginProblem { on_unavailable: "open".into(), message: why.into() };
    let open = agent(
        folder.path(),
        PluginAnswer { version: VERSION, problems: vec![problem], ..PluginAnswer::default() },
    );
    let done = call("ADD", &[], &network(folder.path()).to_string());
    assert!(done.ok && done.output == result() && done.notes.contains(why), "{}", done.notes);
    open.join().unwrap();
}

#[test]
fn without_an_agent_the_rules_decide() {
    let folder = tempfile::tempdir().unwrap();
    let network = network(folder.path()).to_string();
    let file = folder.path().join("protect.json");
    let done = call("ADD", &[], &network);
    assert!(done.ok && done.notes.contains("no "), "nothing was ever said of this node: {}", done.notes);

    let rule = |namespace: &str, by_labels| PodRule {
        application: "BpfApplication shop/firewall".into(),
        program: "drop_all".into(),
        on_unavailable: "closed".into(),
        namespace: (!namespace.is_empty()).then(|| namespace.into()),
        by_labels,
    };
    let write = |rules: Vec<PodRule>| {
        Rules { version: VERSION, agent_namespace: "bpfman-here".into(), rules }.write(&file).unwrap();
    };
    write(vec![rule("other", false)]);
    assert!(call("ADD", &[], &network).ok);
    write(vec![rule("shop", true)]);
    assert_error(&call("ADD", &[], &network), 11, "drop_all is onUnavailable: closed and may mean this pod");
    write(vec![rule("", false)]);
    assert_error(&call("ADD", &[], &network), 11, "means every pod");
    for exempt in ["kube-system", "bpfman-here"] {
        let args = format!("K8S_POD_NAMESPACE={exempt};K8S_POD_NAME=agent-1");
        assert!(call("ADD", &[("CNI_ARGS", Some(&args))], &network).ok, "{exempt}");
    }
    assert_error(&call("STATUS", &[], &network), 50, "not ready");
    fs::write(&file, "{").unwrap();
    assert_error(&call("ADD", &[], &network), 11, "protect.json");
}

#[test]
fn an_agent_that_hangs_or_cannot_tell_is_no_agent() {
    let folder = tempfile::tempdir().unwrap();
    let rule = PodRule { application: "x".into(), on_unavailable: "lastKnown".into(), ..PodRule::default() };
    let rules = Rules { version: VERSION, agent_namespace: "bpfman".into(), rules: vec![rule] };
    rules.write(&folder.path().join("protect.json")).unwrap();
    let mut network = network(folder.path());
    network["timeoutSeconds"] = json!(1);
    let silent = UnixListener::bind(folder.path().join("cni.sock")).unwrap();
    assert_error(&call("ADD", &[], &network.to_string()), 11, "did not answer within 1 s");
    drop(silent);
    fs::remove_file(folder.path().join("cni.sock")).unwrap();
    let unsure = agent(folder.path(), PluginAnswer::unknown("not listed yet: Pods"));
    assert_error(&call("ADD", &[], &network.to_string()), 11, "not listed yet: Pods");
    unsure.join().unwrap();
}

#[test]
fn calls_without_pod_pass_and_del_always_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let network = network(folder.path()).to_string();
    fs::write(folder.path().join("protect.json"), "{").unwrap();
    for args in [None, Some(""), Some("IgnoreUnknown=1")] {
        let done = call("ADD", &[("CNI_ARGS", args)], &network);
        assert!(done.ok && done.output == result(), "{args:?}: {}", done.output);
    }
    let done = call("DEL", &[("CNI_NETNS", None)], &network);
    assert!(done.ok && done.output.is_null(), "{}", done.output);
    assert!(call("GC", &[], &network).ok);
}

#[test]
fn versions_are_reported_and_unknown_ones_refused() {
    let all = json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    for (input, version) in
        [(r#"{"cniVersion":"0.4.0"}"#, "0.4.0"), ("", "1.1.0"), (r#"{"cniVersion":"7"}"#, "1.1.0")]
    {
        let done = call("VERSION", &[("CNI_CONTAINERID", None)], input);
        assert!(done.ok);
        assert_eq!(done.output, json!({ "cniVersion": version, "supportedVersions": all }));
    }
    let folder = tempfile::tempdir().unwrap();
    for version in ["0.2.0", "1.2.0", ""] {
        let mut network = network(folder.path());
        network["cniVersion"] = json!(version);
        assert_error(&call("ADD", &[], &network.to_string()), 1, "0.4.0, 1.0.0, 1.1.0");
    }
}

#[test]
fn a_wrong_environment_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let network = network(folder.path()).to_string();
    for (name, value) in [
        ("CNI_COMMAND", Some("JOIN")),
        ("CNI_COMMAND", None),
        ("CNI_CONTAINERID", None),
        ("CNI_CONTAINERID", Some("../x")),
        ("CNI_NETNS", None),
        ("CNI_IFNAME", None),
        ("CNI_IFNAME", Some("a-name-that-is-too-long")),
        ("CNI_IFNAME", Some("eth/0")),
        ("CNI_ARGS", Some("K8S_POD_NAME")),
    ] {
        assert_error(&call("ADD", &[(name, value)], &network), 4, name);
    }
}

#[test]
fn a_wrong_configuration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert_error(&call("ADD", &[], "{"), 6, "no JSON");
    for (field, value, named) in [
        ("timeoutSeconds", json!(0), "timeoutSeconds"),
        ("timeoutSeconds", json!("soon"), "soon"),
        ("agentSocket", json!("cni.sock"), "agentSocket"),
        ("stateFile", json!(7), "7"),
        ("prevResult", Value::Null, "prevResult"),
        ("prevResult", json!([]), "prevResult"),
    ] {
        let mut network = network(folder.path());
        network[field] = value;
        assert_error(&call("ADD", &[], &network.to_string()), 7, named);
    }
}
