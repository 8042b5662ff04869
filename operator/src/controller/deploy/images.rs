use std::env;

use thiserror::Error;

use super::manifest::NAMESPACE;

/// Settings from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployImages {
    /// Image of the daemon, from `BPFMAN_IMG`.
    pub daemon: String,
    /// Image of the agent, from `BPFMAN_AGENT_IMG`.
    pub agent: String,
    /// Pull policy of all containers, from `BPFMAN_IMAGE_PULL_POLICY`.
    pub pull_policy: String,
    /// Namespace of the operator (`POD_NAMESPACE`), where agents read revisions of cluster applications.
    pub home: String,
}

/// Image that the environment does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the environment variable {0} is not set; it names an image to deploy, or pass --no-deploy")]
pub struct MissingImage(&'static str);

impl DeployImages {
    pub fn from_environment() -> Result<Self, MissingImage> {
        Self::from(|name| env::var(name).ok())
    }

    fn from(get: impl Fn(&str) -> Option<String>) -> Result<Self, MissingImage> {
        let get = |name: &'static str| get(name).filter(|value| !value.is_empty());
        Ok(Self {
            daemon: get("BPFMAN_IMG").ok_or(MissingImage("BPFMAN_IMG"))?,
            agent: get("BPFMAN_AGENT_IMG").ok_or(MissingImage("BPFMAN_AGENT_IMG"))?,
            pull_policy: get("BPFMAN_IMAGE_PULL_POLICY").unwrap_or_else(|| "IfNotPresent".to_owned()),
            home: get("POD_NAMESPACE").unwrap_or_else(|| NAMESPACE.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_image_is_named() {
        let error = DeployImages::from(|name| (name == "BPFMAN_IMG").then(|| "a".to_owned()));
        assert_eq!(error, Err(MissingImage("BPFMAN_AGENT_IMG")));
        assert_eq!(DeployImages::from(|_| Some(String::new())), Err(MissingImage("BPFMAN_IMG")));
    }
}
