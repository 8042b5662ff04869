//! `make bench-chain`: cost of a chain per packet, against every other way to run several programs on one hook.
//!
//! Machines are shared: all cases run interleaved, and the minimum of CPU times counts. Results go to
//! `target/bench/chain.json` and `chain.svg`. Environment: `BENCH_ROUNDS` (8), `BENCH_REPEATS` (2,000,000 runs per
//! sample by test-run), `BENCH_GROUPS` (comma-separated: `trivial`, `real`, `parsers`, `live`, `making`; default: all).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on ends")]
#![allow(dead_code, reason = "the oracle's loader has more than is measured")]

#[path = "../../tests/oracle/chain.rs"]
mod chain;
mod designs;
#[path = "../../tests/oracle/kernel/mod.rs"]
mod kernel;
mod live;
#[path = "../../tests/oracle/objects.rs"]
mod objects;
mod parsers;
mod plot;
mod results;
mod run;
mod sources;
#[path = "../../tests/oracle/together.rs"]
mod together;
#[path = "../../tests/oracle/type_tags.rs"]
mod type_tags;

fn main() {
    // `cargo test --all-targets` also starts this benchmark, with other arguments.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let machine = results::machine();
    let cases = run::all();
    results::write(&machine, &cases);
    let caption = format!(
        "{}, Linux {}; minimum of {} rounds",
        machine["cpu"].as_str().unwrap_or_default(),
        machine["kernel"].as_str().unwrap_or_default(),
        cases[0].samples.len()
    );
    let path = results::folder().join("chain.svg");
    std::fs::write(&path, plot::draw(&cases, &caption)).expect("the plot can be written");
    println!("plot: {}", path.display());
}
