//! Main loop: receives events, decides, starts writes and processes their results.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tracing::error;

use crate::clock::ServerClock;
use crate::controller::write::act::{ApiWriter, WriteOutcome};
use bpfman_runtime::queue::{Schedule, sleep_until};

use crate::controller::decide::decide;
use crate::controller::decide::pace::StatusPace;
use crate::controller::decide::summarize::Presence;
use crate::controller::deploy::Deployed;
use crate::controller::memory::Memory;
use crate::controller::nodes::mark::mark;
use crate::controller::nodes::reap::reap;
use crate::controller::nodes::taint::{TaintDecision, decide_all};
use crate::controller::projection::text::SharedText;
use crate::controller::projection::{ApplicationId, TrackedApplication};
use crate::controller::rollout::round::{Rollouts, Round, RoundOutcome};
use crate::controller::watches::MemoryChange;
use crate::controller::write::leader::Leadership;
use bpfman_runtime::note::{Limiter, Note};

const SETTLE: Duration = Duration::from_millis(50);

/// Minimum pause between reconciliations. A status may be written less often ([`crate::controller::decide::pace`]).
const PAUSE: Duration = Duration::from_secs(1);

/// Time within which a deleted node may return under its name.
const GRACE: Duration = Duration::from_secs(5);

const RETRY: Duration = Duration::from_secs(5);

const STUCK: Duration = Duration::from_secs(60);

const AT_A_TIME: usize = 16;

enum Finished {
    Application(ApplicationId, Option<Box<TrackedApplication>>, RoundOutcome, WriteOutcome),
    Lost(SharedText, WriteOutcome),
    Mark(SharedText, WriteOutcome),
}

/// Controller of applications and nodes.
pub struct Controller {
    memory: Memory,
    presence: Presence,
    rollouts: Rollouts,
    namespace: String,
    leadership: Leadership,
    deployed: watch::Receiver<Deployed>,
    clock: ServerClock,
    writer: ApiWriter,
    applications: Schedule<ApplicationId>,
    lost: Schedule<SharedText>,
    marks: Schedule<SharedText>,
    decisions: HashMap<SharedText, TaintDecision>,
    taints: (bool, Instant),
    limiter: Limiter<ApplicationId>,
    pace: StatusPace,
    deleting: HashMap<ApplicationId, Instant>,
    permits: Arc<tokio::sync::Semaphore>,
    finished: (Sender<Finished>, Receiver<Finished>),
    led: bool,
}

impl Controller {
    /// Creates a controller with an empty memory.
    #[must_use]
    pub fn new(
        writer: ApiWriter,
        namespace: String,
        leadership: Leadership,
        deployed: watch::Receiver<Deployed>,
        presence: Presence,
        clock: ServerClock,
    ) -> Self {
        Self {
            memory: Memory::default(),
            presence,
            rollouts: Rollouts::default(),
            namespace,
            leadership,
            deployed,
            clock,
            writer,
            applications: Schedule::new(SETTLE, PAUSE),
            lost: Schedule::new(GRACE, RETRY),
            marks: Schedule::new(Duration::ZERO, PAUSE),
            decisions: HashMap::new(),
            taints: (false, Instant::now()),
            limiter: Limiter::default(),
            pace: StatusPace::default(),
            deleting: HashMap::new(),
            permits: Arc::new(tokio::sync::Semaphore::new(AT_A_TIME)),
            finished: channel(AT_A_TIME * 4),
            led: false,
        }
    }

