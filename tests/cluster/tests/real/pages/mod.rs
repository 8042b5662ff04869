//! Command lines of the documentation about clusters, as an administrator types them: kubectl, its plugin, helm, the
//! removal script. The lines of the lists in `bpfman_tests::cluster_pages` are run in order.

mod kubelet;
mod terminal;

use bpfman_cluster_tests::Helm;
use bpfman_tests::cluster_pages::{BY_HAND, HELM, TUTORIAL};

use terminal::Terminal;

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_from_installation_to_removal() {
    let Some(mut terminal) = Terminal::open("tutorial").await else { return };
    terminal.follow(TUTORIAL).await;
    crate::removal::nothing_is_left(&terminal.cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn installation_and_removal_by_hand() {
    let Some(mut terminal) = Terminal::open("by-hand").await else { return };
    terminal.follow(BY_HAND).await;
    crate::removal::nothing_is_left(&terminal.cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn installation_with_helm() {
    let Some(helm) = Helm::find() else { return };
    let Some(mut terminal) = Terminal::open("helm").await else { return };
    terminal.has(&helm);
    terminal.follow(HELM).await;
    terminal.cluster.kubectl(&["-n", "bpfman", "get", "deployment", "bpfman-operator"]).success();
}
