//! Limits and scope of grants, and permission to act for applications.

use std::process::Command;

use bpfman_tests::network::INTERFACE;
use bpfman_tests::{Daemon, Launch, Network, Outcome};

use crate::grants::{daemon, load_as};

const ADA: u32 = 64_203;
const AGENT: u32 = 64_204;

fn grant(more: &str) -> String {
    format!(
        "[files]\nusers = [0, {ADA}, {AGENT}]\n\
         [[grants]]\nname = \"network\"\nusers = [{ADA}]\nallow = [\"all\"]\n{more}\n"
    )
}

#[test]
fn grant_limits_apply_to_programs_and_links() {
    let limits = "limits = { programs = 2, links = 1, map_memory = \"64MiB\" }";
    let (daemon, network) = (daemon(grant(limits)), Network::new());
    let far = network.far.path().display().to_string();
    let programs = [load_as(&daemon, ADA), load_as(&daemon, ADA)];
    let before = daemon.state();
    let line =
        format!("load file -p {} --programs xdp:xdp_member", daemon.path(format!("own-{ADA}.o")).display());
    daemon.bpfman_as(ADA, &line).fails(6, &["grant:network has 2 programs", "limits.programs"]);
    assert_eq!(daemon.state(), before);
    let attach = |program: u64| format!("attach {program} xdp -i {INTERFACE} -p 10 -n {far}");
    daemon.bpfman_as(ADA, &attach(programs[0])).success();
    daemon.bpfman_as(ADA, &attach(programs[1])).fails(6, &["has 1 links", "limits.links"]);
    daemon.bpfman(&attach(programs[1])).success();
    drop(daemon);
    let small = crate::grants::daemon(grant("limits = { map_memory = \"16\" }"));
    let path = small.path("own.o");
    std::fs::copy(bpfman_tests::compile::object("chain"), &path).unwrap();
    std::os::unix::fs::chown(&path, Some(ADA), Some(ADA)).unwrap();
    let line = format!("load file -p {} --programs xdp:xdp_member", path.display());
    small.bpfman_as(ADA, &line).fails(6, &["maps"]);
    small.bpfman(&line).success();
}

#[test]
fn verifier_limit_of_a_grant_applies_and_excess_leaves_nothing() {
    let daemon = daemon(grant("limits = { verified_instructions = 20 }"));
    let path = daemon.path("own.o");
    std::fs::copy(bpfman_tests::compile::object("chain"), &path).unwrap();
    std::os::unix::fs::chown(&path, Some(ADA), Some(ADA)).unwrap();
    let before = daemon.state();
    let load = |program: &str| format!("load file -p {} --programs xdp:{program}", path.display());
    let says = ["instructions", "20", "hint: ", "limits.verified_instructions"];
    daemon.bpfman_as(ADA, &load("xdp_member")).fails(6, &says);
    assert_eq!(daemon.state(), before);
    let small = daemon.path("small.o");
    std::fs::copy(bpfman_tests::compile::object("broken"), &small).unwrap();
    std::os::unix::fs::chown(&small, Some(ADA), Some(ADA)).unwrap();
    let own = format!("load file -p {} --programs xdp:sound -o json", small.display());
    let own = daemon.bpfman_as(ADA, &own).json();
    let id = &own["programs"][0]["program_id"];
    let before = daemon.state();
    let replace = |name: &str| format!("replace {id} file -p {} --name {name}", path.display());
    daemon.bpfman_as(ADA, &replace("xdp_member")).fails(6, &says);
    assert_eq!(daemon.state(), before);
    daemon.bpfman(&replace("xdp_member")).success();
    let whoami = daemon.bpfman_as(ADA, "whoami");
    assert!(whoami.stdout.contains("limits.verified_instructions = 20"), "{}", whoami.stdout);
}

