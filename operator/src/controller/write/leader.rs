//! Leader election among several controllers, by a `Lease` that the leader renews.
//!
//! Others acquire the lease when, by their own clocks, it was not renewed for its whole duration. The leader
//! stops earlier, counted from its last renewal's request: two act at once only if a write takes longer than
//! the difference. A late write reverts nothing: statuses, finalizers and orders are written on the decided
//! version. One decision has many orders: the lease is checked before each; the next leader revokes late
//! ones.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{info, warn};

use bpfman_runtime::manager::Manager;

/// Name of the lease. The published operator uses the same one, so that the two never act at the same time.
pub const LEASE: &str = "8730d955.bpfman.io";

/// Leadership of this controller. Cheap to check before each write.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Creates the permanent leadership of a single controller.
    #[must_use]
    pub fn alone() -> Self {
        let far = Instant::now() + Duration::from_secs(100 * 365 * 86_400);
        Self(watch::channel(Some(far)).1)
    }

    #[cfg(test)]
    pub(in crate::controller) fn given() -> (watch::Sender<Option<Instant>>, Self) {
        let (sender, receiver) = watch::channel(Self::alone().0.borrow().to_owned());
        (sender, Self(receiver))
    }

    /// Returns whether this controller is the leader now.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until the lease was acquired, lost or renewed.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

pub struct Election {
    leases: Api<Lease>,
    namespace: String,
    identity: String,
    duration: Duration,
    until: watch::Sender<Option<Instant>>,
}

struct Seen {
    version: Option<String>,
    since: Instant,
}

impl Election {
    /// Creates a candidate in a namespace; `identity` must differ for each candidate.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, identity: String, duration: Duration) -> (Self, Leadership) {
        let (until, receiver) = watch::channel(None);
        let leases = Api::namespaced(client.clone(), namespace);
        (Self { leases, namespace: namespace.to_owned(), identity, duration, until }, Leadership(receiver))
    }

    /// Returns how long the leader acts, counted from the request of its last successful renewal.
    fn hold(&self) -> Duration {
        self.duration * 2 / 3
    }

    fn retry(&self) -> Duration {
        self.duration / 6
    }

    /// Acquires the lease when it is free, and renews it, forever.
    pub async fn run(&self) {
        let mut seen: Option<Seen> = None;
        loop {
            let asked = Instant::now();
            let attempt = tokio::time::timeout(self.retry(), self.attempt(&mut seen, asked)).await;
            let held = self.until.borrow().is_some();
            match attempt {
                Ok(Ok(true)) => {
                    if !held {
                        info!(identity = self.identity, "took the lease");
                    }
                    self.until.send_replace(Some(asked + self.hold()));
                }
                Ok(Ok(false)) => {
                    if held {
                        warn!("another controller has the lease");
                        self.until.send_replace(None);
                    }
                }
                Ok(Err(error)) => warn!(%error, "the lease could not be asked for"),
                Err(_) => warn!("the lease was not answered in time"),
            }
            if self.until.borrow().is_some_and(|until| until <= Instant::now()) {
                warn!("the lease ran out");
                self.until.send_replace(None);
            }
            tokio::time::sleep(self.retry()).await;
        }
    }

    /// Releases the lease, so that another controller can acquire it at once.
    pub async fn release(&self) {
        if self.until.send_replace(None).is_none() {
            return;
        }
        if let Ok(Some(mut lease)) = self.leases.get_opt(LEASE).await
            && holder(&lease) == Some(self.identity.as_str())
        {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            if let Err(error) = self.leases.replace(LEASE, &Manager::Controller.post(), &lease).await {
                warn!(%error, "the lease was not given back; it runs out by itself");
            }
        }
    }

    async fn attempt(&self, seen: &mut Option<Seen>, now: Instant) -> kube::Result<bool> {
        let answer = match self.leases.get_opt(LEASE).await? {
            None => self.leases.create(&Manager::Controller.post(), &self.first()).await,
            Some(lease) => {
                if !self.is_free(&lease, seen, now) {
                    return Ok(false);
                }
                self.leases.replace(LEASE, &Manager::Controller.post(), &self.next(lease)).await
            }
        };
        match answer {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_free(&self, lease: &Lease, seen: &mut Option<Seen>, now: Instant) -> bool {
        let holder = holder(lease).unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let version = lease.metadata.resource_version.clone();
        match seen {
            Some(seen) if seen.version == version => {
                let theirs =
                    lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
                let theirs = Duration::from_secs(u64::try_from(theirs).unwrap_or_default());
                now.saturating_duration_since(seen.since) >= theirs.max(Duration::from_secs(1))
            }
            _ => {
                *seen = Some(Seen { version, since: now });
                false
            }
        }
    }

    fn first(&self) -> Lease {
        let metadata = ObjectMeta {
            name: Some(LEASE.to_owned()),
            namespace: Some(self.namespace.clone()),
            ..ObjectMeta::default()
        };
        self.next(Lease { metadata, spec: None })
    }

    fn next(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = lease.spec.take().unwrap_or_default();
        let same = old.holder_identity.as_ref() == Some(&self.identity);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: if same { old.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(old.lease_transitions.unwrap_or_default() + i32::from(!same)),
            ..LeaseSpec::default()
        });
        lease
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn election() -> (Election, Leadership) {
        let service = tower::service_fn(|_: axum::http::Request<kube::client::Body>| async {
            Ok::<_, std::io::Error>(axum::http::Response::new(kube::client::Body::empty()))
        });
        let duration = Duration::from_secs(15);
        Election::new(&Client::new(service, "default"), "bpfman", "me".to_owned(), duration)
    }

    fn lease(holder: &str, version: &str) -> Lease {
        let (mut lease, spec) = (
            Lease::default(),
            LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            },
        );
        lease.metadata.resource_version = Some(version.to_owned());
        lease.spec = Some(spec);
        lease
    }

    #[tokio::test]
    async fn lease_of_another_is_taken_only_after_its_full_duration() {
        let (election, _) = election();
        let (mut seen, start) = (None, Instant::now());
        let mut at = |seconds, version| {
            election.is_free(&lease("other", version), &mut seen, start + Duration::from_secs(seconds))
        };
        assert!(!at(0, "1"));
        assert!(!at(14, "1"));
        assert!(!at(16, "2"), "it was renewed");
        assert!(!at(30, "2"));
        assert!(at(31, "2"));
    }

    #[tokio::test]
    async fn own_and_unowned_lease_are_free() {
        let (election, _) = election();
        assert!(election.is_free(&lease("me", "1"), &mut None, Instant::now()));
        assert!(election.is_free(&lease("", "1"), &mut None, Instant::now()));
    }

    #[tokio::test]
    async fn leader_stops_before_its_lease_expires() {
        let (election, leadership) = election();
        assert!(election.hold() + election.retry() < election.duration);
        assert!(!leadership.holds());
        election.until.send_replace(Some(Instant::now() + Duration::from_secs(60)));
        assert!(leadership.holds());
        election.until.send_replace(Some(Instant::now()));
        assert!(!leadership.holds(), "the time is up, whether anybody said so or not");
    }

    #[tokio::test]
    async fn transitions_count_changes_of_the_holder() {
        let (election, _) = election();
        let taken = election.next(lease("other", "1")).spec.unwrap();
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("me"), Some(1)));
        let renewed = election.next(lease("me", "1")).spec.unwrap();
        assert_eq!(renewed.lease_transitions, Some(0));
    }
}
