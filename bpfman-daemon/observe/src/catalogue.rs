//! All metrics of the daemon. `docs/metrics.md` is generated from this table.
//!
//! Labels have a bounded number of values: names of present programs, maps, applications and hooks; no growing numbers.

use bpfman_metrics::{Metric, MetricUnit, PROCESS_METRICS, SERIES_LEFT_OUT, metrics};

/// Labels of a program, with 12 digits of its image's or object's digest. Programs with equal labels share a series.
const PROGRAM: &[&str] = &["program", "type", "owner", "application", "digest"];
const MEMBER: &[&str] = &["hook", "program", "owner", "application"];
const VERDICT: &[&str] = &["hook", "program", "owner", "application", "verdict"];
const MAP: &[&str] = &["map", "type", "owner"];

metrics! {
    OWN_METRICS:
    BUILD = Metric::gauge("bpfman_build_info", &["version"], "1, with the version of the daemon.");
    DETACHED = Metric::gauge("bpfman_detached", &[], "1 while root has everything detached (break glass).");
    STORE_IN_DOUBT = Metric::gauge("bpfman_store_in_doubt", &[], "1 while it is unknown whether the last change is on disk; changes are refused.");
    RUN_STATISTICS = Metric::gauge("bpfman_run_statistics", &[], "1 while the kernel counts and times the runs of programs, which run metrics need.");
    RADAR = Metric::gauge("bpfman_radar", &["source"], "1, with what the radar sees by: `trampolines`, `tracepoints`, `polling` or `off`.");
    RADAR_EVENTS = Metric::counter("bpfman_radar_events", &[], "What others did with eBPF since the radar is on.");
    RADAR_LOST = Metric::counter("bpfman_radar_lost_events", &[], "Of these, what is known by its number alone.");
    RADAR_TOUCHES = Metric::counter("bpfman_radar_hook_touches", &[], "Times that others touched a hook of the daemon, as the radar saw it.");
    RUNTIME_UNREADABLE = Metric::gauge("bpfman_kernel_unreadable", &[], "1 if the kernel refused to tell of programs, chains and maps; their metrics are missing then.");
    SCRAPE = Metric::gauge("bpfman_metrics_gathering", &[], "How long the gathering before this one took.").of(MetricUnit::Seconds);

    PROGRAMS = Metric::gauge("bpfman_programs", PROGRAM, "Loaded programs of the daemon.");
    PROGRAM_MEMORY = Metric::gauge("bpfman_program_memory", PROGRAM, "Kernel memory of programs, without their maps.").of(MetricUnit::Bytes);
    PROGRAM_RUNS = Metric::counter("bpfman_program_runs", PROGRAM, "Runs of programs, as far as run statistics were on. What runs as a member of a chain is counted by bpfman_chain_member_packets_total.");
    PROGRAM_RUN_SECONDS = Metric::counter("bpfman_program_run", PROGRAM, "CPU time of these runs.").of(MetricUnit::Seconds);
    PROGRAM_MISSED = Metric::counter("bpfman_program_missed_runs", PROGRAM, "Events that programs missed, since they ran already on the same CPU (Linux 5.12 and later).");
    PROGRAM_IN_CHAINS = Metric::counter("bpfman_program_in_chains", PROGRAM, "CPU time of programs as members of chains, as far as run statistics and the timing of chains tell it.").of(MetricUnit::Seconds);
    LINKS = Metric::gauge("bpfman_links", &["type", "owner", "application"], "Places where programs of the daemon are attached.");
    PROGRAMS_LOST = Metric::gauge("bpfman_programs_lost", &[], "Programs that records name and the kernel does not have.");
    PROGRAMS_OF_OTHERS = Metric::gauge("bpfman_programs_of_others", &[], "Programs in the kernel that the daemon did not load.");
    PROGRAMS_OVER_LIMIT = Metric::gauge("bpfman_programs_over_cpu_limit", &[], "Programs that took more of a CPU in the last window than they may, and still run.");
    STRAYS = Metric::gauge("bpfman_strays", &[], "Links, programs and filters of the daemon that no record names.");

    MAPS = Metric::gauge("bpfman_maps", MAP, "Maps of programs of the daemon. The owner is `several` if programs of more than one use it.");
    MAP_MEMORY = Metric::gauge("bpfman_map_memory", MAP, "Kernel memory of maps, a minute old at most.").of(MetricUnit::Bytes);
    MAP_ENTRIES = Metric::gauge("bpfman_map_entries", MAP, "Entries of hash tables and LPM tries, counted beside scrapes at most every 30 seconds; maps with more than 65,536 entries or 16 MiB of them, or made for more than 1,048,576, are left out.");
    MAP_COUNTED_MOST_ENTRIES = Metric::gauge("bpfman_map_counted_max_entries", MAP, "Entries that the maps of bpfman_map_entries may have.");
    MAP_MOST_ENTRIES = Metric::gauge("bpfman_map_max_entries", MAP, "Entries that maps may have.");

    CHAIN_MEMBERS = Metric::gauge("bpfman_chain_members", &["hook", "mode", "strategy"], "Members of a hook's chain.");
    CHAIN_PROCEEDED = Metric::counter("bpfman_chain_proceeded_packets", &["hook"], "Packets for which every member of the chain proceeded.");
    CHAIN_FAILED = Metric::counter("bpfman_chain_failed_packets", &["hook"], "Packets that a tail call between parts of the chain lost.");
    CHAIN_SWAPS = Metric::counter("bpfman_chain_swaps", &["hook"], "Times that another program was put in the place of a hook's chain.");
    CHAIN_SWAP_SECONDS = Metric::counter("bpfman_chain_swap", &["hook"], "Time that the kernel took for these swaps.").of(MetricUnit::Seconds);
    MEMBER_PACKETS = Metric::counter("bpfman_chain_member_packets", MEMBER, "Packets that reached a member of a chain.");
    MEMBER_ENDED = Metric::counter("bpfman_chain_member_ended_packets", VERDICT, "Packets whose way through a chain ended at a member, by its verdict.");
    MEMBER_SHADOWED = Metric::counter("bpfman_chain_member_shadow_packets", VERDICT, "Verdicts of a member that is a shadow: none of them counted.");
    MEMBER_RUN = Metric::gauge("bpfman_chain_member_run", MEMBER, "Mean time of a run of a member, of the packets that were timed since the hook runs this chain.").of(MetricUnit::Seconds);
    HOOK_CHANGES = Metric::counter("bpfman_hook_changes", &[], "Links made, ended and swapped in the kernel, and filters.");
    HOOK_CHANGE_SECONDS = Metric::counter("bpfman_hook_change", &[], "Time of these changes.").of(MetricUnit::Seconds);
    HOOK_CHANGE_LONGEST = Metric::gauge("bpfman_hook_change_longest", &[], "The longest of these changes.").of(MetricUnit::Seconds);

    LOADS = Metric::counter("bpfman_loads", &["outcome"], "Loads and replacements: `loaded`, or the kind of failure.");
    VERIFIER = Metric::durations("bpfman_verifier", &["programs"], "Time of the kernel's verifier for one program: `accepted` and `refused` ones of loads, those of a `chain`.");
    VERIFIED_INSTRUCTIONS = Metric::counter("bpfman_verified_instructions", &[], "Instructions that the verifier processed for accepted programs of loads (Linux 5.16 and later).");
    LIMIT_ACTIONS = Metric::counter("bpfman_cpu_limit_actions", &["action"], "What was done with programs that took more of a CPU than they may: `warned`, `detached`, `took-back`.");

    IMAGE_LOADS = Metric::counter("bpfman_image_loads", &["outcome"], "Images that were asked for: `verified`, `unverified` where the policy lets them pass, or why not: `signature`, `denied`, `not-found`, `registry`, `malformed`, `too-large`, `internal`.");
    IMAGE_PULLS = Metric::counter("bpfman_image_pulls", &[], "Images whose content came from a registry.");
    IMAGE_PULLED = Metric::counter("bpfman_image_pulled", &[], "Content of images that came from registries.").of(MetricUnit::Bytes);

    DRIFT_FOUND = Metric::counter("bpfman_drift_found", &[], "What checks of hooks and links found lost or changed by others; what stays lost counts once.");
    DRIFT_MENDED = Metric::counter("bpfman_drift_mended", &[], "Of these, what was put back.");
    DRIFTED = Metric::gauge("bpfman_drifted", &["what"], "Hooks of chains and links that are lost or changed now, and are not back.");
    UNFINISHED = Metric::gauge("bpfman_unfinished_operations", &[], "Failed operations that could not be undone and are tried again.");
    REFUSED = Metric::counter("bpfman_refused_calls", &["call", "reason"], "Calls that were not done, by the reason that clients get.");

    POLICY_REFUSALS = Metric::counter("bpfman_policy_refusals", &["reason"], "Calls that policy.toml refused: `denied`, where a grant is missing, and `signature`, where an image is not vouched for.");

    JOURNAL_LAST = Metric::gauge("bpfman_journal_last_entry", &[], "Number of the newest entry of the history.");
    JOURNAL_ENTRIES = Metric::gauge("bpfman_journal_entries", &[], "Entries that the history has now.");
    JOURNAL_BYTES = Metric::gauge("bpfman_journal", &[], "Size of the history's files.").of(MetricUnit::Bytes);
    JOURNAL_MOST = Metric::gauge("bpfman_journal_limit", &[], "Most that the history's files may have.").of(MetricUnit::Bytes);
    JOURNAL_LOST = Metric::counter("bpfman_journal_lost_entries", &[], "Entries of the history that could not be written.");
    JOURNAL_SUPPRESSED = Metric::counter("bpfman_journal_suppressed_entries", &[], "Refusals that came too fast for entries of their own, and were counted.");
    JOURNAL_FAILING = Metric::gauge("bpfman_journal_failing", &[], "1 if the last entry of the history could not be written.");
    COMMITS = Metric::durations("bpfman_store_commit", &[], "Time until a change of the records is on disk.");
    LOCK_WAITS = Metric::durations("bpfman_lock_wait", &[], "How long a call waited for a program, hook or chain that another call was changing; who did not wait is not counted.");
}

/// Returns all metrics, including those of every process.
pub fn all_metrics() -> impl Iterator<Item = &'static Metric> {
    OWN_METRICS.iter().chain(&PROCESS_METRICS).copied().chain([&LEFT_OUT])
}

static LEFT_OUT: Metric = SERIES_LEFT_OUT;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_of_one_pattern() {
        let mut seen = BTreeSet::new();
        for metric in all_metrics() {
            let series = metric.series();
            assert!(series.starts_with("bpfman_") || series.starts_with("process_"), "{series}");
            assert!(series.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{series}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{series}");
            assert!(seen.insert(series), "{} is there twice", metric.name);
        }
    }

    #[test]
    fn the_page_has_the_table() {
        let page = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md"));
        let difference = bpfman_metrics::section_difference(page, "daemon", &crate::metrics_page());
        assert_eq!(difference.ok(), Some(None));
    }
}
