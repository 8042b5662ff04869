//! Soak order: watches the gates of a rollout with the daemon's statistics of the application's links.
//!
//! Counters and timing of hooks are enabled for the soak. The state object lists the hooks first, so that a restarted
//! agent can restore them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bpfman_application::rollout::Gates;
use bpfman_application::state::node::{HealthAnswer, SwitchedHook};
use bpfman_apply::desired::WantedLink;
use bpfman_apply::failure::Unreachable;
use bpfman_apply::report::{LinkOutcome, ProgramReport, Report};
use bpfman_proto::ext::v1::{Hook, SetHookRequest, ShowChainRequest, ShowChainResponse};

use super::events;
use crate::agent::gates::{SlotFigures, Soak, evaluate};
use crate::agent::memory::application::{StateMemory, WriteMemory};
use crate::agent::node::composition::hook;
use crate::agent::objects::application::WantedApplication;
use crate::agent::objects::state::{StateObject, Status};
use crate::agent::shared::Shared;
use crate::agent::shared::ended::Stop;
use crate::agent::shared::write_status::{latest, write_status};
use bpfman_runtime::backoff::jittered;

const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(5);
/// Planned number of checks in a soak: a short one must not end before its first statistics are compared.
const CHECKS_IN_SOAK: u32 = 5;

const SAMPLE: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SoakHealth {
    answer: Option<HealthAnswer>,
    again: Option<Duration>,
    ended: bool,
}

impl SoakHealth {
    /// Stores the answer in a status if it is new or its verdict changed. Changed statistics alone cause no write.
    pub fn put(&self, status: &mut Status) {
        if self.ended {
            status.node.details.switched = Vec::new();
        }
        let Some(answer) = &self.answer else { return };
        let last = status.node.details.health.as_ref();
        if last.is_none_or(|last| last.revision != answer.revision || last.within != answer.within) {
            status.node.details.health = Some(answer.clone());
        }
    }

    /// Returns the time until the next check.
    #[must_use]
    pub const fn again(&self) -> Option<Duration> {
        self.again
    }
}

/// Checks the gates, if ordered and due; ends a soak that is not ordered any more.
pub async fn watch_gates(
    shared: &Shared,
    memory: &mut StateMemory,
    application: &WantedApplication,
    state: &StateObject,
    version: &str,
    report: &Report,
) -> Result<SoakHealth, Stop> {
    let ordered = state.orders.soak.as_deref().filter(|revision| *revision == version);
    let Some(revision) = ordered else {
        let ended = end(shared, memory, state).await?;
        return Ok(SoakHealth { ended, ..SoakHealth::default() });
    };
    let rollout = application.spec.as_ref().ok().and_then(|spec| spec.common.rollout.as_ref());
    let gates = rollout.and_then(|rollout| rollout.gates.clone()).unwrap_or_default();
    let soak_seconds = rollout.map_or(0, |rollout| rollout.soak_seconds);
    let interval =
        Duration::from_secs((soak_seconds / CHECKS_IN_SOAK).into()).clamp(MIN_INTERVAL, MAX_INTERVAL);
    let running = memory.soak.as_ref().filter(|soak| soak.revision == revision).cloned();
    if let Some(soak) = &running {
        let waited = soak.checked.elapsed();
        if waited < interval {
            return Ok(SoakHealth { again: Some(interval - waited), ..SoakHealth::default() });
        }
    }
    let hooks = hooks(report);
    // The hooks cannot be listed in a status before its first write, which follows this check.
    let Some(last) = &state.status else {
        return Ok(SoakHealth { again: Some(jittered(Duration::from_secs(1))), ..SoakHealth::default() });
    };
    let mut soak = running.unwrap_or_else(|| Soak::of(revision));
    soak.hooks.retain(|hook| hooks.contains(hook));
    let new: Vec<Hook> = hooks.iter().filter(|hook| !soak.hooks.contains(hook)).cloned().collect();
    soak.began.extend(begin(shared, &mut memory.writes, state, last, &new, &gates).await?);
    soak.hooks.extend(new);
    let now = figures(shared, &hooks, report).await?;
    let of_events = events::sample(shared, report, &gates, &mut soak.events, SAMPLE).await?;
    soak.checked = Instant::now();
    let slots: Vec<SlotFigures> = now
        .iter()
        .map(|(link, slot)| soak.began.get(link).map_or_else(|| slot.clone(), |began| slot.since(began)))
        .chain(of_events)
        .collect();
    let off = report.programs.iter().flat_map(|program| &program.links);
    let off = off.filter(|link| link.wanted.is_some() && link.status != LinkOutcome::Attached).count();
    let word = evaluate(&gates, &slots, off as u64);
    memory.soak = Some(soak);
    let answer = HealthAnswer { revision: revision.to_owned(), within: word.within, message: word.message };
    Ok(SoakHealth { answer: Some(answer), again: Some(jittered(interval)), ended: false })
}

