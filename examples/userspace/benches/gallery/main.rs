//! `make bench-gallery`: benchmarks of the examples, compared with the tools that they replace.
//!
//! Each example's file creates [`Contender`](contender::Contender)s, which a [`Report`] measures in turns. Environment:
//! `BENCH_ENTRIES` (default all), `BENCH_ROUNDS` (default 6). Results: `target/bench/gallery-<entry>.json` and `.svg`.

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

type Entry = (&'static str, fn(&mut Report));

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
    // `cargo test --all-targets` runs this target too, with other arguments; measure nothing then.
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
