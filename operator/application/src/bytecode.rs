//! Source of the bytecode: an image or a file.

use bpfman_model::PullPolicy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name;

/// An image or a file: exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct ByteCode {
    /// A bytecode image in a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ByteCodeImage>,
    /// An object file on each node: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = name::PATH))]
    pub path: Option<String>,
}

/// A bytecode image in a registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ByteCodeImage {
    /// The image with its registry, and a tag or digest.
    #[schemars(length(max = 525), regex(pattern = name::IMAGE))]
    pub url: String,
    /// Condition for a request to the registry.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,
    /// Credentials for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_secret: Option<ImagePullSecret>,
}

/// Condition for a request to the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// Every time.
    Always,
    /// Never: the image has to be on the node.
    Never,
    /// If the image is not on the node.
    #[default]
    IfNotPresent,
}

impl From<ImagePullPolicy> for PullPolicy {
    fn from(policy: ImagePullPolicy) -> Self {
        match policy {
            ImagePullPolicy::Always => Self::Always,
            ImagePullPolicy::Never => Self::Never,
            ImagePullPolicy::IfNotPresent => Self::IfNotPresent,
        }
    }
}

/// A secret of type `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagePullSecret {
    /// Name of the secret.
    pub name: String,
    /// Namespace it is in.
    pub namespace: String,
}
