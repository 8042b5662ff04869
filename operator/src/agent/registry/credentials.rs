//! Decides whether and how the registry is accessed: only to load something, or for the policy `Always` after a change
//! or a start of the agent; never for a pod's event.

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
use crate::agent::memory::registry_backoff::{RegistryAttempt, RegistryBackoff};
use crate::agent::objects::cluster::ApiError;
use crate::agent::shared::Shared;

const IF_NOT_PRESENT: i32 = 1;

/// Desired state to send to the daemon, with credentials.
#[derive(Clone, Debug)]
pub struct Authorized {
    /// Desired state; with a pull policy that avoids the registry if it need not be accessed.
    pub desired: Desired,
    pub credentials: Option<RegistryCredentials>,
}

/// Decides on access and credentials for `version` of the spec; the inner error is that of the secret.
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
    let attempt = registry.next_attempt(version, shared.daemon_link.now().life, Instant::now());
    if let (RegistryAttempt::Wait(failure), Some(load)) = (&attempt, &mut desired.load) {
        load.held = Some(failure.clone());
        quiet(&mut desired);
        return Ok(Ok(Authorized { desired, credentials: None }));
    }
    let mut ask = always && desired.load.is_some() && attempt == RegistryAttempt::Ask;
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

/// Reason for which a named secret gives no credentials.
#[derive(Clone, Debug)]
pub struct NoUser {
    /// Failure for the status.
    pub failure: NodeFailure,
    /// True if the failure is temporary: the API server did not answer.
    pub passing: bool,
}

/// Returns the secret's credentials for the image. `own` is the namespace of a namespaced application.
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

/// Refuses a secret of another namespace, which would give the application's author that namespace's registry access.
/// Admission refuses it too, if enabled.
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
    fn namespaced_application_may_use_only_secrets_of_its_namespace() {
        let named = ImagePullSecret { name: "pull".to_owned(), namespace: "bank".to_owned() };
        assert_eq!(may_name(None, &named), Ok(()), "a cluster application");
        assert_eq!(may_name(Some("bank"), &named), Ok(()));
        let refused = may_name(Some("shop"), &named).map_err(|refused| refused.message);
        let says = "pull secret bank/pull: a BpfApplication of namespace shop may name secrets of shop alone";
        assert_eq!(refused, Err(says.to_owned()));
    }
}
