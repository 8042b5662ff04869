//! Files loaded by users other than root: `[files]` names the users, and each may load only own files.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use bpfman_tests::users::EVERYBODY_MAY;
use bpfman_tests::{Daemon, Launch, compile};

const ALLOWED: u32 = 64_123;
const OTHER: u32 = 64_124;

fn daemon() -> Daemon {
    let policy = format!("[files]\nusers = [0, {ALLOWED}]\n{EVERYBODY_MAY}");
    let daemon = Daemon::start_with(&Launch { policy, ..Launch::default() });
    daemon.open_to_users();
    daemon
}

fn object_of(daemon: &Daemon, user: u32, name: &str) -> PathBuf {
    let path = daemon.path(name);
    fs::copy(compile::object("chain"), &path).unwrap();
    chown(&path, Some(user), Some(user)).unwrap();
    path
}

fn load(path: &Path) -> String {
    format!("load file -p {} --programs xdp:xdp_member -o json", path.display())
}

#[test]
fn only_users_named_by_the_policy_load_their_own_files() {
    let daemon = daemon();
    let (own, others) = (object_of(&daemon, ALLOWED, "own.o"), object_of(&daemon, OTHER, "others.o"));
    let loaded = daemon.bpfman_as(ALLOWED, &load(&own)).json();
    assert_eq!(loaded["programs"][0]["name"], "xdp_member");
    let before = daemon.state();
    let file = others.display().to_string();
    daemon
        .bpfman_as(OTHER, &load(&others))
        .fails(4, &[&format!("user {OTHER}"), &file, "[files] in policy.toml"]);
    daemon
        .bpfman_as(ALLOWED, &load(&others))
        .fails(4, &[&format!("user {ALLOWED}"), &file, "no regular file that belongs to this user"]);
    assert_eq!(daemon.state(), before);
}

#[test]
fn symlink_of_a_user_to_a_foreign_file_is_refused() {
    let daemon = daemon();
    let of_root = object_of(&daemon, 0, "root.o");
    // A file that only root can read: the error must not reveal its contents.
    let secret = daemon.path("secret");
    fs::write(&secret, "a secret that nobody is to see").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let before = daemon.state();
    for target in [of_root, secret] {
        let link = daemon.path("link.o");
        let _old = fs::remove_file(&link);
        symlink(&target, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(ALLOWED), Some(ALLOWED)).unwrap();
        for path in [&link, &target] {
            let outcome = daemon.bpfman_as(ALLOWED, &load(path));
            outcome.fails(4, &["no regular file that belongs to this user", &path.display().to_string()]);
            assert!(!outcome.stderr.contains("secret that"), "{}", outcome.stderr);
        }
    }
    assert_eq!(daemon.state(), before);
}
