//! Metrics of the daemon: its actions, refusals and state.

use bpfman_metrics::{Exposition, MetricValue};
use bpfman_model::CountedDurations;
use bpfmand_kernel::Kernel;

use super::{DaemonParts, DaemonStates};
use crate::catalogue as is;

const POLICY: [&str; 2] = ["denied", "signature"];

pub fn add<K: Kernel>(samples: &mut Exposition, parts: &DaemonParts<K>, states: DaemonStates) {
    samples.add(&is::BUILD, [parts.version], 1);
    samples.add(&is::DETACHED, [], states.detached);
    samples.add(&is::RUN_STATISTICS, [], states.runs_counted);
    samples.add(&is::STORE_IN_DOUBT, [], !parts.engine.takes_changes());
    samples.add(&is::RADAR, [states.radar.source], 1);
    samples.add(&is::RADAR_EVENTS, [], states.radar.events);
    samples.add(&is::RADAR_LOST, [], states.radar.lost);
    samples.add(&is::RADAR_TOUCHES, [], states.radar.touches);
    add_work(samples, parts);
    add_standing(samples, parts);
    add_journal(samples, parts);
    for (outcome, count) in parts.images.outcomes() {
        samples.add(&is::IMAGE_LOADS, [outcome], count);
    }
    let (pulls, bytes) = parts.images.pulls();
    samples.add(&is::IMAGE_PULLS, [], pulls);
    samples.add(&is::IMAGE_PULLED, [], bytes);
    for (action, count) in parts.limits.all() {
        samples.add(&is::LIMIT_ACTIONS, [action], count);
    }
    // Present from the start: a counter that appears with its first count seems not to have grown.
    for reason in POLICY {
        samples.add(&is::POLICY_REFUSALS, [reason], 0);
    }
    for refused in parts.journal.refusals() {
        if POLICY.contains(&refused.reason.as_str()) {
            samples.add(&is::POLICY_REFUSALS, [&refused.reason], refused.count);
        }
        samples.add(&is::REFUSED, [&refused.verb, &refused.reason], refused.count);
    }
}

fn add_work<K: Kernel>(samples: &mut Exposition, parts: &DaemonParts<K>) {
    let work = parts.engine.work_done();
    for outcome in ["loaded", "kernel-refused"] {
        samples.add(&is::LOADS, [outcome], 0);
    }
    for (outcome, count) in work.loads {
        samples.add(&is::LOADS, [outcome], count);
    }
    for (programs, durations) in
        [("accepted", work.verified), ("refused", work.refused), ("chain", work.chain_programs)]
    {
        samples.add(&is::VERIFIER, [programs], buckets(durations));
    }
    samples.add(&is::VERIFIED_INSTRUCTIONS, [], work.instructions);
    samples.add(&is::COMMITS, [], buckets(work.commits));
    samples.add(&is::LOCK_WAITS, [], buckets(work.lock_waits));
    let changes = parts.engine.hook_changes();
    samples.add(&is::HOOK_CHANGES, [], changes.calls);
    samples.add(&is::HOOK_CHANGE_SECONDS, [], changes.total.as_secs_f64());
    samples.add(&is::HOOK_CHANGE_LONGEST, [], changes.longest.as_secs_f64());
}

fn add_standing<K: Kernel>(samples: &mut Exposition, parts: &DaemonParts<K>) {
    let (found, mended) = parts.engine.drift_counts();
    samples.add(&is::DRIFT_FOUND, [], found);
    samples.add(&is::DRIFT_MENDED, [], mended);
    let recorded = parts.engine.record_counts();
    samples.add(&is::DRIFTED, ["hooks"], recorded.drifted_hooks);
    samples.add(&is::DRIFTED, ["links"], recorded.drifted_links);
    samples.add(&is::STRAYS, [], recorded.strays);
    samples.add(&is::UNFINISHED, [], recorded.unfinished);
}

fn add_journal<K: Kernel>(samples: &mut Exposition, parts: &DaemonParts<K>) {
    let Some(standing) = parts.journal.standing() else { return };
    let entries = match standing.first {
        0 => 0,
        first => (standing.last + 1).saturating_sub(first),
    };
    samples.add(&is::JOURNAL_LAST, [], standing.last);
    samples.add(&is::JOURNAL_ENTRIES, [], entries);
    samples.add(&is::JOURNAL_BYTES, [], standing.bytes);
    samples.add(&is::JOURNAL_MOST, [], standing.most_bytes);
    samples.add(&is::JOURNAL_LOST, [], standing.lost);
    samples.add(&is::JOURNAL_SUPPRESSED, [], standing.suppressed);
    samples.add(&is::JOURNAL_FAILING, [], !standing.failure.is_empty());
}

fn buckets(durations: CountedDurations) -> MetricValue {
    MetricValue::Buckets(durations.counts, durations.total.as_secs_f64())
}
