//! Under which names this operator writes: the managers of fields, and what requests say of who makes them.
//!
//! Without them the API server notes "unknown" as who owns a field, and the audit log has no name for a request.

use hyper::header::{HeaderValue, USER_AGENT};
use kube::Config;
use kube::api::{PatchParams, PostParams};

/// One of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// The controller, with deployment and admission.
    Controller,
    /// The agent of a node.
    Agent,
    /// `kubectl bpfman`.
    Client,
}

impl Manager {
    /// Its name in `metadata.managedFields`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Controller => "bpfman-operator",
            Self::Agent => "bpfman-agent",
            Self::Client => "kubectl-bpfman",
        }
    }

    /// How it makes and replaces objects.
    #[must_use]
    pub fn post(self) -> PostParams {
        PostParams { field_manager: Some(self.name().to_owned()), ..PostParams::default() }
    }

    /// How it patches objects.
    #[must_use]
    pub fn patch(self) -> PatchParams {
        PatchParams { field_manager: Some(self.name().to_owned()), ..PatchParams::default() }
    }

    /// Its name as the reporting controller of events.
    #[must_use]
    pub const fn controller(self) -> &'static str {
        match self {
            Self::Controller => "bpfman.io/operator",
            Self::Agent => "bpfman.io/agent",
            Self::Client => "bpfman.io/kubectl-bpfman",
        }
    }

    /// Has every request say who makes it.
    pub fn introduce(self, config: &mut Config) {
        config.headers.retain(|(name, _)| name != USER_AGENT);
        config.headers.push((USER_AGENT, HeaderValue::from_static(self.user_agent())));
    }

    /// The API server takes what is before the slash for the manager of fields, where a request names none.
    const fn user_agent(self) -> &'static str {
        match self {
            Self::Controller => concat!("bpfman-operator/v", env!("CARGO_PKG_VERSION")),
            Self::Agent => concat!("bpfman-agent/v", env!("CARGO_PKG_VERSION")),
            Self::Client => concat!("kubectl-bpfman/v", env!("CARGO_PKG_VERSION")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn requests_without_a_manager_are_attributed_to_the_same_name() {
        for manager in [Manager::Controller, Manager::Agent, Manager::Client] {
            let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
            manager.introduce(&mut config);
            manager.introduce(&mut config);
            let [(_, value)] = config.headers.as_slice() else { panic!("{:?}", config.headers) };
            assert_eq!(value.to_str().unwrap().split('/').next(), Some(manager.name()));
            assert_eq!(manager.post().field_manager, manager.patch().field_manager);
        }
    }
}
