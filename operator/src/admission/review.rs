//! Reviews: requests of the API server, and responses to them.

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

pub type ReviewRequest = AdmissionRequest<DynamicObject>;

/// Context of reviews.
pub struct Reviewer {
    /// Attachments of all applications.
    pub known: Arc<KnownSlots>,
    pub identity: AgentIdentity,
}

/// Error while the other applications are not known yet: the webhook's failure policy then decides.
#[derive(Debug, thiserror::Error)]
#[error("applications are still being listed")]
pub struct NotSynced;

impl Reviewer {
    pub fn application(&self, request: &ReviewRequest) -> Result<AdmissionResponse, NotSynced> {
        let Some(new) = &request.object else { return Ok(request.into()) };
        let unchanged = request.old_object.as_ref().is_some_and(|old| old.data["spec"] == new.data["spec"]);
        // Allow changes of finalizers and labels on objects from before reviews existed, so that they can be deleted.
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
                let others = self.known.others(&name).ok_or(NotSynced)?;
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

/// Error in a request.
#[derive(Debug, thiserror::Error)]
pub enum BadReview {
    /// The request or one of its fields is not valid JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("only AdmissionReview of admission.k8s.io/v1 is understood")]
    Version,
}

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
    fn invalid_review_is_refused() {
        assert!(read(b"{}").unwrap_err().to_string().contains("admission.k8s.io/v1"));
        assert!(read(b"no json").is_err());
        let old = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{}}"#;
        assert!(read(old).unwrap_err().to_string().contains("admission.k8s.io/v1"));
    }
}
