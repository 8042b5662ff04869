//! Servers that are newer than 1.20: definitions have their rules there, and admission policies work.
//!
//! Either the whole cluster is newer, where `BPFMAN_KUBE` names a Kubernetes of that kind (`tests/kube/build`). Or it is
//! of 1.20, with a newer API server for our group behind its own: with `BPFMAN_NEWER=1` every cluster has one
//! (`tests/kube/up-newer`). Any test runs on either as it is.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use bpfman_tests::Outcome;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

use crate::objects::MANAGER;
use crate::{Cluster, scripts};

/// The first version with the last of what tests of newer servers are about: admission policies.
const POLICIES: u32 = 30;
/// The first one that takes rules in definitions.
const RULES: u32 = 25;
/// The first one that takes selectable fields there.
const SELECTABLE_FIELDS: u32 = 30;

/// The version of the Kubernetes that clusters are of: N of 1.N.
///
/// # Panics
/// There is none.
#[must_use]
pub fn minor() -> u32 {
    static MINOR: OnceLock<u32> = OnceLock::new();
    *MINOR.get_or_init(|| {
        let folder = scripts::built("build").expect("Kubernetes is there");
        let said = Outcome::of(Command::new(folder.join("kube-apiserver")).arg("--version")).success();
        let minor = said.strip_prefix("Kubernetes v1.").and_then(|rest| rest.split('.').next());
        minor.and_then(|minor| minor.parse().ok()).unwrap_or_else(|| panic!("no version 1.N: {said}"))
    })
}

/// True if a newer API server is to stand behind the cluster's own.
#[must_use]
pub fn is_behind() -> bool {
    std::env::var_os("BPFMAN_NEWER").is_some() && minor() < POLICIES
}

/// True if what answers for our group knows rules in definitions.
#[must_use]
pub fn knows_rules() -> bool {
    is_behind() || minor() >= RULES
}

/// True if what answers for our group knows selectable fields in definitions.
#[must_use]
pub fn knows_selectable_fields() -> bool {
    is_behind() || minor() >= SELECTABLE_FIELDS
}

/// Whether a test of what newer servers do cannot run, with a line that counts as a skip.
///
/// # Panics
/// A newer server is asked for, and was not built.
#[must_use]
pub fn is_missing() -> bool {
    if scripts::lacks_kubernetes() {
        return true;
    }
    if is_behind() {
        let built = scripts::built("build-newer").is_some();
        assert!(built, "no newer API server in the cache: run tests/kube/build-newer");
    } else if minor() < POLICIES {
        scripts::skipped("newer-kube-apiserver");
        return true;
    }
    false
}

impl Cluster {
    /// A client of the server that answers for our group, which may do everything. Definitions and admission policies
    /// are for it; all else goes through the cluster's own server as usual.
    pub async fn newer_client(&self) -> Client {
        self.client_of(&self.newer_kubeconfig()).await
    }

    /// How its administrator logs in; for use inside the namespace.
    #[must_use]
    pub fn newer_kubeconfig(&self) -> PathBuf {
        if is_behind() { self.path("newer.kubeconfig") } else { self.kubeconfig() }
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
