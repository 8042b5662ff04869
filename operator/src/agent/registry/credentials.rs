//! Whether the registry is asked, and as whom.
//!
//! The registry and the API server are asked for an image and its secret only when something is to be loaded, or when
//! the policy is `Always` and the application changed or this agent started: not at each event of a pod.

use std::time::Instant;

use bpfman_application::bytecode::{ByteCodeImage, ImagePullPolicy, ImagePullSecret};
use bpfman_application::spec::ApplicationSpec;
use bpfman_application::state::node::NodeFailure;
use bpfman_apply::credentials::RegistryCredentials;
use bpfman_apply::desired::Desired;
use bpfman_apply::failure::Unreachable;
use bpfman_apply::node_reason::NodeReason;
use bpfman_apply::reconcile::diff;
use bpfman_apply::step::ApplyStep;
use bpfman_proto::v1::bytecode_location::Location;

use super::secret;
use crate::agent::memory::registry_backoff::{RegistryBackoff, RegistryTurn};
use crate::agent::objects::cluster::ApiError;
use crate::agent::shared::Shared;

/// `IfNotPresent` on the wire.
const IF_NOT_PRESENT: i32 = 1;

/// What to send the daemon, and as whom.
#[derive(Clone, Debug)]
pub struct Authorized {
    /// What is wanted; with a policy that does not ask the registry, if it need not be asked.
    pub desired: Desired,
    /// The user of the registry.
    pub credentials: Option<RegistryCredentials>,
}

/// Finds out as whom to ask, if at all. `version`: of the application, as it is observed.
///
/// # Errors
/// The daemon is away; or, inside, why the secret is of no use.
pub async fn authorize(
    shared: &Shared,
    registry: &RegistryBackoff,
    spec: &ApplicationSpec,
    mut desired: Desired,
    version: &str,
) -> Result<Result<Authorized, NodeFailure>, Unreachable> {
    let Some(image) = &spec.common.byte_code.image else {
        return Ok(Ok(Authorized { desired, credentials: None }));
    };
    let always = image.image_pull_policy == ImagePullPolicy::Always;
    let turn = registry.turn(version, shared.daemon_link.now().life, Instant::now());
    if let (RegistryTurn::Wait(failure), Some(load)) = (&turn, &mut desired.load) {
        load.held = Some(failure.clone());
        quiet(&mut desired);
        return Ok(Ok(Authorized { desired, credentials: None }));
    }
    let mut ask = always && desired.load.is_some() && turn == RegistryTurn::Ask;
    if image.image_pull_secret.is_none() {
        if always && !ask {
            quiet(&mut desired);
        }
        return Ok(Ok(Authorized { desired, credentials: None }));
    }
    if !ask && desired.load.is_some() {
        let mut without = desired.clone();
        quiet(&mut without);
        let steps = diff(&shared.daemon, &without).await?;
        ask = steps.iter().any(|step| matches!(step, ApplyStep::Load { .. } | ApplyStep::Replace { .. }));
        if !ask {
            desired = without;
        }
    }
    if !ask {
        return Ok(Ok(Authorized { desired, credentials: None }));
    }
    let own = desired.owner.namespace.clone();
    let user = user(shared, own.as_deref(), image).await.map_err(|none| none.failure);
    Ok(user.map(|credentials| Authorized { desired, credentials }))
}

/// Why there is no user though a secret is named.
#[derive(Clone, Debug)]
pub struct NoUser {
    /// For the status.
    pub failure: NodeFailure,
    /// The API server does not answer: it says nothing of the secret.
    pub passing: bool,
}

/// The user that the named secret has for the image. `own`: the namespace of a namespaced application.
///
/// # Errors
/// Why there is none, though a secret is named.
pub async fn user(
    shared: &Shared,
    own: Option<&str>,
    image: &ByteCodeImage,
) -> Result<Option<RegistryCredentials>, NoUser> {
    let Some(named) = &image.image_pull_secret else { return Ok(None) };
    may_name(own, named).map_err(|failure| NoUser { failure, passing: false })?;
    let failure = |why: String, hint: &str| unusable(named, &why, hint);
    let read = shared.cluster.secret(&named.namespace, &named.name).await;
    let passing = matches!(read, Err(ApiError::Away(_)));
    let secret = read.map_err(|error| match error {
        ApiError::NotFound => failure(
            "there is no such secret".to_owned(),
            "make it, or take imagePullSecret out of the application",
        ),
        ApiError::Refused { code: 403, message } => {
            let hint = format!(
                "a Role in namespace {} has to let the agent read it: see packaging/kubernetes/pull-secrets",
                named.namespace
            );
            failure(message, &hint)
        }
        error => failure(error.to_string(), ""),
    });
    let secret = secret.map_err(|failure| NoUser { failure, passing })?;
    secret::credentials(&secret, &image.url).map_err(|error| NoUser {
        failure: failure(error.to_string(), "make it with `kubectl create secret docker-registry`"),
        passing: false,
    })
}

fn unusable(named: &ImagePullSecret, why: &str, hint: &str) -> NodeFailure {
    let message = format!("pull secret {}/{}: {why}", named.namespace, named.name);
    NodeReason::PullSecret.failure(&message, hint)
}

/// Whether an application may have this secret read. The agent may read secrets that the application's author may not:
/// one of another namespace would lend that namespace's user of the registry to the author. Admission refuses such an
/// application too, where it is on.
fn may_name(own: Option<&str>, named: &ImagePullSecret) -> Result<(), NodeFailure> {
    match own {
        Some(own) if own != named.namespace => Err(unusable(
            named,
            &format!("a BpfApplication of namespace {own} may name secrets of {own} alone"),
            &format!("make the secret in namespace {own}, and name that one"),
        )),
        _ => Ok(()),
    }
}

/// Has the daemon take the image that it has. The version that is wanted stays the same one.
fn quiet(desired: &mut Desired) {
    let bytecode = desired.load.as_mut().and_then(|load| load.request.bytecode.as_mut());
    if let Some(Location::Image(image)) = bytecode.and_then(|bytecode| bytecode.location.as_mut())
        && image.image_pull_policy == 0
    {
        image.image_pull_policy = IF_NOT_PRESENT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespaced_application_may_name_secrets_of_its_own_namespace_alone() {
        let named = ImagePullSecret { name: "pull".to_owned(), namespace: "bank".to_owned() };
        assert_eq!(may_name(None, &named), Ok(()), "a cluster application");
        assert_eq!(may_name(Some("bank"), &named), Ok(()));
        let refused = may_name(Some("shop"), &named).map_err(|refused| refused.message);
        let says = "pull secret bank/pull: a BpfApplication of namespace shop may name secrets of shop alone";
        assert_eq!(refused, Err(says.to_owned()));
    }
}
