//! Images: pulled, imported, verified, allowed by a policy, and kept.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod access;
mod client_fetches;
mod cosign;
mod forms;
mod harness;
mod hostile;
mod import_forms;
mod imports;
mod keyless;
mod policy;
mod policy_rules;
mod pull;
mod pull_signatures;
mod push;
mod registry_answers;
mod skopeo;
mod slow;
mod timestamps;
mod transport;
