//! End-to-end cost of images: `bpfman load image` from a warm cache and with a cold pull, compared with `bpfman load
//! file`. All three include the start of the client and the kernel's verifier. Requires root, `docker-registry` and
//! `clang`.
//!
//!     cargo build --release -p bpfmand -p bpfman-worker -p bpfman
//!     BPFMAN_BIN_DIR=target/release cargo run -p bpfman-tests --example image-cost
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement ends at what it did not expect")]

use std::time::{Duration, Instant};

use bpfman_tests::registry::Registry;
use bpfman_tests::{Daemon, Launch, compile};

const ROUNDS: usize = 40;

fn main() {
    let registry = Registry::start();
    let mut daemon = Daemon::prepare();
    let prefix = daemon.path("key").display().to_string();
    daemon.bpfman(&format!("image generate-key-pair {prefix}")).success();
    let policy = format!("[[images]]\npattern = \"*\"\nkeys = [\"{prefix}.pub\"]\n");
    daemon.again(&Launch { policy, ..Launch::default() });
    let object = daemon.path("object.o");
    std::fs::write(&object, large_object()).unwrap();
    let image = registry.image("demo/measured:1");
    daemon.publish(&image, &object, &format!("{prefix}.key"));
    let object = object.display().to_string();

    // Alternate between the cases, so that varying load of the machine affects all equally.
    let (mut file, mut warm, mut cold, mut pull) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        pull.push(time(&daemon, &format!("image pull -i {image}")));
        daemon.bpfman("image prune").success();
        cold.push(load(&daemon, &format!("load image -i {image}")));
        warm.push(load(&daemon, &format!("load image -i {image}")));
        file.push(load(&daemon, &format!("load file -p {object}")));
        daemon.bpfman("image prune").success();
    }
    let file = report_times("load file", file);
    for (case, times) in [("load image, warm", warm), ("load image, cold", cold), ("image pull, cold", pull)]
    {
        let median = report_times(case, times);
        println!("{case}: {:+.1} ms over a file", (median - file) * 1000.0);
    }
}

/// Loads programs, and unloads them after the time was taken.
fn load(daemon: &Daemon, line: &str) -> Duration {
    let elapsed = time(daemon, &format!("{line} --programs xdp:xdp_member"));
    for id in daemon.bpfman("list programs -q").success().lines() {
        daemon.bpfman(&format!("unload {id}")).success();
    }
    elapsed
}

fn time(daemon: &Daemon, line: &str) -> Duration {
    let begun = Instant::now();
    let outcome = daemon.bpfman(line);
    let elapsed = begun.elapsed();
    outcome.success();
    elapsed
}

/// Prints the results, and returns the median in seconds.
fn report_times(case: &str, mut times: Vec<Duration>) -> f64 {
    times.sort();
    let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
    let median = &times[times.len() / 2];
    println!(
        "{case}: min {:.1}, median {:.1}, max {:.1} ms",
        ms(&times[0]),
        ms(median),
        ms(&times[times.len() - 1])
    );
    median.as_secs_f64()
}

/// Returns an object of about 100 kB that does not compress: random bytes follow the ELF file.
fn large_object() -> Vec<u8> {
    let mut bytes = std::fs::read(compile::object("chain")).unwrap();
    let mut state = 88_172_645_463_325_252_u64;
    while bytes.len() < 100_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}
