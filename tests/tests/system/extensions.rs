//! Extensions (`freplace`) on the command line.

use std::fs;
use std::os::unix::fs::chown;

use bpfman_tests::network::INTERFACE;
use bpfman_tests::skip::lacks;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, compile};

use crate::grants;

const ADA: u32 = 64_211;
const BOB: u32 = 64_212;

fn load(daemon: &Daemon, program: &str) -> u32 {
    let object = compile::object("extended").display().to_string();
    let id = daemon.bpfman(&format!("load file -p {object} --programs {program} -q")).success();
    id.trim().parse().unwrap()
}

#[test]
fn an_extension_lives_as_other_programs_do() {
    let lacks = lacks("freplace", "sample_fentry", "an_extension_lives_as_other_programs_do");
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let far = network.far.path().display().to_string();
    let traffic = Traffic::new(&network);
    let filter = load(&daemon, "xdp:filter");
    daemon.bpfman(&format!("attach {filter} xdp -i {INTERFACE} -p 50 -n {far}")).success();
    let object = compile::object("extended").display().to_string();
    let line = |target: &str| format!("load file -p {object} --programs freplace:drops{target} -q");
    let before = daemon.state();
    daemon.bpfman(&line("")).fails(2, &["freplace:FUNCTION:PROGRAM_ID[:FUNCTION]"]);
    if lacks {
        let refused = daemon.bpfman(&line(&format!(":{filter}")));
        refused.fails(6, &["lets no program take the place of another's function"]);
        assert_eq!(daemon.state(), before);
        return;
    }
    daemon.bpfman(&line(&format!(":{filter}:none"))).fails(5, &["no function \"none\"", "filter, limit"]);
    assert_eq!(daemon.state(), before);
    let drops = load(&daemon, &format!("freplace:drops:{filter}"));
    let link = daemon.bpfman(&format!("attach {drops} freplace -o json")).json();
    assert_eq!((&link["type"], &link["program_id"]), (&"freplace".into(), &drops.into()));
    assert_eq!(traffic.send(3), 0);
    let id = &link["link_id"];
    let shown = daemon.bpfman(&format!("get program {drops}")).success();
    assert!(shown.contains(&format!("{filter}:limit")), "{shown}");
    daemon
        .bpfman(&format!("unload {filter}"))
        .fails(6, &["it is extended by program", &format!("link {id}")]);
    daemon.kill();
    assert_eq!(traffic.send(3), 0, "it runs without the daemon");
    daemon.again(&Launch::default());
    assert_eq!(daemon.bpfman(&format!("get link {id} -o json")).json(), link);
    // State after a reboot: records without kernel objects.
    daemon.terminate();
    rustix::mount::unmount(daemon.fs(), rustix::mount::UnmountFlags::DETACH).unwrap();
    bpfman_tests::wait::until("nothing is filtered", || traffic.send(1) == 1);
    daemon.again(&Launch::default());
    assert_eq!(traffic.send(3), 0, "loaded and attached again");
    daemon.bpfman(&format!("detach {id}")).success();
    assert_eq!(traffic.send(3), 3);
    for program in ["freplace", "xdp"] {
        let ids = daemon.bpfman(&format!("list programs --program-type {program} -q")).success();
        daemon.bpfman(&format!("unload {}", ids.trim())).success();
    }
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn a_user_extends_only_what_a_grant_is_over() {
    let policy = format!(
        "[files]\nusers = [0, {ADA}, {BOB}]\n\
         [[grants]]\nname = \"one\"\nusers = [{ADA}]\nallow = [\"read\", \"load\", \"attach\"]\n\
         types = [\"xdp\", \"freplace\"]\ntargets = [\"freplace:lim*\"]\n\
         [[grants]]\nname = \"two\"\nusers = [{BOB}]\nallow = [\"all\"]\n"
    );
    let daemon = grants::daemon(policy);
    let own = |user: u32| {
        let path = daemon.path(format!("extended-{user}.o"));
        fs::copy(compile::object("extended"), &path).unwrap();
        chown(&path, Some(user), Some(user)).unwrap();
        path.display().to_string()
    };
    let (of_ada, of_bob) = (own(ADA), own(BOB));
    let ask = |user: u32, object: &str, program: &str| {
        daemon.bpfman_as(user, &format!("load file -p {object} --programs {program} -q"))
    };
    let roots = load(&daemon, "xdp:filter");
    let adas: u32 = ask(ADA, &of_ada, "xdp:filter").success().trim().parse().unwrap();
    let bobs: u32 = ask(BOB, &of_bob, "xdp:filter").success().trim().parse().unwrap();
    let before = daemon.state();
    for (program, why) in [
        (format!("freplace:drops:{roots}:limit"), "\"over\""),
        (format!("freplace:drops:{bobs}:limit"), "\"over\""),
        (format!("freplace:drops:{adas}:filter"), "\"targets\""),
        // The grant requires the target in the request: the one in the section does not suffice.
        (format!("freplace:drops:{adas}"), "\"targets\""),
        // Third-party programs count as the machine's.
        ("freplace:drops:4000000000:limit".to_owned(), "\"over\""),
    ] {
        ask(ADA, &of_ada, &program).fails(4, &[&format!("user {ADA} may not"), "grant \"one\"", why]);
    }
    ask(BOB, &of_bob, &format!("freplace:drops:{adas}:limit")).fails(4, &["grant \"two\"", "\"over\""]);
    assert_eq!(daemon.state(), before);
    let loaded = ask(ADA, &of_ada, &format!("freplace:drops:{adas}:limit"));
    if lacks("freplace", "sample_fentry", "a_user_extends_only_what_a_grant_is_over") {
        // The grants permit it, and the kernel's lack of freplace is reported.
        loaded.fails(6, &["lets no program take the place of another's function"]);
        return;
    }
    let drops = loaded.success();
    daemon.bpfman_as(ADA, &format!("attach {} freplace", drops.trim())).success();
}
