//! Daemon with a policy, and interfaces of its callers.

use std::fs;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_chains_client::BpfmanChainsClient;
use bpfman_tests::network::Namespace;
use bpfman_tests::{Daemon, Launch};
use tonic::Status;

use super::callers::Callers;
use super::digest::Digest;
use super::principals::{Principal, policy};
use super::requests::{Called, called, make};
use super::table::{Row, rows};
use super::things::{SHARED, Things, UNCOVERED, add_interface};

pub struct Bench {
    pub daemon: Daemon,
    pub netns: Namespace,
    pub rows: Vec<Row>,
    pub agents_verbs: Vec<String>,
    pub callers: Callers,
}

impl Bench {
    pub fn new() -> Self {
        let agent = Principal::Agent.user();
        let flags = vec![format!("--node-agent-user={agent}")];
        let daemon = Daemon::start_with(&Launch { flags, ..Launch::default() });
        fs::write(daemon.path("policy.toml"), policy(&daemon.path("").display().to_string())).unwrap();
        daemon.open_to_users();
        let netns = Namespace::new("rights");
        for name in [SHARED, UNCOVERED] {
            add_interface(&netns, name);
        }
        let shown = daemon.bpfman_as(agent, "whoami -o json").json();
        let verbs = shown["grants"][0]["allow"].as_array().unwrap_or_else(|| panic!("{shown}"));
        let agents_verbs = verbs.iter().map(|verb| verb.as_str().unwrap().to_owned()).collect();
        Self { daemon, netns, rows: rows(), agents_verbs, callers: Callers::new() }
    }

    pub fn things(&self, principal: Principal) -> Things {
        Things::of(self, principal, principal.claim())
    }

    pub fn digest(&self, interfaces: Vec<String>, maps: Vec<u32>) -> Digest {
        Digest::of(self, interfaces, maps)
    }

    pub fn make(&self, caller: Principal, row: &Row, on: &Things) -> Result<String, Status> {
        let answer = self.callers.act(caller, || make(&self.daemon.socket(), &row.call, on));
        let lacks_right = answer.as_ref().is_err_and(|status| status.message().contains("has no rule for"));
        assert!(!lacks_right, "{caller:?}, {}: {answer:?}", row.call);
        answer
    }

    pub fn reset_hooks(&self, interfaces: Vec<String>) {
        for interface in interfaces {
            let netns = self.netns.path().display().to_string();
            let hook = ext::Hook { kind: "xdp".to_owned(), iface: interface, netns, ..Default::default() };
            let off = Some(false);
            let request = ext::SetHookRequest {
                hook: Some(hook),
                as_subprograms: off,
                keep_attached: off,
                ..Default::default()
            };
            let _without_chain = called(&self.daemon.socket(), |Called(channel)| async {
                BpfmanChainsClient::new(channel).set_hook(request).await
            });
        }
    }
}
