//! Limits of grants: memory of maps, instructions, and calls a second.

use super::{ADA, Sessions, sessions_of};

fn limited(limits: &str) -> Sessions {
    sessions_of(&format!(
        "[[grants]]\nname = \"small\"\nusers = [{ADA}]\nallow = [\"raw\"]\nlimits = {{ {limits} }}\n"
    ))
}

fn map(name: &str, entries: u32) -> String {
    format!("bpftool map create /sys/fs/bpf/{name} type array key 4 value 4096 entries {entries} name {name}")
}

#[test]
fn maps_of_all_sessions_fit_the_memory_of_their_owner() {
    let daemon = limited("map_memory = \"1MiB\"");
    daemon.session_shell(ADA, &map("all", 256)).success();
    let refused = daemon.session_shell(ADA, &map("more", 257));
    refused.fails(255, &["Argument list too long", "limits.map_memory of the grant is 1048576 bytes"]);
    let both = format!("{} && {}", map("a", 200), map("b", 100));
    daemon.session_shell(ADA, &both).fails(255, &["beside 819200 bytes"]);
    let freed = format!("{} && rm /sys/fs/bpf/a && {}", map("a", 200), map("b", 200));
    daemon.session_shell(ADA, &freed).success();
    let denied = daemon.bpfman("history -o json").json().to_string();
    assert!(denied.contains("MAP_CREATE in session") && denied.contains("limits.map_memory"), "{denied}");
}

#[test]
fn program_of_more_instructions_is_refused() {
    let load = |daemon: &Sessions| {
        let object = daemon.readable(&bpfman_tests::compile::object("page_count")).display().to_string();
        daemon.session(ADA, &["bpftool", "prog", "load", &object, "/sys/fs/bpf/p"])
    };
    load(&limited("verified_instructions = 100000")).success();
    let refused = load(&limited("verified_instructions = 3"));
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("limits.verified_instructions of the grant is 3"), "{refused:?}");
}

#[test]
fn calls_beyond_the_rate_wait_and_succeed() {
    // Loading makes several calls, all within a second even on a slow machine.
    let daemon = limited("calls = 4");
    daemon.session(ADA, &["bpftool", "prog", "load", &daemon.object(), "/sys/fs/bpf/p"]).success();
    let waited = daemon.bpfman("history -o json").json().to_string();
    assert!(waited.contains("limits.calls of the grant is 4 a second"), "{waited}");
}

#[test]
fn programs_of_other_sessions_count() {
    let daemon = limited("programs = 2");
    let object = daemon.object();
    let go = daemon.path("go").display().to_string();
    let script = format!(
        "bpftool prog load {object} /sys/fs/bpf/p && bpftool prog load {object} /sys/fs/bpf/q && echo && while [ ! -e {go} ]; do sleep 0.05; done"
    );
    let mut command = daemon.session_command(ADA, &["sh", "-c", &script]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let page_count = daemon.readable(&bpfman_tests::compile::object("page_count")).display().to_string();
    let load = format!("bpftool prog load {page_count} /sys/fs/bpf/p");
    let refused = daemon.session_shell(ADA, &load);
    assert!(refused.stderr.contains("limits.programs = 2 of the grant"), "{refused:?}");
    std::fs::write(&go, "").unwrap();
    assert!(child.wait().unwrap().success());
    bpfman_tests::wait::until("the program of the other session is gone", || {
        daemon.session_shell(ADA, &load).code == 0
    });
}
