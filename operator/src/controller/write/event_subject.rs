//! References from events to applications.

use k8s_openapi::api::core::v1::ObjectReference;

use crate::controller::projection::TrackedApplication;

#[must_use]
pub fn reference(application: &TrackedApplication) -> ObjectReference {
    let resource = application.scope.applications();
    ObjectReference {
        api_version: Some(resource.api_version),
        kind: Some(resource.kind),
        name: Some(application.name.clone()),
        namespace: application.namespace.clone(),
        uid: Some(application.id.to_string()),
        ..ObjectReference::default()
    }
}
