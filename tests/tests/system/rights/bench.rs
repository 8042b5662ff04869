//! Daemon with a policy, and interfaces of its callers.

use std::fs;

use bpfman_tests::network::Namespace;
use bpfman_tests::{Daemon, Launch};
use tonic::Status;

use super::as_user::as_user;
use super::digest::Digest;
use super::principals::{Principal, policy};
use super::requests::make;
use super::table::{Row, rows};
use super::things::{SHARED, Things, UNCOVERED, add_interface};

pub struct Bench {
    pub daemon: Daemon,
    pub netns: Namespace,
    pub rows: Vec<Row>,
    pub agents_verbs: Vec<String>,
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
        Self { daemon, netns, rows: rows(), agents_verbs }
    }

    pub fn things(&self, principal: Principal) -> Things {
        Things::of(&self.daemon, &self.netns, principal.user(), principal.claim())
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.daemon, &self.netns)
    }

    pub fn make(&self, user: u32, row: &Row, on: &Things) -> Result<(), Status> {
        let answer = as_user(user, || make(&self.daemon.socket(), &row.call, on));
        let lacks_right = answer.as_ref().is_err_and(|status| status.message().contains("has no rule for"));
        assert!(!lacks_right, "user {user}, {}: {answer:?}", row.call);
        answer
    }
}
