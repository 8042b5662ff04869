//! Runs each target on its seeds, all earlier findings, and thousands of damaged inputs, the same in each run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bpfman_fuzz::{FuzzTarget, Programs, TARGETS, set_programs};

/// Time limit for damaged inputs of a target. Fast targets finish all rounds earlier.
const TIME: Duration = Duration::from_secs(1);
const ROUNDS: u64 = 1024;
/// Maximum length of an input in bytes; longer ones would mostly measure copying.
const MAX_INPUT: usize = 64 << 10;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn compile(name: &str) {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let [object, binary, source] = ["pass.o", "binary", "binary.c"].map(|file| built.join(file));
    std::fs::create_dir_all(&built).unwrap();
    let headers = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    run(Command::new("clang")
        .args(["-target", "bpf", "-O2", "-g", &headers, "-c"])
        .arg(folder().join("pass.bpf.c"))
        .arg("-o")
        .arg(&object));
    std::fs::write(
        &source,
        "int f(int a) { return a * 3 + 1; } int main(int n, char **v) { (void)v; return f(n); }\n",
    )
    .unwrap();
    run(Command::new("clang").arg("-O1").arg(&source).arg("-o").arg(&binary));
    set_programs(Programs { object, binary });
}

fn findings(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(files) = std::fs::read_dir(folder().join("findings").join(name)) else { return Vec::new() };
    files.map(|file| file.unwrap().path()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Pseudo-random numbers that depend only on the seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

fn damage(input: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len());
        let length = chance.below(9).min(bytes.len() - at);
        match chance.below(5) {
            0 => bytes.truncate(at),
            1 => {
                bytes.drain(at..at + length);
            }
            2 => bytes.splice(at..at, bytes[at..at + length].to_vec()).for_each(drop),
            3 => {
                let value = [0, 0xff, 0x7f, 0x80][chance.below(4)];
                bytes[at..at + length].fill(value);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = chance.below(256) as u8;
                }
            }
        }
    }
    bytes
}

fn play(name: &str) {
    compile(name);
    let target: &FuzzTarget = TARGETS.iter().find(|target| target.name == name).unwrap();
    let mut inputs = (target.seeds)();
    assert!(!inputs.is_empty(), "{name} has no seed");
    for (path, finding) in findings(name) {
        eprintln!("{}", path.display());
        (target.read)(&finding);
        inputs.push(finding);
    }
    inputs.iter().for_each(|seed| (target.read)(seed));
    inputs.retain(|input| input.len() <= MAX_INPUT);
    let began = Instant::now();
    let mut read = 0_u64;
    'rounds: for round in 0..ROUNDS {
        for (index, input) in inputs.iter().enumerate() {
            if began.elapsed() >= TIME {
                break 'rounds;
            }
            let number = round << 32 | index as u64;
            // The test runner prints it if the test fails.
            eprint!("{number:x} ");
            (target.read)(&damage(input, &mut Chance(number)));
            read += 1;
        }
    }
    eprintln!("\n{name}: {read} damaged inputs");
    assert!(read > 0, "{name}: nothing was read within {TIME:?}");
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test] fn $name() { play(stringify!($name)); })*
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

tests! {
    cni connections csi dispatchers evidence history images layers machine netlink objects policies readers records
    requests sessions values workers
}

#[test]
fn each_target_has_a_test_and_each_folder_of_findings_a_target() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(NAMES.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), targets);
    let folders = std::fs::read_dir(folder().join("findings")).unwrap();
    let folders: BTreeSet<_> = folders.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    assert!(folders.is_subset(&targets), "{folders:?}");
}
