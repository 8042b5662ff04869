//! Resource usage of this node's programs: requests within some seconds share one measurement.
//!
//! Served on the probe port without access control. Timing all programs costs packets some tens of nanoseconds per run,
//! so results are cached: runs are timed during one second of ten.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_apply::daemon::Daemon;
use bpfman_proto::ext::v1::{Figures, FollowFiguresRequest};
use tokio::sync::Mutex;
use tonic::{Code, Status, Streaming};

use crate::figures::NodeFigures;

const WINDOW_MS: u32 = 1000;
const SHARED: Duration = Duration::from_secs(9);
const MAX_TIME: Duration = Duration::from_secs(8);

type FiguresAnswer = Result<Arc<NodeFigures>, String>;

/// Last result, and the time at which it was obtained.
#[derive(Debug, Default)]
pub struct LastFigures(Mutex<Option<(Instant, FiguresAnswer)>>);

impl LastFigures {
    /// Returns a result that is at most `SHARED` old, or the daemon's error. A dropped measurement is not cached.
    pub async fn read(&self, daemon: &Daemon) -> Result<Arc<NodeFigures>, String> {
        self.shared(async {
            match tokio::time::timeout(MAX_TIME, read(daemon)).await {
                Ok(read) => read.map_err(|status| format!("the daemon does not tell: {}", status.message())),
                Err(_late) => Err(format!("the daemon did not tell within {} s", MAX_TIME.as_secs())),
            }
        })
        .await
    }

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

/// Measures; if runs cannot be timed, the samples lack only the times.
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

    async fn told(seconds: f64) -> Result<NodeFigures, String> {
        Ok(NodeFigures { seconds, ..NodeFigures::default() })
    }

    async fn again() -> Result<NodeFigures, String> {
        panic!("it is read again")
    }

    #[tokio::test]
    async fn whoever_asks_again_has_the_kernel_time_nothing_more() {
        let last = LastFigures::default();
        assert_eq!(last.shared(told(1.0)).await.unwrap().seconds, 1.0);
        assert_eq!(last.shared(again()).await.unwrap().seconds, 1.0);
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