    /// Runs until the watches end, which they do not.
    pub async fn run(mut self, mut events: Receiver<MemoryChange>) {
        let mut leadership = self.leadership.clone();
        let mut tick = tokio::time::interval(PAUSE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next =
                [self.applications.next(), self.lost.next(), self.marks.next()].into_iter().flatten().min();
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => {
                        event(&mut self.memory);
                        while let Ok(event) = events.try_recv() {
                            event(&mut self.memory);
                        }
                    }
                    None => return,
                },
                Some(finished) = self.finished.1.recv() => self.finish(finished),
                () = sleep_until(next), if self.leadership.holds() && self.memory.complete() => {}
                () = leadership.changed() => {}
                _ = tick.tick() => self.taints.0 |= self.deployed.has_changed().unwrap_or(false),
            }
            self.mark_changed();
            self.act();
        }
    }

    fn mark_changed(&mut self) {
        let (now, changed) = (Instant::now(), self.memory.changed());
        for id in &changed.applications {
            self.applications.mark(now, id);
        }
        for node in &changed.lost_nodes {
            self.lost.mark(now, node);
        }
        self.taints.0 |= changed.taints;
    }

    fn act(&mut self) {
        let (leads, complete) = (self.leadership.holds(), self.memory.complete());
        if leads && !self.led {
            // The previous leader may have stopped half-way: reconcile everything, and write what differs.
            let all: Vec<ApplicationId> =
                self.memory.applications().map(|view| view.application.id.clone()).collect();
            all.iter().for_each(|id| self.applications.mark(Instant::now(), id));
            self.taints.0 = true;
        }
        self.led = leads;
        let (states, nodes, texts) = self.memory.sizes();
        self.writer.metrics.now(|gauges| {
            (gauges.leader, gauges.complete) = (leads, complete);
            (gauges.states, gauges.nodes, gauges.texts) = (states, nodes, texts);
        });
        if !leads || !complete {
            return;
        }
        let now = Instant::now();
        for id in self.applications.take(now) {
            self.act_on_application(now, id);
        }
        for node in self.lost.take(now) {
            let objects = self.memory.answers_of_node(&node);
            if objects.is_empty() || self.memory.find_node(&node).is_some() {
                self.lost.forget(&node);
                continue;
            }
            let (writer, refused) = (self.writer.clone(), Finished::Lost(node.clone(), WriteOutcome::Failed));
            self.spawn(refused, async move {
                let written = reap(&writer, &node, objects).await;
                Finished::Lost(node, written.into())
            });
        }
        if self.taints.0 && now.saturating_duration_since(self.taints.1) >= PAUSE {
            self.taints = (false, now);
            self.decide_taints(now);
        }
        for node in self.marks.take(now) {
            self.act_on_taint(node);
        }
    }

    fn act_on_application(&mut self, now: Instant, id: ApplicationId) {
        let Some(view) = self.memory.view(&id) else {
            self.applications.forget(&id);
            self.deleting.remove(&id);
            self.rollouts.forget(&id);
            self.pace.forget(&id);
            self.writer.metrics.forget(&id.0);
            return;
        };
        let Round { aim, notes: of_rollout, waits, work } =
            self.rollouts.round(view, self.presence, now, self.clock.at(now));
        let mut plan = decide(view, aim, self.presence, Timestamp::now());
        let application = view.application.clone();
        self.writer.metrics.now(|gauges| gauges.summing_seconds = now.elapsed().as_secs_f64());
        let namespace = application.namespace.as_deref().unwrap_or_default();
        let name = [application.scope.application_kind(), namespace, &application.name];
        self.writer.metrics.application(&id.0, name, &plan.summary);
        let mut notes = plan.notes;
        notes.extend(of_rollout);
        if waits {
            // A soak or a deadline ends without a further event.
            self.applications.mark_at(now + PAUSE, &id);
        }
        if let Some(why) = plan.stuck {
            let since = *self.deleting.entry(id.clone()).or_insert(now);
            if now.saturating_duration_since(since) >= STUCK {
                notes.push(Note::warning("DeletionStuck", "deletion", why));
            }
            // The key is busy until `done` is called below, so this is the time of the next reconciliation.
            self.applications.mark_at(now + STUCK, &id);
        }
        if plan.status.is_some()
            && let Err(due) = self.pace.admit(now, &id, plan.summary.wanted, plan.only_counts)
        {
            plan.status = None;
            self.applications.mark_at(due, &id);
        }
        notes.retain(|note| self.limiter.admit(now, &id, note).is_ok());
        if plan.finalizers.is_none() && plan.status.is_none() && notes.is_empty() && work.is_empty() {
            self.applications.done(Instant::now(), &id);
            return;
        }
        let (writer, namespace) = (self.writer.clone(), self.namespace.clone());
        let refused = Finished::Application(id.clone(), None, RoundOutcome::default(), WriteOutcome::Failed);
        self.spawn(refused, async move {
            let (mut newest, mut outcome) = (application.clone(), RoundOutcome::default());
            let written = work
                .carry_out(&writer, &namespace, &mut newest, plan.finalizers, plan.status, &mut outcome)
                .await;
            if outcome.is_decided() {
                writer.write_events(&application, notes).await;
            }
            let newest = (newest.resource_version != application.resource_version).then(|| newest.into());
            Finished::Application(id, newest, outcome, written.into())
        });
    }

    fn decide_taints(&mut self, now: Instant) {
        self.deployed.mark_unchanged();
        let deployed = self.deployed.borrow().clone();
        let decisions: Vec<(SharedText, TaintDecision)> = match deployed.taints {
            Some(true) => decide_all(&self.memory, self.presence, |node| deployed.reach.takes(node)),
            Some(false) => decide_all(&self.memory, self.presence, |_| false),
            None => Vec::new(),
        };
        let tainted = self.memory.nodes().filter(|(_, node)| node.tainted).count();
        self.writer.metrics.now(|gauges| gauges.tainted = tainted);
        self.decisions = decisions.into_iter().collect();
        let nodes: Vec<SharedText> = self.decisions.keys().cloned().collect();
        nodes.iter().for_each(|node| self.marks.mark(now, node));
    }

    fn act_on_taint(&mut self, node: SharedText) {
        let Some(decision) = self.decisions.remove(&node) else {
            self.marks.forget(&node);
            return;
        };
        let (writer, refused) = (self.writer.clone(), Finished::Mark(node.clone(), WriteOutcome::Failed));
        self.spawn(refused, async move {
            let written = mark(&writer, &node, decision).await;
            Finished::Mark(node, written.into())
        });
    }

    fn spawn(&self, refused: Finished, act: impl Future<Output = Finished> + Send + 'static) {
        let (permits, leadership, out) =
            (self.permits.clone(), self.leadership.clone(), self.finished.0.clone());
        tokio::spawn(async move {
            let Ok(_permit) = permits.acquire().await else { return };
            let finished = if leadership.holds() { whole(act, refused).await } else { refused };
            _ = out.send(finished).await;
        });
    }

    fn finish(&mut self, finished: Finished) {
        let retry = Instant::now() + RETRY;
        match finished {
            Finished::Application(id, newest, outcome, written) => {
                if outcome.has_news() {
                    self.applications.mark(Instant::now(), &id);
                }
                self.rollouts.record(&id, outcome, Instant::now());
                if let Some(newest) = newest {
                    self.memory.written(*newest);
                }
                match written {
                    WriteOutcome::Done => {}
                    // The watch delivers the newer version and causes another reconciliation.
                    WriteOutcome::Outdated => self.applications.mark(Instant::now(), &id),
                    WriteOutcome::Failed => self.applications.mark_at(retry, &id),
                }
                self.applications.done(Instant::now(), &id);
            }
            Finished::Lost(node, written) => {
                if written != WriteOutcome::Done {
                    self.lost.mark_at(retry, &node);
                }
                self.lost.done(Instant::now(), &node);
            }
            Finished::Mark(node, written) => {
                self.taints.0 |= written != WriteOutcome::Done;
                self.marks.done(Instant::now(), &node);
            }
        }
    }
}

/// A write that panics counts as failed; otherwise its key would stay busy forever.
async fn whole<T>(act: impl Future<Output = T>, refused: T) -> T {
    std::panic::AssertUnwindSafe(act).catch_unwind().await.unwrap_or_else(|_| {
        error!("a write panicked; it is tried again");
        refused
    })
}

#[cfg(test)]
mod tests {
    use crate::controller::run::whole;

    #[tokio::test]
    async fn a_write_that_panics_counts_as_one_that_failed() {
        assert_eq!(whole(async { panic!("a defect") }, "failed").await, "failed");
        assert_eq!(whole(async { "done" }, "failed").await, "done");
    }
}
