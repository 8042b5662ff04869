use bpfman_application::rollout::{OnFailure, Preflight, RolloutPhase, RolloutStatus};

use super::amounts;
use super::count::Count;
use super::decide::Event;
use super::observation::Observation;

pub struct RolloutTurn<'a> {
    pub seen: &'a Observation,
    pub status: RolloutStatus,
    pub events: Vec<Event>,
}

impl<'a> RolloutTurn<'a> {
    pub fn new(seen: &'a Observation) -> Self {
        let mut status = seen.status.clone();
        for written in [&mut status.since, &mut status.healthy_since, &mut status.ordered_at] {
            seen.now.not_after(written);
        }
        Self { seen, status, events: Vec::new() }
    }

    pub fn target(&self) -> String {
        self.status.target_revision.clone().unwrap_or_default()
    }

    pub fn wave(&self) -> usize {
        usize::try_from(self.status.wave).unwrap_or(0)
    }

    pub fn count(&self) -> Count {
        Count::of(self.seen, &self.target())
    }

    pub fn report(&mut self, reason: &'static str, warning: bool) {
        self.events.push(Event { reason, message: self.status.message.clone(), warning });
    }

    pub fn enter(&mut self, phase: RolloutPhase, message: String) {
        self.status.phase = phase;
        self.status.since = Some(self.seen.now.text());
        self.status.ordered_at = None;
        self.status.healthy_since = None;
        self.status.waits_for = None;
        self.status.message = message;
    }

    pub fn has_preflight(&self) -> bool {
        self.seen.rollout.preflight == Preflight::Always && !self.status.preflight_waived
    }

    pub fn start(&mut self) {
        self.status = RolloutStatus {
            target_revision: Some(self.seen.target.clone()),
            stable_revision: self.status.stable_revision.clone(),
            waves: number(amounts::waves(&self.seen.rollout)),
            command: self.status.command,
            ..RolloutStatus::default()
        };
        let message = format!("{} is going out", self.seen.target);
        self.enter(RolloutPhase::Preflight, message);
        self.report("RolloutStarted", false);
    }

    /// Starts the next wave that changes a node, or finishes; repeats the last wave if many nodes lack the revision.
    pub fn next_wave(&mut self) {
        self.next_of(self.count().lacks_many(self.seen));
    }

    pub fn next_wave_without_away(&mut self) {
        self.next_of(false);
    }

    fn next_of(&mut self, last_again: bool) {
        let count = self.count();
        let waves = amounts::waves(&self.seen.rollout);
        let wave = self.wave();
        let grows = |wave: &usize| count.after_wave(self.seen, *wave) > count.members;
        self.status.waves = number(waves);
        let again = last_again.then_some(waves);
        if let Some(next) = (wave + 1..=waves).find(grows).or(again) {
            let amount = count.after_wave(self.seen, next);
            self.status.wave = number(next);
            let message = format!("wave {next} of {waves}: {amount} of {} nodes", count.total);
            self.enter(RolloutPhase::Progressing, message);
            self.report("WaveStarted", false);
        } else {
            self.finish(&count);
        }
    }

    fn finish(&mut self, count: &Count) {
        let target = self.status.target_revision.take();
        self.status.wave = self.status.waves;
        self.status.failed_revision = None;
        // Keep the digest until the next start: the pinned revision may still have to be created.
        self.status.tolerated = 0;
        self.status.preflight_waived = false;
        let name = target.as_deref().unwrap_or_default();
        let message = match count.away {
            0 => format!("{name} is on all nodes"),
            away => format!("{name} is on all nodes but {away} that are away"),
        };
        self.enter(RolloutPhase::Idle, message);
        self.status.stable_revision = target;
        self.report("RolloutFinished", false);
    }

    pub fn fail(&mut self, why: &str) {
        let message = format!("{} failed in wave {}: {why}", self.target(), self.status.wave);
        match (self.seen.rollout.on_failure, self.status.wave) {
            // Nothing is attached yet: there is nothing to roll back.
            (_, 0) | (OnFailure::Pause, _) => self.stop(message),
            (OnFailure::Rollback, _) => self.go_back(message),
        }
    }

    fn stop(&mut self, message: String) {
        self.status.failed_revision = self.status.target_revision.clone();
        self.enter(RolloutPhase::Failed, message);
        self.report("RolloutFailed", true);
    }

    pub fn go_back(&mut self, message: String) {
        let Some(stable) = self.status.stable_revision.clone() else {
            return self.stop(format!(
                "{message}; there is no earlier revision to go back to: change the application, or promote"
            ));
        };
        self.status.failed_revision = self.status.target_revision.take();
        self.status.digest = None;
        self.enter(RolloutPhase::RollingBack, format!("{message}; all nodes go back to {stable}"));
        self.report("RollingBack", true);
    }

    pub fn revert(&mut self, stable: &str) {
        self.go_back(format!("the application is as it was in {stable}"));
        self.status.failed_revision = None;
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
