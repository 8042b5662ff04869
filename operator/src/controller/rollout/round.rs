//! One round of a rollout: from the controller's memory to the changes to write.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use bpfman_application::orders::NodeOrders;
use bpfman_application::rollout::{RolloutPhase, RolloutStatus};
use serde_json::Value;

use super::observe::{NodeView, nodes};
use super::orders::{NodeOrder, UnseenOrders, write};
use super::revisions::{KnownRevisions, RevisionObjects};
use crate::controller::decide::summarize::{ComparedRevision, Presence};
use crate::controller::memory::View;
use crate::controller::projection::text::SharedText;
use crate::controller::projection::{ApplicationId, TrackedApplication};
use crate::controller::write::act::{ApiWriter, WriteOutcome};
use crate::rollout::command::{ReadCommand, forget, read_command};
use crate::rollout::{Observation, UnixSeconds, clear, decide, revision};
use bpfman_runtime::note::Note;

/// Maximum number of orders in one round: a new command must not wait for thousands of obsolete orders.
const BATCH: usize = 256;

/// State of rollouts that the controller keeps beside its memory. All of it can be rebuilt.
#[derive(Debug, Default)]
pub struct Rollouts {
    unseen: UnseenOrders,
    known: HashMap<ApplicationId, KnownRevisions>,
}

/// Decisions about one application.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Revision that nodes should run after this round.
    pub aim: ComparedRevision,
    pub notes: Vec<Note>,
    /// True if time alone may change the result, so that the application must be reconciled again soon.
    pub waits: bool,
    /// Changes to write.
    pub work: Work,
}

/// Changes to write beside the status.
#[derive(Clone, Debug, Default)]
pub struct Work {
    unknown: Option<BTreeSet<String>>,
    command_patch: Option<Value>,
    pinned: Option<(String, String)>,
    known: Option<KnownRevisions>,
    orders: Vec<NodeOrder>,
}

#[derive(Debug, Default)]
pub struct RoundOutcome {
    known: Option<KnownRevisions>,
    orders: Vec<(SharedText, NodeOrders)>,
    more: bool,
    decided: bool,
}

impl RoundOutcome {
    /// Returns whether another round can decide more: revisions were listed or created, or orders are left.
    #[must_use]
    pub const fn has_news(&self) -> bool {
        self.known.is_some() || self.more
    }

    /// Returns whether the status was written, so that events can be published even if orders failed.
    #[must_use]
    pub const fn is_decided(&self) -> bool {
        self.decided
    }
}

impl Work {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unknown.is_none()
            && self.command_patch.is_none()
            && self.pinned.is_none()
            && self.orders.is_empty()
    }

    /// Accepts the command and writes revisions. Precedes the status, whose write changes the decided
    /// version.
    async fn prepare(
        &self,
        writer: &ApiWriter,
        namespace: &str,
        application: &mut TrackedApplication,
        outcome: &mut RoundOutcome,
    ) -> Result<(), WriteOutcome> {
        if let Some(patch) = &self.command_patch {
            *application = writer.annotate(application, patch).await?;
        }
        let revisions = RevisionObjects::new(&writer.client, namespace, application);
        if let Some(needed) = &self.unknown {
            outcome.known = Some(writer.record_result("revision", revisions.know(needed).await)?);
        }
        if let (Some((name, digest)), Some(known)) = (&self.pinned, &self.known) {
            let mut known = known.clone();
            writer.record_result("revision", revisions.pin(&mut known, name, digest).await)?;
            outcome.known = Some(known);
        }
        Ok(())
    }

    /// Writes command, revisions, finalizers, status and orders, up to the first failure; updates `application`.
    pub async fn carry_out(
        mut self,
        writer: &ApiWriter,
        namespace: &str,
        application: &mut TrackedApplication,
        finalizers: Option<Vec<String>>,
        status: Option<Value>,
        outcome: &mut RoundOutcome,
    ) -> Result<(), WriteOutcome> {
        self.prepare(writer, namespace, application, outcome).await?;
        writer.application(application, finalizers, status).await?;
        outcome.decided = true;
        outcome.more = self.orders.len() > BATCH;
        self.orders.truncate(BATCH);
        let (orders, written) = write(writer, application, self.orders).await;
        outcome.orders = orders;
        written
    }
}

