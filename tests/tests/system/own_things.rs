//! Calls on a caller's own objects: the access checks must allow them.

use std::fs;
use std::process::Command;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::{Outcome, compile, kernel};

use crate::equipment::Program;
use crate::grants::load_as;
use crate::over_others::{Bench, EVE, id};

#[test]
fn user_with_a_scope_replaces_its_own_program() {
    let bench = Bench::new("allow = [\"load\", \"replace\"]\nscope = \"cgroup\"\n");
    let loaded = bench.load("probes", "tracepoint:on_tracepoint");
    let own = id(&loaded);
    let line = format!("replace {own} file -p {} -o json", bench.object("probes"));
    let new = bench.daemon.bpfman_as(EVE, &line).json()["program"]["program_id"].as_u64().unwrap();
    let back = bench.daemon.bpfman_as(EVE, &format!("replace {new} --rollback -q")).success();
    assert_eq!(back.trim(), own.to_string());
}

#[test]
fn grant_with_hooks_and_netns_updates_its_own_link() {
    let grant = format!("allow = [\"load\", \"attach\"]\nhooks = [\"xdp:{INTERFACE}\"]\nnetns = [\"any\"]\n");
    let bench = Bench::new(&grant);
    let own = load_as(&bench.daemon, EVE);
    let link = bench.attach_as(EVE, own, 20, "").json()["link_id"].to_string();
    bench.daemon.bpfman_as(EVE, &format!("update link {link} -p 30")).success();
    let shown = bench.chain();
    assert_eq!(shown["members"][1]["priority"], 30, "{shown}");
}

#[test]
fn own_map_is_handed_over_for_writing() {
    let bench = Bench::new("allow = [\"load\", \"attach\", \"maps-read\", \"maps-write\"]\n");
    let own = load_as(&bench.daemon, EVE);
    let hits = bench.map_of(own, "hits");
    let taker = bench.daemon.path("take_map");
    fs::copy(compile::executable("take_map"), &taker).unwrap();
    let write = |map: u32| {
        let user = EVE.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
        command.arg(&taker).arg(bench.daemon.socket()).arg(map.to_string()).args(["write", "17"]);
        Outcome::of(&mut command)
    };
    let written = write(hits);
    assert!(written.stdout.contains("update: ok"), "{written:?}");
    assert_eq!(kernel::array_value(hits, 0), 17);
    let roots = kernel::map_named(&bench.roots.maps, "hits");
    assert!(!write(roots).stdout.contains("update: ok"));
}

#[test]
fn maps_of_other_owners_are_shared_by_a_right_to_write_them() {
    let bench = Bench::new("allow = [\"load\"]\nover = \"all\"\n");
    let line = |owner: u32| {
        let path = bench.object("chain");
        format!("load file -p {path} --programs xdp:xdp_member --map-owner-id {owner}")
    };
    bench.daemon.bpfman_as(EVE, &line(bench.roots.id)).fails(4, &["maps-write", "the maps of program"]);
    let own = u32::try_from(load_as(&bench.daemon, EVE)).unwrap();
    bench.daemon.bpfman_as(EVE, &line(own)).success();

    let writes = format!("{}{}", "allow = [\"load\", \"maps-write\"]\n", "over = \"all\"\n");
    let bench = Bench::new(&writes);
    let path = bench.object("chain");
    let roots = Program::member(&bench.daemon.wire(), "xdp_member", Type::Xdp, 1, 2).id;
    let line = format!("load file -p {path} --programs xdp:xdp_member --map-owner-id {roots}");
    bench.daemon.bpfman_as(EVE, &line).success();
}
