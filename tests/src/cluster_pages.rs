//! Commands of the docs that run on a real API server (`tests/cluster/tests/real/pages`), as the inventory counts them.

use crate::page::CommandLine;

/// Page, and the beginning of one or more of its commands.
pub type Step = (&'static str, &'static str);

const TUTORIAL_PAGE: &str = "docs/tutorials/platform-team.md";
const INSTALLATION: &str = "docs/cluster-installation.md";
const ROLLOUTS: &str = "docs/rollout.md";
const MANIFESTS: &str = "packaging/kubernetes/README.md";

/// The whole tutorial, from installation to removal, and commands of other pages for a cluster with an application.
pub const TUTORIAL: &[Step] = &[
    (TUTORIAL_PAGE, "kubectl apply --server-side"),
    (TUTORIAL_PAGE, "kubectl -n bpfman rollout status"),
    (TUTORIAL_PAGE, "kubectl get configs.bpfman.io"),
    (TUTORIAL_PAGE, "kubectl -n bpfman create configmap"),
    (TUTORIAL_PAGE, "kubectl apply -f"),
    (TUTORIAL_PAGE, "kubectl bpfman status lengths"),
    ("docs/controller.md", "kubectl wait --for=condition"),
    (TUTORIAL_PAGE, "kubectl patch"),
    (TUTORIAL_PAGE, "kubectl bpfman status --follow"),
    (TUTORIAL_PAGE, "kubectl bpfman top"),
    (TUTORIAL_PAGE, "kubectl bpfman console"),
    ("docs/console.md", "kubectl bpfman console"),
    ("docs/top.md", "kubectl bpfman top"),
    (ROLLOUTS, "kubectl bpfman check -f filter.yaml"),
    (ROLLOUTS, "kubectl bpfman promote filter"),
    (ROLLOUTS, "kubectl bpfman abort filter"),
    (ROLLOUTS, "kubectl bpfman rehearse"),
    (INSTALLATION, "packaging/kubernetes/remove "),
];

pub const BY_HAND: &[Step] = &[
    (INSTALLATION, "kubectl apply --server-side -k OVERLAY"),
    (INSTALLATION, "kubectl wait --for=condition=Ready"),
    ("README.md", "kubectl apply --server-side"),
    (MANIFESTS, "kubectl apply --server-side"),
    ("README.md", "kubectl -n bpfman create configmap"),
    ("README.md", "kubectl apply -f"),
    ("README.md", "kubectl bpfman status exec-snoop"),
    ("README.md", "kubectl get cbpfapp"),
    (MANIFESTS, "kubectl delete cbpfapp"),
    (MANIFESTS, "kubectl delete configs"),
    (MANIFESTS, "kubectl delete --ignore-not-found -k packaging/kubernetes/base"),
    (MANIFESTS, "kubectl apply -k packaging/kubernetes/clean-nodes"),
    (MANIFESTS, "kubectl -n bpfman-clean-nodes rollout"),
    (MANIFESTS, "kubectl delete -k"),
];

pub const HELM: &[Step] = &[(INSTALLATION, "helm install")];

#[must_use]
pub fn runs(line: &CommandLine) -> bool {
    [TUTORIAL, BY_HAND, HELM].concat().iter().any(|step| is_of(line, step))
}

#[must_use]
pub fn is_of(line: &CommandLine, (page, begins): &Step) -> bool {
    line.page == *page && line.text.starts_with(begins)
}
