//! Watches that never end: they continue after the last event, and list again if they cannot.

use std::fmt::{Debug, Display};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream, Stream};
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::backoff::{after, jittered};
use crate::connect::why;
use crate::outage::OUTAGE;

/// Backoff of a watch that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Delay after the first failure.
    pub first: Duration,
    pub longest: Duration,
    /// True to add jitter, because many processes wait for the same server.
    pub jitter: bool,
    /// Number of failures in a row after which the watch lists again. If set, a list's start does not reset
    /// it.
    pub list_again_after: Option<u32>,
}

impl Waits {
    /// Backoff of the controller and of admission: short, as there are few and the cluster depends on them.
    pub const CONTROLLER: Self = Self {
        first: Duration::from_millis(200),
        longest: Duration::from_secs(5),
        jitter: false,
        list_again_after: Some(5),
    };
    /// Backoff of agents.
    pub const AGENT: Self = Self {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(30),
        jitter: true,
        list_again_after: None,
    };
}

#[derive(Debug)]
struct Tries {
    waits: Waits,
    failures: u32,
}

impl Tries {
    fn new(waits: Waits) -> Self {
        Self { waits, failures: 0 }
    }

    fn succeeded<K>(&mut self, event: &Event<K>) {
        if self.waits.list_again_after.is_none() || !matches!(event, Event::Init) {
            self.failures = 0;
        }
    }

    fn wait(&self) -> Option<Duration> {
        let wait = after(self.failures, self.waits.first, self.waits.longest);
        (self.failures > 0).then(|| if self.waits.jitter { jittered(wait) } else { wait })
    }

    fn lists_again(&self) -> bool {
        self.failures > 0
            && self.waits.list_again_after.is_some_and(|most| self.failures.is_multiple_of(most))
    }
}

/// Failure of a watch, which is retried.
#[derive(Debug)]
pub struct Failed {
    /// Cause of the failure.
    pub error: watcher::Error,
}

/// Watches forever. `what` names the watched objects in the log, which has one warning for an outage of the server.
pub fn events<K>(
    what: impl Display + Send + 'static,
    api: Api<K>,
    config: Config,
    waits: Waits,
) -> impl Stream<Item = Result<Event<K>, Failed>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let begin = move || watcher::watcher(api.clone(), config.clone()).boxed();
    let watch: (BoxStream<'static, watcher::Result<Event<K>>>, _, _) = (begin(), Tries::new(waits), false);
    let log = (what, OUTAGE.watch());
    stream::unfold((watch, begin, log), |((mut stream, mut tries, mut failed), begin, log)| async move {
        if failed && let Some(wait) = tries.wait() {
            tokio::time::sleep(wait).await;
            if tries.lists_again() {
                stream = begin();
            }
        }
        let event = stream.next().await?;
        failed = event.is_err();
        let event = match event {
            Ok(event) => {
                tries.succeeded(&event);
                // The start of a list is no success yet.
                if !matches!(event, Event::Init) && log.1.works() {
                    tracing::info!("the API server is watched again");
                }
                Ok(event)
            }
            Err(error) => {
                tries.failures = tries.failures.saturating_add(1);
                let why = why(&error);
                if log.1.failed() {
                    tracing::warn!("{} cannot be watched; retrying: {why}", log.0);
                } else {
                    tracing::debug!("a watch of {} failed; retrying: {why}", log.0);
                }
                Err(Failed { error })
            }
        };
        Some((event, ((stream, tries, failed), begin, log)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_lives_again_starts_over() {
        let (first, longest) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut tries = Tries::new(Waits { first, longest, jitter: true, list_again_after: None });
        assert_eq!(tries.wait(), None);
        tries.failures = 21;
        assert!(tries.wait() > Some(Duration::from_secs(20)), "{tries:?}");
        tries.succeeded::<()>(&Event::Init);
        tries.failures += 1;
        assert!(tries.wait() < Some(Duration::from_secs(1)), "{tries:?}");
    }

    #[test]
    fn incomplete_list_does_not_end_a_series_of_failures() {
        let (first, longest) = (Duration::from_millis(200), Duration::from_secs(5));
        let mut tries = Tries::new(Waits { first, longest, jitter: false, list_again_after: Some(5) });
        for failures in 1..=5 {
            tries.succeeded::<()>(&Event::Init);
            tries.failures += 1;
            assert_eq!(tries.failures, failures);
            assert_eq!(tries.lists_again(), failures == 5);
        }
        tries.succeeded::<()>(&Event::InitDone);
        assert_eq!(tries.wait(), None);
    }
}