#[test]
fn a_grant_for_ones_own_network_namespace_counts_for_no_other() {
    let (daemon, network) = (daemon(grant("netns = [\"own\"]")), Network::new());
    let far = network.far.path().display().to_string();
    let program = load_as(&daemon, ADA);
    let attach = format!("attach {program} xdp -i {INTERFACE} -p 10 -n {far}");
    daemon.bpfman_as(ADA, &attach).fails(4, &["\"netns\""]);
    // A name that the user controls may lead elsewhere a moment later.
    let alias = daemon.path("netns");
    std::os::unix::fs::symlink(network.far.path(), &alias).unwrap();
    let inside = |line: &str| {
        let name = network.far.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &name,
            "setpriv",
            "--reuid",
            &ADA.to_string(),
            "--clear-groups",
            "--",
        ]);
        command.arg(daemon.path("client")).args(line.split_whitespace());
        Outcome::of(command.env("BPFMAN_SOCKET_PATH", daemon.socket()).env("HOME", daemon.path("")))
    };
    let by_alias = format!("attach {program} xdp -i {INTERFACE} -p 10 -n {}", alias.display());
    inside(&by_alias).fails(4, &["\"netns\""]);
    inside(&format!("attach {program} xdp -i lo -p 10")).fails(4, &["\"netns\""]);
    inside(&attach).success();
}

#[test]
fn user_cannot_impersonate_an_application() {
    let policy = grant("applications = [\"shop/*\"]");
    let flags = vec![format!("--node-agent-user={AGENT}")];
    let daemon = Daemon::start_with(&Launch { policy, flags, ..Launch::default() });
    daemon.open_to_users();
    let (own, agents) = (load_as(&daemon, ADA), load_as(&daemon, AGENT));
    let load = |user: u32, metadata: &[&str]| {
        let path = daemon.path(format!("own-{user}.o")).display().to_string();
        let mut words = vec!["load", "file", "-p", &path, "--programs", "xdp:xdp_member", "-o", "json"];
        metadata.iter().for_each(|pair| words.extend(["-m", pair]));
        daemon.cli_as(user, user, &words)
    };
    let before = daemon.state();
    for claim in [
        &["bpfman.io/ProgramNamespace=bank", "bpfman.io/ProgramName=filter"][..],
        &["bpfman.io/ProgramName=filter"],
        &["bpfman.io/uuid=1-2"],
    ] {
        load(ADA, claim).fails(4, &["\"applications\""]);
    }
    assert_eq!(daemon.state(), before);
    let shop = ["bpfman.io/ProgramNamespace=shop", "bpfman.io/ProgramName=filter", "bpfman.io/uuid=1-2"];
    let id = load(ADA, &shop).json()["programs"][0]["program_id"].to_string();
    let owner = |id: &str| daemon.bpfman(&format!("get program {id} -o json")).json()["owner"].clone();
    assert_eq!(owner(&id), "application:shop/filter");
    let bank = ["bpfman.io/ProgramNamespace=bank", "bpfman.io/ProgramName=filter", "bpfman.io/uuid=1-3"];
    let banks = load(AGENT, &bank).json()["programs"][0]["program_id"].to_string();
    assert_eq!(
        (owner(&banks), owner(&agents.to_string())),
        ("application:bank/filter".into(), "grant:node-agent".into())
    );
    let mut words = vec!["load".to_owned(), "file".to_owned(), "-p".to_owned()];
    words.push(daemon.path(format!("own-{AGENT}.o")).display().to_string());
    words.extend(["--programs", "xdp:xdp_member", "--map-owner-id", &id].map(str::to_owned));
    bank.iter().for_each(|pair| words.extend(["-m".to_owned(), (*pair).to_owned()]));
    let refused = daemon.cli_as(AGENT, AGENT, &words);
    refused
        .fails(4, &["application:bank/filter may not use the maps of a program of application:shop/filter"]);
    daemon.bpfman_as(ADA, &format!("unload {banks}")).fails(4, &["\"over\""]);
    daemon.bpfman_as(AGENT, &format!("unload {own}")).fails(4, &["\"over\""]);
    daemon.bpfman_as(AGENT, &format!("unload {id}")).success();
}
