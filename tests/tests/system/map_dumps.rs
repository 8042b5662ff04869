//! `bpfman map dump` and `list` of large maps, and of maps with changing permissions.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use bpfman_tests::{Daemon, Outcome, compile};
use serde_json::json;

use crate::map_entries::{MapBench, READER};

/// Without this limit, a user could make the daemon search a map of maps of any size for each caller.
#[test]
fn too_large_map_of_maps_is_not_searched_and_reported() {
    let daemon = Daemon::start();
    let object = compile::object("typed_maps");
    let line = "--programs xdp:use_all --map-size outer=300000 -o json";
    daemon.bpfman(&format!("load file -p {} {line}", object.display())).success();
    let outcome = daemon.bpfman("map list -o json");
    assert!(outcome.stderr.contains("not all is listed"), "{outcome:?}");
    let listed = outcome.json();
    let maps = listed["maps"].as_array().unwrap();
    let outer = maps.iter().find(|map| map["name"] == "outer").unwrap();
    assert_eq!(listed["not_searched"], json!([outer["id"]]));
}

#[test]
fn a_dump_ends_when_its_grant_is_taken_away() {
    const ENTRIES: usize = 3_000_000;
    let bench = MapBench::new();
    let object = compile::object("typed_maps");
    let line = format!(
        "load file -p {} --programs xdp:use_all --map-size slots={ENTRIES} -o json",
        object.display()
    );
    let large = format!("{}:slots", bench.daemon.bpfman(&line).json()["programs"][0]["program_id"]);
    let mut command = bench.daemon.cli_command_as(READER, READER);
    command.args(["map", "dump", &large]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut dump = command.spawn().unwrap();
    // The dump has begun, and blocks until its output is read.
    let mut answer = BufReader::new(dump.stdout.take().unwrap());
    let mut first = String::new();
    answer.read_line(&mut first).unwrap();
    assert_eq!(first, "0 = 0\n");
    std::fs::write(bench.daemon.path("policy.toml"), "").unwrap();
    let lines = answer.lines().count();
    let mut said = String::new();
    dump.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(dump.wait().unwrap().code(), Some(4), "{said}");
    assert!(said.contains("may not") && lines < ENTRIES, "{lines}: {said}");
}

/// The number of entries requires several reads.
#[test]
fn many_entries_are_dumped_each_once() {
    let daemon = Daemon::start();
    let object = compile::object("typed_maps");
    let line =
        format!("load file -p {} --programs xdp:use_all --map-size slots=300000 -o json", object.display());
    let large = format!("{}:slots", daemon.bpfman(&line).json()["programs"][0]["program_id"]);
    let dumped = daemon.cli(&["map", "dump", &large, "-o", "json"]).json();
    let entries = dumped["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 300_000);
    assert!(entries.iter().zip(0_u64..).all(|(entry, number)| entry["key"] == number));
    let mut gone = Command::new("sh");
    let script = "bpfman map dump \"$0\" | head -1"
        .replace("bpfman", daemon.cli_command().get_program().to_str().unwrap());
    gone.args(["-c", &script, &large]).env("BPFMAN_SOCKET_PATH", daemon.socket());
    assert_eq!(Outcome::of(&mut gone).success(), "0 = 0\n");
}
