//! `make bench-gallery`: entries of the gallery beside what they replace.
//!
//! A file an entry: it makes [`Contender`](contender::Contender)s and has a [`Report`] measure them in turns. Environment:
//! `BENCH_ENTRIES` (words; all), `BENCH_ROUNDS` (6). Results go to `target/bench/gallery-<entry>.json` and `gallery-<entry>-<group>.svg`. It uses the
//! binaries beside it, of the same profile, with the equipment of the tests.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on ends")]

mod balancer;
mod chain;
mod contender;
mod conversation;
mod egress;
#[path = "../../tests/gallery/equipment.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod equipment;
mod firewall;
mod flows;
mod live_frames;
mod ordered;
mod plot;
mod pods;
mod profiler;
mod report;
mod shortcut;
mod switch;
mod tls;
mod watchdog;

use report::Report;

/// Name and benchmark of an entry.
type Entry = (&'static str, fn(&mut Report));

/// All of them.
const ENTRIES: &[Entry] = &[
    ("balancer", balancer::run),
    ("chain", chain::run),
    ("egress", egress::run),
    ("firewall", firewall::run),
    ("flows", flows::run),
    ("ipvs", balancer::run_beside_ipvs),
    ("pods", pods::run),
    ("profiler", profiler::run),
    ("shortcut", shortcut::run),
    ("switch", switch::run),
    ("tls", tls::run),
    ("watchdog", watchdog::run),
];

fn main() {
    // `cargo test --all-targets` runs it too, with arguments of its own, and wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let wanted = std::env::var("BENCH_ENTRIES").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split_whitespace().collect();
    for name in &wanted {
        let known: Vec<&str> = ENTRIES.iter().map(|(entry, _)| *entry).collect();
        assert!(known.contains(name), "unknown entry {name}: expected {}", known.join(", "));
    }
    let rounds =
        std::env::var("BENCH_ROUNDS").map_or(6, |text| text.parse().expect("BENCH_ROUNDS is a number"));
    assert!(rounds > 0, "BENCH_ROUNDS is more than 0");
    for &(entry, run) in ENTRIES {
        if wanted.is_empty() || wanted.contains(&entry) {
            run(&mut Report::new(entry, rounds));
        }
    }
}
