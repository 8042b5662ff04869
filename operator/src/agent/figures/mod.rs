//! What the programs of this node take, for who asks the agent: one reading for all who ask at the same time.
//!
//! It is served beside the probes, like the agent's metrics, and as these only to whom the cluster's network lets: the API
//! server's proxy asks whether a user may have it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_apply::daemon::Daemon;
use bpfman_proto::ext::v1::{Figures, FollowFiguresRequest};
use tokio::sync::Mutex;
use tonic::{Code, Status, Streaming};

use crate::figures::NodeFigures;

/// Time between the two readings.
const WINDOW_MS: u32 = 1000;
/// An answer is shared for so long: whoever asks again and again costs the daemon no more.
const SHARED: Duration = Duration::from_secs(2);
/// A daemon that does not tell within this time is away.
const LONGEST: Duration = Duration::from_secs(8);

/// The last answer, and when it was made.
#[derive(Debug, Default)]
pub struct LastFigures(Mutex<Option<(Instant, Arc<NodeFigures>)>>);

impl LastFigures {
    /// An answer that is no older than it may be. Who comes meanwhile waits for the same one.
    ///
    /// # Errors
    /// Why the daemon does not tell.
    pub async fn read(&self, daemon: &Daemon) -> Result<Arc<NodeFigures>, String> {
        let mut last = self.0.lock().await;
        if let Some((made, figures)) = last.as_ref().filter(|(made, _)| made.elapsed() < SHARED) {
            tracing::debug!(age = ?made.elapsed(), "figures are shared");
            return Ok(Arc::clone(figures));
        }
        let read = tokio::time::timeout(LONGEST, read(daemon)).await;
        let figures = read
            .map_err(|_late| format!("the daemon did not tell within {} s", LONGEST.as_secs()))?
            .map_err(|status| format!("the daemon does not tell: {}", status.message()))?;
        let figures = Arc::new(figures);
        *last = Some((Instant::now(), Arc::clone(&figures)));
        Ok(figures)
    }
}

/// Two readings. A daemon or kernel that does not time runs tells the rest.
async fn read(daemon: &Daemon) -> Result<NodeFigures, Status> {
    let request =
        |time_runs| FollowFiguresRequest { interval_ms: WINDOW_MS, time_runs, ..Default::default() };
    let mut client = daemon.figures();
    let timed = client.follow_figures(request(true)).await;
    let mut stream = match timed {
        Err(status) if !matches!(status.code(), Code::Unavailable | Code::Unimplemented) => {
            client.follow_figures(request(false)).await?
        }
        timed => timed?,
    }
    .into_inner();
    let then = next(&mut stream).await?;
    let now = next(&mut stream).await?;
    Ok(NodeFigures::between(&then, &now))
}

async fn next(stream: &mut Streaming<Figures>) -> Result<Figures, Status> {
    stream.message().await?.ok_or_else(|| Status::unavailable("it ended"))
}
