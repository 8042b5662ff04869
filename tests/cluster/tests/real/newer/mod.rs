//! What API servers newer than 1.20 do beyond it: rules in definitions, admission policies, fields that came later.
//!
//! Only with `BPFMAN_NEWER=1` (`make test-kube-newer`), or where `BPFMAN_KUBE` names a newer Kubernetes.

mod fields;
mod life;
mod policies;
mod rules;

use bpfman_cluster_tests::Cluster;

/// A cluster for all tests of the run, with our definitions and their rules.
async fn shared() -> Option<Cluster> {
    if bpfman_cluster_tests::newer::is_missing() {
        return None;
    }
    Cluster::shared().await
}
