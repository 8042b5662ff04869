//! A newer API server for our group, behind the one of 1.20: `tests/kube/up-newer`.
//!
//! With `BPFMAN_NEWER=1` every cluster has one, so any test runs against it as it is. Definitions then have their rules,
//! and admission policies work.

use std::path::PathBuf;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

use crate::objects::MANAGER;
use crate::{Cluster, scripts};

/// True if the tests are run against a newer API server.
#[must_use]
pub fn is_asked_for() -> bool {
    std::env::var_os("BPFMAN_NEWER").is_some()
}

/// Whether a test that needs the newer server cannot run, with a line that counts as a skip.
///
/// # Panics
/// The newer server is asked for, and was not built.
#[must_use]
pub fn is_not_asked_for() -> bool {
    if !is_asked_for() {
        scripts::skipped("newer-kube-apiserver");
        return true;
    }
    assert!(!scripts::lacks("build-newer"), "no newer API server in the cache: run tests/kube/build-newer");
    false
}

impl Cluster {
    /// A client of the newer server itself, which may do everything. Definitions and admission policies are for it;
    /// all else goes through the other server as usual.
    pub async fn newer_client(&self) -> Client {
        self.client_of(&self.newer_kubeconfig()).await
    }

    /// How its administrator logs in; for use inside the namespace.
    #[must_use]
    pub fn newer_kubeconfig(&self) -> PathBuf {
        self.path("newer.kubeconfig")
    }

    /// Applies an admission policy, or a binding of one.
    ///
    /// # Panics
    /// It was refused.
    pub async fn apply_policy(&self, object: &Value) {
        let kind = object["kind"].as_str().expect("it has a kind");
        let gvk = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        let mut resource = ApiResource::from_gvk(&gvk);
        if kind == "ValidatingAdmissionPolicy" {
            resource.plural = "validatingadmissionpolicies".to_owned();
        }
        let api: Api<DynamicObject> = Api::all_with(self.newer_client().await, &resource);
        let name = object["metadata"]["name"].as_str().expect("it has a name");
        api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await.unwrap();
    }
}
