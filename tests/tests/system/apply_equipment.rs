//! Test machine for applications, and their manifests.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use bpfman_tests::network::INTERFACE;
use bpfman_tests::{Daemon, Launch, Network, Outcome, compile};
use serde_json::{Value, json};

use crate::equipment::Program;

pub const DROP: &str = "AQAAAA==";
pub const PASS: &str = "AgAAAA==";

pub struct Machine {
    pub daemon: Daemon,
    pub network: Network,
}

impl Machine {
    pub fn new() -> Self {
        Self::launched(Launch::default())
    }

    pub fn with_config(config: &str) -> Self {
        Self::launched(Launch { config: config.to_owned(), ..Launch::default() })
    }

    fn launched(launch: Launch) -> Self {
        let network = Network::new();
        let wrapper = vec!["nsenter".to_owned(), format!("--net={}", network.far.path().display())];
        Self { daemon: Daemon::start_with(&Launch { wrapper, ..launch }), network }
    }

    pub fn run(&self, verb: &str, manifest: &Value, flags: &str) -> Outcome {
        let file = self.daemon.path("app.yaml");
        fs::write(&file, serde_norway::to_string(manifest).unwrap()).unwrap();
        self.daemon.bpfman(&format!("{verb} -f {} {flags}", file.display()))
    }

    pub fn apply(&self, manifest: &Value) -> String {
        self.run("apply", manifest, "").success()
    }

    pub fn settled(&self, manifest: &Value) {
        let (state, written) = (self.daemon.state(), self.written());
        let again = self.run("apply", manifest, "-o json").json();
        assert_eq!(again["objects"][0]["outcome"], "unchanged", "{again:#}");
        assert_eq!(again["objects"][0]["done"], json!([]));
        assert_eq!(self.run("diff", manifest, "").success(), "");
        assert_eq!(self.daemon.state(), state);
        assert_eq!(self.written(), written, "the daemon has written nothing down");
    }

    pub fn written(&self) -> Vec<(String, SystemTime)> {
        fn gather(folder: &Path, found: &mut Vec<(String, SystemTime)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    gather(&entry.path(), found);
                } else {
                    let changed = entry.metadata().unwrap().modified().unwrap();
                    found.push((entry.path().display().to_string(), changed));
                }
            }
        }
        let mut found = Vec::new();
        gather(&self.daemon.path("run/state"), &mut found);
        found.sort();
        found
    }

    pub fn programs(&self) -> Vec<Value> {
        self.daemon.state().programs
    }

    pub fn links(&self) -> Vec<Value> {
        self.daemon.state().links
    }

    pub fn program(&self, name: &str) -> Program {
        let programs = self.programs();
        let found = programs.iter().find(|program| program["name"] == name).expect("it is loaded");
        let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
        Program {
            id: number(&found["program_id"]),
            maps: found["kernel"]["map_ids"].as_array().unwrap().iter().map(number).collect(),
        }
    }
}

pub fn application(programs: &[Value]) -> Value {
    of_object(&compile::object("chain"), programs)
}

pub fn of_object(object: &Path, programs: &[Value]) -> Value {
    json!({
        "apiVersion": "bpfman.io/v1alpha1",
        "kind": "ClusterBpfApplication",
        "metadata": { "name": "judges" },
        "spec": {
            "nodeSelector": {},
            "byteCode": { "path": object },
            "globalData": { "who": "AQAAAA==", "verdict": DROP },
            "programs": programs,
        },
    })
}

pub fn xdp(name: &str, priority: i32) -> Value {
    let link = json!({
        "interfaceSelector": { "interfaces": [INTERFACE] },
        "priority": priority,
        "proceedOn": ["Pass", "DispatcherReturn"],
    });
    json!({ "name": name, "type": "XDP", "xdp": { "links": [link] } })
}
