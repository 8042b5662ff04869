//! Queries to the daemon for facts that only it knows.

use std::time::Duration;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::watch_event::Event;

use crate::daemon::Daemon;
use crate::facts::NodeInterface;
use crate::failure::{Unreachable, refusal};

const MAX_WAIT: Duration = Duration::from_secs(30);

/// Returns interfaces of the daemon's network namespace, named ones and `netns`; `None` if unsupported.
pub async fn interfaces(
    daemon: &Daemon,
    netns: &[String],
) -> Result<Option<Vec<NodeInterface>>, Unreachable> {
    let asked = tokio::time::timeout(MAX_WAIT, first(daemon, netns)).await;
    let late = |_| Unreachable {
        daemon: daemon.name().to_owned(),
        why: format!("it named no interfaces in {} s", MAX_WAIT.as_secs()),
    };
    match asked.map_err(late)? {
        Ok(list) => Ok(Some(list.interfaces.iter().map(NodeInterface::from).collect())),
        Err(status) => match refusal(daemon, &status)? {
            refusal if refusal.is_unimplemented() => Ok(None),
            refusal => Err(Unreachable { daemon: daemon.name().to_owned(), why: refusal.failure().message }),
        },
    }
}

async fn first(daemon: &Daemon, netns: &[String]) -> Result<ext::InterfaceList, tonic::Status> {
    let request = ext::WatchRequest { netns: netns.to_vec() };
    let mut events = daemon.node().watch(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        if let Some(Event::Interfaces(list)) = event.event {
            return Ok(list);
        }
    }
    Err(tonic::Status::unavailable("the stream of interfaces ended at once"))
}

impl From<&ext::NetworkInterface> for NodeInterface {
    fn from(interface: &ext::NetworkInterface) -> Self {
        Self {
            name: interface.name.clone(),
            index: interface.index,
            netns: Some(interface.netns.clone()).filter(|path| !path.is_empty()),
            up: interface.up,
            // Addresses that cannot be parsed match no node address anyway.
            addresses: interface.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        }
    }
}