impl Rollouts {
    /// Decides about one application. `moment` is the API server's time.
    pub fn round(&mut self, view: View<'_>, presence: Presence, now: Instant, moment: UnixSeconds) -> Round {
        let application = view.application;
        if application.deleting {
            let aim = ComparedRevision::of(application.typed_status().rollout);
            return Round { aim, ..Round::default() };
        }
        let mut seen = nodes(view, presence);
        self.unseen.lay_over(&application.id, &mut seen, now);
        let Some(rollout) = application.rollout.clone() else {
            let orders = seen.iter().map(|(name, seen)| (name.clone(), seen.node.orders.clone())).collect();
            let (word, patch) = forget(&application.annotations).unzip();
            let notes = word.flatten().map(|word| {
                let text =
                    format!("`{word}` in bpfman.io/rollout has nothing to act on: there is no spec.rollout");
                Note::warning("NoRollout", &word, text)
            });
            let command_patch = patch.map(|patch| at_version(patch, application));
            return Round {
                notes: notes.into_iter().collect(),
                work: Work { command_patch, orders: place(&seen, clear(&orders)), ..Work::default() },
                ..Round::default()
            };
        };
        let mut status = application.typed_status().rollout.unwrap_or_default();
        let known =
            self.known.get(&application.id).filter(|known| known.generation == application.generation);
        let Some(known) = known.cloned() else {
            let unknown = Some(needed(&status, &seen));
            return Round {
                aim: ComparedRevision::Unknown,
                work: Work { unknown, ..Work::default() },
                ..Round::default()
            };
        };
        let mut notes = Vec::new();
        if let Some(lost) = status.stable_revision.take_if(|stable| !known.names.contains(stable)) {
            let text = format!(
                "the revision {lost} was deleted: there is nothing to go back to until the next one is stable"
            );
            notes.push(Note::warning("RevisionLost", &lost, text));
        }
        let command = read_command(Some(&application.annotations), status.command);
        let (command_patch, command) = match command {
            ReadCommand::Last(command) => (None, command),
            ReadCommand::Take(patch) => (Some(at_version(patch, application)), None),
            ReadCommand::Refuse { word, patch } => {
                let text = format!("`{word}` in bpfman.io/rollout is no command: it is `promote` or `abort`");
                notes.push(Note::warning("UnknownCommand", &word, text));
                (Some(at_version(patch, application)), None)
            }
        };
        let observation = Observation {
            now: moment,
            target: known.target.clone(),
            tagged: revision::is_tagged(&known.data),
            rollout,
            status,
            command,
            nodes: seen.iter().map(|(name, seen)| (name.clone(), seen.node.clone())).collect(),
        };
        let decision = decide(&observation);
        notes.extend(decision.events.into_iter().map(|event| Note {
            warning: event.warning,
            reason: event.reason.to_owned(),
            cause: event.message.clone(),
            text: event.message,
        }));
        let status = decision.status;
        let current = status.target_revision.as_ref().or(status.stable_revision.as_ref());
        let pinned = current.cloned().zip(status.digest.clone());
        let pinned = pinned.filter(|(name, _)| !known.names.contains(name));
        let waits = matches!(
            status.phase,
            RolloutPhase::Preflight | RolloutPhase::Progressing | RolloutPhase::Soaking
        );
        let work = Work {
            unknown: None,
            command_patch,
            pinned,
            known: Some(known),
            orders: place(&seen, decision.orders),
        };
        Round { aim: ComparedRevision::of(Some(status)), notes, waits, work }
    }

    pub fn record(&mut self, id: &ApplicationId, outcome: RoundOutcome, now: Instant) {
        self.unseen.written(id, outcome.orders, now);
        if let Some(known) = outcome.known {
            self.known.insert(id.clone(), known);
        }
    }

    pub fn forget(&mut self, id: &ApplicationId) {
        self.unseen.forget(id);
        self.known.remove(id);
    }
}

fn place(seen: &BTreeMap<String, NodeView>, orders: BTreeMap<String, NodeOrders>) -> Vec<NodeOrder> {
    let with_object = orders.into_iter().filter_map(|(name, orders)| Some((seen.get(&name)?, orders)));
    with_object.map(|(seen, orders)| NodeOrder::new(seen, orders)).collect()
}

/// Adds the resource version to a patch, so that no concurrent command is lost.
fn at_version(mut patch: Value, application: &TrackedApplication) -> Value {
    patch["metadata"]["resourceVersion"] = application.resource_version.clone().into();
    patch
}

fn needed(status: &RolloutStatus, seen: &BTreeMap<String, NodeView>) -> BTreeSet<String> {
    let of_status = [&status.stable_revision, &status.target_revision, &status.failed_revision];
    let of_nodes = seen.values().flat_map(|seen| [&seen.node.orders.revision, &seen.node.observed]);
    of_status.into_iter().chain(of_nodes).flatten().cloned().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
