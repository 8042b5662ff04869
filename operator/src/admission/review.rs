//! Reviews: what the API server asks, and what it is answered.

use std::sync::Arc;

use bpfman_application::spec::ApplicationSpec;
use kube::api::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};
use serde_json::Value;
use tracing::info;

use super::application;
use super::identity::AgentIdentity;
use super::known::KnownSlots;
use super::order::ApplicationName;
use super::state::{self, StateChange};
use super::verdict::ReviewVerdict;

/// A request about any object.
pub type ReviewRequest = AdmissionRequest<DynamicObject>;

/// What reviews need to know.
pub struct Reviewer {
    /// The other applications.
    pub known: Arc<KnownSlots>,
    /// Who asks.
    pub identity: AgentIdentity,
}

/// The other applications are not known yet: whether that refuses is up to the webhook's failure policy.
#[derive(Debug, thiserror::Error)]
#[error("applications are still being listed")]
pub struct NotYet;

impl Reviewer {
    /// A review of an application.
    ///
    /// # Errors
    /// [`NotYet`].
    pub fn application(&self, request: &ReviewRequest) -> Result<AdmissionResponse, NotYet> {
        let Some(new) = &request.object else { return Ok(request.into()) };
        let unchanged = request.old_object.as_ref().is_some_and(|old| old.data["spec"] == new.data["spec"]);
        // Finalizers and labels of what was taken before there were reviews can change, or it could never go.
        if unchanged || new.metadata.deletion_timestamp.is_some() {
            return Ok(request.into());
        }
        let namespaced = request.kind.kind == "BpfApplication";
        let name = ApplicationName {
            namespace: request.namespace.clone().filter(|_| namespaced),
            name: new.metadata.name.clone().unwrap_or_else(|| request.name.clone()),
        };
        let mut verdict = match ApplicationSpec::read(name.namespace.as_deref(), new.data["spec"].clone()) {
            Err(error) => ReviewVerdict::refused(error.to_string()),
            Ok(spec) => {
                let others = self.known.others(&name).ok_or(NotYet)?;
                application::review(&name, &spec, &others)
            }
        };
        let mut response = AdmissionResponse::from(request);
        if !verdict.warnings.is_empty() {
            response.warnings = Some(std::mem::take(&mut verdict.warnings));
        }
        Ok(match verdict.message() {
            None => response,
            Some(message) => {
                info!(%name, user = user(request), message, "an application was refused");
                deny(response, 422, message)
            }
        })
    }

    /// A review of a state object.
    pub async fn state(&self, request: &ReviewRequest) -> AdmissionResponse {
        let response = AdmissionResponse::from(request);
        let change = StateChange {
            kind: &request.kind.kind,
            old: request.old_object.as_ref(),
            new: request.object.as_ref(),
        };
        let refused = match self.identity.who(&request.user_info).await {
            Ok(who) => state::refused(change, &who),
            Err(unknown) => Some(unknown.to_string()),
        };
        match refused {
            None => response,
            Some(message) => {
                info!(name = request.name, user = user(request), message, "a state object was refused");
                deny(response, 403, message)
            }
        }
    }
}

fn user(request: &ReviewRequest) -> &str {
    request.user_info.username.as_deref().unwrap_or_default()
}

fn deny(response: AdmissionResponse, code: u16, message: String) -> AdmissionResponse {
    let mut response = response.deny(message);
    response.result.code = code;
    response
}

/// A request that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadReview {
    /// It is no JSON, or a field of it is none.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is something else, or of another version.
    #[error("only AdmissionReview of admission.k8s.io/v1 is understood")]
    Version,
}

/// Reads a request.
///
/// # Errors
/// It is none.
pub fn read(body: &[u8]) -> Result<ReviewRequest, BadReview> {
    let mut review: Value = serde_json::from_slice(body)?;
    if review["kind"] != "AdmissionReview" || review["apiVersion"] != "admission.k8s.io/v1" {
        return Err(BadReview::Version);
    }
    let mut request: ReviewRequest = serde_json::from_value(review["request"].take())?;
    request.types = kube::api::TypeMeta {
        api_version: "admission.k8s.io/v1".to_owned(),
        kind: "AdmissionReview".to_owned(),
    };
    Ok(request)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_no_review_is_said_to_be_none() {
        assert!(read(b"{}").unwrap_err().to_string().contains("admission.k8s.io/v1"));
        assert!(read(b"no json").is_err());
        let old = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{}}"#;
        assert!(read(old).unwrap_err().to_string().contains("admission.k8s.io/v1"));
    }
}
