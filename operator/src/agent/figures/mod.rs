//! What the programs of this node take, for who asks the agent: one reading for all who ask at the same time.
//!
//! It is served beside the probes, without TLS, to whoever reaches the port: the API server's proxy asks
//! whether a user may, nobody else does. `kubectl bpfman top` sorts by CPU time, so a reading has the kernel
//! time all programs of the node, which costs packets some tens of nanoseconds a run: what is told is kept
//! for so long that this is one second of ten.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_apply::daemon::Daemon;
use bpfman_proto::ext::v1::{Figures, FollowFiguresRequest};
use tokio::sync::Mutex;
use tonic::{Code, Status, Streaming};

use crate::figures::NodeFigures;

/// Time between the two readings.
const WINDOW_MS: u32 = 1000;
/// An answer, and why there is none, is shared for so long: however many ask, and how often, runs are not
/// timed meanwhile.
const SHARED: Duration = Duration::from_secs(9);
/// A daemon that does not tell within this time is away.
const LONGEST: Duration = Duration::from_secs(8);

/// What a node's programs take, or why the daemon does not tell.
type FiguresAnswer = Result<Arc<NodeFigures>, String>;

/// The last answer, and when it was made.
#[derive(Debug, Default)]
pub struct LastFigures(Mutex<Option<(Instant, FiguresAnswer)>>);

impl LastFigures {
    /// An answer that is no older than it may be. It has to be awaited to its end: a reading that is dropped
    /// is not kept, and the next one begins at once.
    ///
    /// # Errors
    /// Why the daemon does not tell.
    pub async fn read(&self, daemon: &Daemon) -> Result<Arc<NodeFigures>, String> {
        self.shared(async {
            match tokio::time::timeout(LONGEST, read(daemon)).await {
                Ok(read) => read.map_err(|status| format!("the daemon does not tell: {}", status.message())),
                Err(_late) => Err(format!("the daemon did not tell within {} s", LONGEST.as_secs())),
            }
        })
        .await
    }

    /// The last answer, or else this one. Who comes meanwhile waits for the same one.
    async fn shared(&self, read: impl Future<Output = Result<NodeFigures, String>>) -> FiguresAnswer {
        let mut last = self.0.lock().await;
        if let Some((made, answer)) = last.as_ref().filter(|(made, _)| made.elapsed() < SHARED) {
            tracing::debug!(age = ?made.elapsed(), "figures are shared");
            return answer.clone();
        }
        let answer = read.await.map(Arc::new);
        *last = Some((Instant::now(), answer.clone()));
        answer
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A reading of a node with so many seconds between.
    async fn told(seconds: f64) -> Result<NodeFigures, String> {
        Ok(NodeFigures { seconds, ..NodeFigures::default() })
    }

    /// What nobody is to wait for.
    async fn again() -> Result<NodeFigures, String> {
        panic!("it is read again")
    }

    #[tokio::test]
    async fn whoever_asks_again_has_the_kernel_time_nothing_more() {
        let last = LastFigures::default();
        assert_eq!(last.shared(told(1.0)).await.unwrap().seconds, 1.0);
        assert_eq!(last.shared(again()).await.unwrap().seconds, 1.0);
        // A daemon that does not tell is not asked again at once either.
        let last = LastFigures::default();
        for why in ["it restarts", "it is there again"] {
            let answer = last.shared(async { Err(why.to_owned()) }).await;
            assert_eq!(answer.unwrap_err(), "it restarts");
        }
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_its_time_and_no_longer() {
        let last = LastFigures::default();
        last.shared(told(1.0)).await.unwrap();
        last.0.lock().await.as_mut().unwrap().0 = Instant::now().checked_sub(SHARED).unwrap();
        assert_eq!(last.shared(told(2.0)).await.unwrap().seconds, 2.0);
    }
}
