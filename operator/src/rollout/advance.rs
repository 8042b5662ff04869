use bpfman_application::rollout::{PreflightVerdict, RolloutPhase, WaitsFor};

use super::command::RolloutCommand;
use super::count::Count;
use super::observation::NodeHealth;
use super::place;
use super::revision;
use super::trial;
use super::turn::RolloutTurn;

impl RolloutTurn<'_> {
    pub fn follow_spec(&mut self) {
        let spec = &self.seen.target;
        let is =
            |name: &Option<String>| name.as_deref().is_some_and(|name| revision::same_source(name, spec));
        let is_stable = is(&self.status.stable_revision);
        if is(&self.status.target_revision) {
            return;
        }
        let nothing_goes_out = self.status.target_revision.is_none();
        match self.status.stable_revision.clone() {
            Some(_) if is_stable && nothing_goes_out => self.status.failed_revision = None,
            Some(stable) if is_stable => self.revert(&stable),
            _ if nothing_goes_out && is(&self.status.failed_revision) => {}
            _ => self.start(),
        }
    }

    pub fn obey(&mut self) {
        let Some(given) = self.seen.command.filter(|given| given.number > self.status.command) else {
            return;
        };
        self.status.command = given.number;
        match given.command {
            RolloutCommand::Promote => self.promote(),
            RolloutCommand::Abort => self.abort(),
        }
    }

    fn promote(&mut self) {
        match self.status.phase {
            RolloutPhase::Soaking | RolloutPhase::AwaitingPromotion => self.next_wave(),
            RolloutPhase::Failed => {
                let count = self.count();
                self.status.tolerated = i32::try_from(count.failed + count.changing).unwrap_or(i32::MAX);
                self.status.preflight_waived = true;
                self.status.failed_revision = None;
                self.pin_by_members();
                self.take_as_it_is(&count);
            }
            RolloutPhase::Progressing if self.waits_for_away() => self.next_wave_without_away(),
            RolloutPhase::Idle | RolloutPhase::RollingBack if self.status.failed_revision.is_some() => {
                self.start()
            }
            _ => self.nothing_to("promote"),
        }
    }

    fn take_as_it_is(&mut self, count: &Count) {
        let wave = self.wave();
        if count.members >= count.after_wave(self.seen, wave) {
            return self.next_wave();
        }
        let message = format!("wave {wave} of {} goes on with what failed", self.status.waves);
        self.enter(RolloutPhase::Progressing, message);
    }

    fn abort(&mut self) {
        if self.status.target_revision.is_some() {
            self.go_back(format!("{} was aborted", self.target()));
        } else {
            self.nothing_to("abort");
        }
    }

    fn nothing_to(&mut self, word: &str) {
        let message =
            format!("nothing to {word}: the rollout is {:?}. {}", self.status.phase, self.status.message);
        self.events.push(super::decide::Event { reason: "NothingToDo", message, warning: true });
    }

    pub fn advance(&mut self) -> bool {
        let before = self.status.clone();
        match self.status.phase {
            RolloutPhase::Preflight
            | RolloutPhase::Progressing
            | RolloutPhase::Soaking
            | RolloutPhase::AwaitingPromotion
                if self.seen.rollout.paused =>
            {
                self.enter(RolloutPhase::Paused, "spec.rollout.paused is true".to_owned());
            }
            RolloutPhase::Preflight => self.preflight(),
            RolloutPhase::Progressing => self.progress(),
            RolloutPhase::Soaking => self.soak(),
            RolloutPhase::AwaitingPromotion => {
                if !self.too_many_failed() && !self.seen.rollout.manual {
                    self.next_wave();
                }
            }
            RolloutPhase::Paused if !self.seen.rollout.paused => self.resume(),
            RolloutPhase::RollingBack => self.come_back(),
            RolloutPhase::Paused | RolloutPhase::Failed | RolloutPhase::Idle => {}
        }
        self.status != before
    }

    fn resume(&mut self) {
        let (phase, wave) = match self.status.wave {
            0 => (RolloutPhase::Preflight, "the preflight".to_owned()),
            wave => (RolloutPhase::Progressing, format!("wave {wave} of {}", self.status.waves)),
        };
        self.enter(phase, format!("{wave} goes on"));
    }

    fn is_late(&self, seconds: u32) -> bool {
        let since = self.status.ordered_at.as_deref().max(self.status.since.as_deref());
        self.seen.now.is_past(since, seconds)
    }

    fn preflight(&mut self) {
        if self.count().reachable() == 0 {
            return;
        }
        if !self.has_preflight() {
            return self.next_wave();
        }
        let groups = trial::groups(self.seen, &self.status, &self.target());
        if let Some(why) = trial::failure(&groups) {
            self.status.preflight = trial::table(groups);
            return self.fail(&why);
        }
        let pending = groups.iter().find(|group| group.verdict == PreflightVerdict::Pending).cloned();
        self.status.preflight = trial::table(groups);
        match pending {
            Some(group) => self.wait_for_preflight(&group.node),
            None if self.seen.tagged && self.status.digest.is_none() => {
                let digest = trial::digest(self.seen, &mut self.status.preflight);
                match digest {
                    Some(digest) => self.pin(digest),
                    None => self.next_wave(),
                }
            }
            None => self.next_wave(),
        }
    }

    fn wait_for_preflight(&mut self, node: &str) {
        let target = self.target();
        let asked = self
            .seen
            .nodes
            .get(node)
            .and_then(|node| node.orders.preflight.as_deref())
            .is_some_and(|asked| revision::same_source(asked, &target));
        let seconds = self.seen.rollout.progress_deadline_seconds;
        if asked && self.is_late(seconds) {
            self.fail(&format!("node {node} did not answer the preflight within {seconds} s"));
        }
    }

    fn pin(&mut self, digest: String) {
        let target = revision::pinned(revision::source(&self.target()), &digest);
        self.status.target_revision = Some(target);
        self.status.digest = Some(digest);
    }

    fn pin_by_members(&mut self) {
        if !self.seen.tagged || self.status.digest.is_some() {
            return;
        }
        let target = self.target();
        let first = self
            .seen
            .nodes
            .values()
            .filter(|node| node.selected && node.has(&target) && node.progress() == NodeHealth::Healthy)
            .find_map(|node| node.digest.clone());
        if let Some(digest) = first {
            self.pin(digest);
        }
    }

    fn too_many_failed(&mut self) -> bool {
        let count = self.count();
        let too_many = count.failed > count.allowed(self.seen, self.status.tolerated);
        if too_many {
            self.fail(&count.failures());
        }
        too_many
    }

    fn progress(&mut self) {
        self.pin_by_members();
        if self.has_preflight() {
            let groups = trial::groups(self.seen, &self.status, &self.target());
            let why = trial::failure(&groups);
            trial::extend(&mut self.status.preflight, groups);
            if let Some(why) = why {
                return self.fail(&why);
            }
        }
        if self.too_many_failed() {
            return;
        }
        let count = self.count();
        let wave = self.wave();
        let amount = count.after_wave(self.seen, wave);
        if count.waits_for_away(amount) {
            return self.wait_for_away(&count);
        }
        if self.status.waits_for.take().is_some() {
            self.status.message = format!("wave {wave} of {} goes on", self.status.waves);
        }
        let full = count.members >= amount;
        let allowed = count.allowed(self.seen, self.status.tolerated);
        let seconds = self.seen.rollout.progress_deadline_seconds;
        let late = self.is_late(seconds);
        if full && (count.changing == 0 || (late && count.changing + count.failed <= allowed)) {
            let message =
                format!("wave {wave} of {}: {} nodes have to stay well", self.status.waves, count.members);
            self.enter(RolloutPhase::Soaking, message);
        } else if late && count.total > 0 && !self.are_nodes_back(&count) {
            self.fail(&late_because(&count, amount, seconds));
        }
    }

    fn waits_for_away(&self) -> bool {
        let count = self.count();
        count.waits_for_away(count.after_wave(self.seen, self.wave()))
    }

    /// Extends the deadline in large steps, because each one is a write of the status.
    fn wait_for_away(&mut self, count: &Count) {
        self.status.waits_for = Some(WaitsFor::NodesAway);
        self.status.message = format!(
            "wave {} of {} waits for nodes that are away: more than a first wave has ({} of {})",
            self.status.wave, self.status.waves, count.away, count.total
        );
        if self.is_late((self.seen.rollout.progress_deadline_seconds / 2).max(1)) {
            self.status.ordered_at = Some(self.seen.now.text());
        }
    }

    fn are_nodes_back(&self, count: &Count) -> bool {
        count.changing == 0 && place::has_next(self.seen, &self.status, &self.target(), self.has_preflight())
    }

    fn soak(&mut self) {
        if self.too_many_failed() {
            return;
        }
        let count = self.count();
        let allowed = count.allowed(self.seen, self.status.tolerated);
        let well = count.changing + count.failed <= allowed;
        if !well {
            self.status.healthy_since = None;
        } else if self.status.healthy_since.is_none() {
            self.status.healthy_since = Some(self.seen.now.text());
        }
        let soak = self.seen.rollout.soak_seconds;
        let soaked = well && self.seen.now.is_past(self.status.healthy_since.as_deref(), soak);
        let limit = soak.saturating_add(self.seen.rollout.progress_deadline_seconds);
        if soaked && count.unanswered == 0 {
            self.pass();
        } else if self.is_late(limit) {
            let why = if well {
                format!("{} nodes reported nothing about the gates within {limit} s", count.unanswered)
            } else {
                late_because(&count, count.members, limit)
            };
            self.fail(&why);
        }
    }

    fn pass(&mut self) {
        if self.seen.rollout.manual {
            let message =
                format!("wave {} of {} is through: promote or abort", self.status.wave, self.status.waves);
            self.enter(RolloutPhase::AwaitingPromotion, message);
            self.report("AwaitingPromotion", false);
        } else {
            self.next_wave();
        }
    }

    fn come_back(&mut self) {
        let stable = self.status.stable_revision.clone().unwrap_or_default();
        // A node that is absent or no longer selected must have the order, but its answer is not awaited.
        let back = self.seen.nodes.values().filter(|node| !node.is_fresh()).all(|node| {
            let answered = node.observed == node.orders.revision && node.health != NodeHealth::Pending;
            node.has(&stable) && (answered || !node.takes_part())
        });
        if back {
            let message = format!("{}, and are there", self.status.message);
            self.enter(RolloutPhase::Idle, message);
            self.report("RolledBack", false);
        }
    }
}

fn late_because(count: &Count, amount: usize, seconds: u32) -> String {
    if count.changing > 0 {
        let silent = count.silent.as_deref().unwrap_or_default();
        format!("{} of {amount} nodes did not answer within {seconds} s, first {silent}", count.changing)
    } else if count.failed > 0 {
        count.failures()
    } else {
        format!(
            "only {} of {amount} nodes could be changed within {seconds} s: {} nodes are not well, which is all that maxUnavailable allows, or wait for a preflight",
            count.members, count.unavailable
        )
    }
}
