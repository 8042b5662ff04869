use std::fs;
use std::io::BufReader;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bpfman_cni::protocol::{self, PluginAnswer, PluginRequest, VERSION, Verb};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Node(TempDir);

impl Node {
    fn new() -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        fs::create_dir(node.bin()).unwrap();
        fs::create_dir(node.conf()).unwrap();
        node
    }

    fn bin(&self) -> PathBuf {
        self.0.path().join("bin")
    }

    fn conf(&self) -> PathBuf {
        self.0.path().join("net.d")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.conf().join(name), text).unwrap();
    }

    fn plugins(&self, name: &str) -> Vec<String> {
        let text = fs::read(self.conf().join(name)).unwrap_or_default();
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        let plugins = value["plugins"].as_array().cloned().unwrap_or_default();
        plugins.iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.conf())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bpfman-cni"));
        command.args(words).arg("--bin-dir").arg(self.bin()).arg("--conf-dir").arg(self.conf());
        command.env_remove("CNI_COMMAND");
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }
}

fn list(plugin: &str) -> String {
    json!({ "cniVersion": "0.4.0", "name": "n", "plugins": [{ "type": plugin }] }).to_string()
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(150);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn runs(binary: &Path) -> bool {
    let output = Command::new(binary).env("CNI_COMMAND", "VERSION").output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn install_adds_to_first_list_and_uninstall_restores() {
    let node = Node::new();
    node.write("10-first.conflist", &list("ptp"));
    node.write("20-second.conflist", &list("bridge"));
    node.write("05-note.txt", "nothing");
    for _ in 0..2 {
        assert!(node.run(&["install"]).status.success());
        assert_eq!(node.plugins("10-first.conflist"), ["ptp", "bpfman-cni"]);
        assert_eq!(node.plugins("20-second.conflist"), ["bridge"]);
    }
    assert!(runs(&node.bin().join("bpfman-cni")));
    assert!(node.run(&["uninstall"]).status.success());
    let left: Value =
        serde_json::from_slice(&fs::read(node.conf().join("10-first.conflist")).unwrap()).unwrap();
    assert_eq!(left, serde_json::from_str::<Value>(&list("ptp")).unwrap());
    assert_eq!(node.names(), ["05-note.txt", "10-first.conflist", "20-second.conflist"]);
    assert_eq!(fs::read_dir(node.bin()).unwrap().count(), 0);
    assert!(node.run(&["uninstall"]).status.success(), "once more is nothing");
}

#[test]
fn a_single_plugin_is_put_back_byte_by_byte() {
    let node = Node::new();
    let text = "{ \"cniVersion\": \"0.4.0\",\n  \"name\": \"n\", \"type\": \"ptp\" }\n";
    node.write("10-only.conf", text);
    assert!(node.run(&["install"]).status.success());
    assert_eq!(node.names(), ["10-only.conf.bpfman-saved", "10-only.conflist"]);
    assert_eq!(node.plugins("10-only.conflist"), ["ptp", "bpfman-cni"]);
    assert!(node.run(&["uninstall"]).status.success());
    assert_eq!(node.names(), ["10-only.conf"]);
    assert_eq!(fs::read_to_string(node.conf().join("10-only.conf")).unwrap(), text);
}

#[test]
fn invalid_conflist_is_not_changed() {
    for text in [
        "{",
        "[]",
        r#"{"cniVersion":"0.4.0","plugins":[]}"#,
        r#"{"cniVersion":"2.0.0","plugins":[{"type":"x"}]}"#,
    ] {
        let node = Node::new();
        node.write("10-first.conflist", text);
        let output = node.run(&["install"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains("10-first.conflist"), "{stderr}");
        assert_eq!(fs::read_to_string(node.conf().join("10-first.conflist")).unwrap(), text);
        assert_eq!(node.names(), ["10-first.conflist"]);
    }
    let stderr = String::from_utf8(Node::new().run(&["install"]).stderr).unwrap();
    assert!(stderr.contains("no network configuration yet"), "{stderr}");
}

#[test]
fn plugin_is_installed_early_and_delays_no_agent_without_a_list() {
    for text in [None, Some("{".to_owned()), Some(list("ptp"))] {
        let node = Node::new();
        if let Some(text) = &text {
            node.write("10-first.conflist", text);
        }
        let folder = node.0.path().join("agent");
        // Only root may change the owner of a file.
        let user = match fs::metadata(node.bin()).unwrap().uid() {
            0 => 4711,
            own => own,
        };
        let words = [
            "prepare".to_owned(),
            format!("--agent-user={user}"),
            format!("--agent-socket={}", folder.join("cni.sock").display()),
            format!("--state-file={}", folder.join("protect.json").display()),
        ];
        let output = node.run(&words.each_ref().map(String::as_str));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert_eq!(fs::metadata(folder).unwrap().uid(), user);
        assert!(runs(&node.bin().join("bpfman-cni")));
        match text.as_deref() {
            None => assert!(stderr.contains("no network configuration yet"), "{stderr}"),
            Some("{") => {
                assert!(stderr.contains("10-first.conflist") && node.plugins("10-first.conflist").is_empty())
            }
            Some(_) => assert_eq!(node.plugins("10-first.conflist"), ["ptp", "bpfman-cni"]),
        }
    }
}

#[test]
fn a_watch_waits_for_a_list_and_joins_it_again_and_again() {
    let node = Node::new();
    let mut watch = Running(node.command(&["install", "--watch"]).spawn().unwrap());
    until("the binary is there", || runs(&node.bin().join("bpfman-cni")));
    for plugin in ["ptp", "bridge"] {
        node.write("10-first.conflist", &list(plugin));
        until("it joined", || node.plugins("10-first.conflist") == [plugin, "bpfman-cni"]);
    }
    // Without a handler, only SIGKILL would end a container's first process.
    let pid = watch.0.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(watch.0.wait().unwrap().code(), Some(0), "not by the signal");
    assert_eq!(node.plugins("10-first.conflist"), ["bridge", "bpfman-cni"], "pods are still protected");
}

#[test]
fn a_rival_of_the_watch_is_reported_to_the_agent() {
    let node = Node::new();
    let socket = node.0.path().join("cni.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let flag = format!("--agent-socket={}", socket.display());
    let _watch = Running(node.command(&["install", "--watch", &flag]).spawn().unwrap());
    let (sender, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let request: PluginRequest = protocol::read(BufReader::new(&stream)).unwrap();
        protocol::write(&stream, &PluginAnswer { version: VERSION, ..PluginAnswer::default() }).unwrap();
        sender.send(request).unwrap();
    });
    let mut request = None;
    let file = node.conf().join("05-rival.conflist");
    // Renamed into place, as the rivals do.
    while request.is_none() {
        if node.plugins("05-rival.conflist") != ["rival"] {
            node.write("new", &list("rival"));
            fs::rename(node.conf().join("new"), &file).unwrap();
        }
        match told.recv_timeout(Duration::from_millis(10)) {
            Ok(found) => request = Some(found),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("no report"),
        }
    }
    let expected = PluginRequest { file: file.display().to_string(), ..PluginRequest::of(Verb::Displaced) };
    assert_eq!(request, Some(expected));
}
