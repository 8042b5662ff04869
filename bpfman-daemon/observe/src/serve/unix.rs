//! Unix socket server, with access control by peer credentials.

use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::answer::answer;
use super::places::Places;
use super::{PAUSE, Scrapes};

/// Returns the reason why the client of a connection lacks permission; `None` if it has it. Must not block.
pub type ReadPermission = Box<dyn Fn(&UnixStream) -> Option<String> + Send + Sync>;

/// Serves clients of a unix socket; never returns.
pub async fn serve_unix(listener: UnixListener, scrapes: Arc<Scrapes>, may_read: ReadPermission) {
    let places = Arc::<Places<u32>>::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "no reader of metrics can be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Clients without credentials share one limit.
        let user = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
        let Some(place) = places.take(&user, user == 0) else {
            tracing::debug!(user, "too many connections for metrics");
            continue;
        };
        let refusal = may_read(&stream);
        let scrapes = Arc::clone(&scrapes);
        connections.spawn(async move {
            answer(stream, scrapes, refusal).await;
            drop(place);
        });
    }
}
