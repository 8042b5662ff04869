//! Names under which this operator writes: field managers and user agents, for field ownership and audit log.

use hyper::header::{HeaderValue, USER_AGENT};
use kube::Config;
use kube::api::{PatchParams, PostParams};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Controller, including deployment and admission.
    Controller,
    /// Agent of a node.
    Agent,
    /// `kubectl bpfman`.
    Client,
}

impl Manager {
    /// Returns the name in `metadata.managedFields`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Controller => "bpfman-operator",
            Self::Agent => "bpfman-agent",
            Self::Client => "kubectl-bpfman",
        }
    }

    /// Returns the parameters for creating and replacing objects.
    #[must_use]
    pub fn post(self) -> PostParams {
        PostParams { field_manager: Some(self.name().to_owned()), ..PostParams::default() }
    }

    /// Returns the parameters for patching objects.
    #[must_use]
    pub fn patch(self) -> PatchParams {
        PatchParams { field_manager: Some(self.name().to_owned()), ..PatchParams::default() }
    }

    /// Returns the name of the reporting controller in events.
    #[must_use]
    pub const fn controller(self) -> &'static str {
        match self {
            Self::Controller => "bpfman.io/operator",
            Self::Agent => "bpfman.io/agent",
            Self::Client => "bpfman.io/kubectl-bpfman",
        }
    }

    /// Adds the user agent to every request.
    pub fn introduce(self, config: &mut Config) {
        config.headers.retain(|(name, _)| name != USER_AGENT);
        config.headers.push((USER_AGENT, HeaderValue::from_static(self.user_agent())));
    }

    /// The API server takes the part before the slash as the field manager if a request names none.
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
