//! Slow changes of one caller, which do not delay others.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};

use bpfman_tests::compile;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch};

const SLOW: u32 = 64_240;
const OTHER: u32 = 64_241;
const SHARE: usize = 8 + 48;
const THREADS: usize = 32;

fn begin(daemon: &Daemon, user: u32, line: &str) -> Child {
    let user = user.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
    command.arg(daemon.path("client")).args(line.split(' '));
    command.env("BPFMAN_SOCKET_PATH", daemon.socket()).env("HOME", daemon.path(""));
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn slow_loads_of_one_user_keep_nobody_else_waiting() {
    let policy = format!(
        "[files]\nusers = [0, {SLOW}, {OTHER}]\n\
         [[grants]]\nname = \"slow\"\nusers = [{SLOW}]\nallow = [\"all\"]\n\
         [[grants]]\nname = \"other\"\nusers = [{OTHER}]\nallow = [\"all\"]\n"
    );
    // No object reader of this daemon ever answers.
    let environment = vec![("BPFMAN_TEST_HOSTILE_WORKER".to_owned(), "reader:hang:".to_owned())];
    let daemon = Daemon::start_with(&Launch { policy, environment, ..Launch::default() });
    daemon.open_to_users();
    let path = daemon.path("own.o");
    fs::copy(compile::object("chain"), &path).unwrap();
    chown(&path, Some(SLOW), Some(SLOW)).unwrap();
    let load = format!("load file -p {} --programs xdp:xdp_member", path.display());
    let mut slow: Vec<Child> = (0..SHARE + 4).map(|_| begin(&daemon, SLOW, &load)).collect();
    let mut ended = Vec::new();
    until("what is beyond the user's share is refused", || {
        let mut at = 0;
        while let Some(child) = slow.get_mut(at) {
            match child.try_wait().unwrap() {
                Some(_) => ended.push(slow.swap_remove(at)),
                None => at += 1,
            }
        }
        !ended.is_empty()
    });
    let mut said = String::new();
    ended[0].stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let expected = format!("user {SLOW} has 56 changes that work or wait, as many as may be");
    assert!(said.contains(&expected), "{said}");
    // Changes of other users that need no object reader still get threads, and reads have their own threads.
    for user in [OTHER, 0] {
        let missing = format!("load file -p {} --programs xdp:xdp_member", daemon.path("none.o").display());
        let refused = daemon.bpfman_as(user, &missing).stderr;
        assert!(refused.contains("none.o"), "{refused}");
    }
    daemon.bpfman_as(SLOW, "list programs").success();
    // These calls did not wait for a thread: otherwise all slow loads except one per thread would have ended.
    let over = slow.iter_mut().filter_map(|child| child.try_wait().unwrap()).count();
    assert!(over < slow.len().saturating_sub(THREADS), "{over}");
    for child in &mut slow {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