fn noted(shared: &Shared, state: &StateObject) -> Vec<SwitchedHook> {
    let latest = latest(shared, &state.application, &state.name);
    latest.and_then(|state| Some(state.status.as_ref()?.node.details.switched.clone())).unwrap_or_default()
}

async fn begin(
    shared: &Shared,
    memory: &mut WriteMemory,
    state: &StateObject,
    last: &Status,
    hooks: &[Hook],
    gates: &Gates,
) -> Result<BTreeMap<u32, SlotFigures>, Stop> {
    let timed = gates.max_nanoseconds_per_run.is_some();
    let (mut began, mut to_switch) = (BTreeMap::new(), Vec::new());
    let mut switched = noted(shared, state);
    let before = switched.len();
    for hook in hooks {
        let Shown::Chain(chain) = show(shared, hook, Duration::ZERO).await? else { continue };
        if (timed && !chain.timing) || !chain.counters {
            to_switch.push((hook, chain.timing || timed));
            // A hook that is listed already has the settings from before an earlier soak.
            if !switched.iter().any(|noted| hook_of(noted) == *hook) {
                switched.push(note(hook, &chain));
            }
        }
        began.extend(slots(&chain, hook));
    }
    if switched.len() > before {
        // List the hooks before changing them, so that a later process can restore them.
        write_status(shared, memory, &state.application, &state.name, |before| {
            let mut new = before.unwrap_or(last).clone();
            new.node.details.switched = switched.clone();
            new
        })
        .await?;
    }
    for (hook, timing) in to_switch {
        switch(shared, hook, timing, true).await?;
        // A counter that was off could not be read before; it continues from its last value.
        if let Shown::Chain(chain) = show(shared, hook, Duration::ZERO).await? {
            began.extend(slots(&chain, hook));
        }
    }
    Ok(began)
}

/// Restores hooks that an agent changed for an application. Returns whether all are; the others stay listed.
pub async fn end(
    shared: &Shared,
    memory: &mut StateMemory,
    state: &StateObject,
) -> Result<bool, Unreachable> {
    let switched = noted(shared, state);
    let mut is_done = !switched.is_empty();
    for old in &switched {
        is_done &= switch(shared, &hook_of(old), old.timing, old.counters).await?;
    }
    memory.soak = None;
    Ok(is_done)
}

fn note(hook: &Hook, chain: &ShowChainResponse) -> SwitchedHook {
    SwitchedHook {
        kind: hook.kind.clone(),
        interface: hook.iface.clone(),
        direction: hook.direction.clone(),
        netns: hook.netns.clone(),
        timing: chain.timing,
        counters: chain.counters,
    }
}

fn hook_of(noted: &SwitchedHook) -> Hook {
    Hook {
        kind: noted.kind.clone(),
        iface: noted.interface.clone(),
        direction: noted.direction.clone(),
        netns: noted.netns.clone(),
    }
}

async fn switch(shared: &Shared, hook: &Hook, timing: bool, counters: bool) -> Result<bool, Unreachable> {
    let request = SetHookRequest {
        hook: Some(hook.clone()),
        timing: Some(timing),
        counters: Some(counters),
        ..SetHookRequest::default()
    };
    let Err(why) = shared.call("SetHook", shared.daemon.chains().set_hook(request)).await? else {
        return Ok(true);
    };
    if why.is_not_found() {
        return Ok(true);
    }
    tracing::warn!(hook = name(hook), why = why.failure().message, "its switches could not be set");
    Ok(false)
}

enum Shown {
    Chain(Box<ShowChainResponse>),
    Gone,
    Refused,
}

async fn show(shared: &Shared, hook: &Hook, sample: Duration) -> Result<Shown, Unreachable> {
    let sample_ms = u32::try_from(sample.as_millis()).unwrap_or(u32::MAX);
    let request = ShowChainRequest { hook: Some(hook.clone()), sample_ms };
    match shared.call("ShowChain", shared.daemon.chains().show_chain(request)).await? {
        Ok(shown) => Ok(Shown::Chain(Box::new(shown))),
        Err(why) => {
            let shown = if why.is_not_found() { Shown::Gone } else { Shown::Refused };
            tracing::warn!(hook = name(hook), why = why.failure().message, "its chain cannot be shown");
            Ok(shown)
        }
    }
}

async fn figures(
    shared: &Shared,
    hooks: &[Hook],
    report: &Report,
) -> Result<BTreeMap<u32, SlotFigures>, Unreachable> {
    let ours: Vec<u32> =
        report.programs.iter().flat_map(|program| &program.links).filter_map(|link| link.id).collect();
    let mut figures = BTreeMap::new();
    for hook in hooks {
        match show(shared, hook, SAMPLE).await? {
            Shown::Chain(chain) => {
                let mut own = slots(&chain, hook);
                own.retain(|(link, _)| ours.contains(link));
                // Losses are counted per chain: attribute them to one member only.
                own.iter_mut().skip(1).for_each(|(_, slot)| slot.lost = 0);
                figures.extend(own);
            }
            Shown::Refused => figures.extend(without_figures(report, hook)),
            Shown::Gone => {}
        }
    }
    Ok(figures)
}

fn without_figures(report: &Report, at: &Hook) -> Vec<(u32, SlotFigures)> {
    let links =
        report.programs.iter().flat_map(|program| program.links.iter().map(move |link| (program, link)));
    let here = links.filter(|(_, link)| link.wanted.as_ref().and_then(hook_of_link).as_ref() == Some(at));
    let slot = |program: &ProgramReport| SlotFigures {
        program: program.name.clone(),
        hook: name(at),
        ..SlotFigures::default()
    };
    here.filter_map(|(program, link)| Some((link.id?, slot(program)))).collect()
}

fn slots(shown: &ShowChainResponse, hook: &Hook) -> Vec<(u32, SlotFigures)> {
    let Some(chain) = &shown.chain else { return Vec::new() };
    let both = chain.members.iter().zip(&shown.members);
    both.map(|(member, view)| {
        let slot = SlotFigures {
            program: member.program_name.clone(),
            hook: name(hook),
            runs: view.runs,
            ended: view.ended.iter().map(|count| (count.verdict.clone(), count.packets)).collect(),
            proceed_on: member.proceed_on.clone(),
            nanoseconds: view.nanoseconds_per_run,
            is_timed: shown.timing || view.nanoseconds_per_run.is_some(),
            lost: shown.failed,
            is_of_events: false,
        };
        (member.link_id, slot)
    })
    .collect()
}

fn hooks(report: &Report) -> Vec<Hook> {
    let mut hooks: Vec<Hook> = Vec::new();
    let wanted =
        report.programs.iter().flat_map(|program| &program.links).filter_map(|link| link.wanted.as_ref());
    for hook in wanted.filter_map(hook_of_link) {
        if !hooks.contains(&hook) {
            hooks.push(hook);
        }
    }
    hooks
}

fn hook_of_link(link: &WantedLink) -> Option<Hook> {
    let (kind, direction, iface, netns) = hook(link.point.as_published())?;
    let of_link = Hook { kind: kind.to_owned(), iface, direction, netns: netns.unwrap_or_default() };
    (kind != "tcx").then_some(of_link)
}

fn name(hook: &Hook) -> String {
    let side = if hook.direction.is_empty() { String::new() } else { format!(":{}", hook.direction) };
    format!("{}:{}{side}", hook.kind, hook.iface)
}
