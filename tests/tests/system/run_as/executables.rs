//! Grants for commands by the digests of their files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bpfman_tests::command::run;

use super::{ADA, BOB, Sessions, sessions_of};

fn digest(path: &Path) -> String {
    run(&["sha256sum", &path.display().to_string()]).split(' ').next().unwrap().to_owned()
}

/// Ada may run one file by the grant, and Bob anything.
fn sessions_for(digest: &str) -> Sessions {
    sessions_of(&format!(
        "[[grants]]\nname = \"signed\"\nusers = [{ADA}]\nallow = [\"raw\"]\nexecutables = [\"sha256:{digest}\"]\n\
         [[grants]]\nname = \"any\"\nusers = [{BOB}]\nallow = [\"raw\"]\n"
    ))
}

#[test]
fn command_of_another_digest_is_refused_with_the_line_to_add() {
    let daemon = sessions_for(&digest(Path::new("/usr/sbin/bpftool")));
    daemon.session(ADA, &["bpftool", "version"]).success();
    let cat = format!("\"sha256:{}\"", digest(Path::new("/usr/bin/cat")));
    let refused = daemon.session(ADA, &["cat", "/etc/hostname"]);
    refused.fails(4, &["grant \"signed\" does not cover", &cat, "executables = ["]);
    assert_eq!(refused.stdout, "");
    let denied = daemon.bpfman("history -o json").json().to_string();
    assert!(denied.contains("/cat (sha256:") && denied.contains("in session"), "{denied}");
    daemon.session(BOB, &["cat", "/etc/hostname"]).success();
}

#[test]
fn file_that_its_user_can_change_is_refused() {
    let bpftool = digest(Path::new("/usr/sbin/bpftool"));
    let daemon = sessions_for(&bpftool);
    let copy = daemon.path("bpftool");
    fs::copy("/usr/sbin/bpftool", &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let words = copy.display().to_string();
    daemon.session(ADA, &[&words, "version"]).success();
    run(&["chown", &ADA.to_string(), &words]);
    daemon.session(ADA, &[&words, "version"]).fails(4, &["can change", "have root install it"]);
    run(&["chown", "0", &words]);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o757)).unwrap();
    daemon.session(ADA, &[&words, "version"]).fails(4, &["can change"]);
    let script = daemon.path("script");
    fs::write(&script, "#!/bin/sh\nexec cat\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    daemon.session(ADA, &[&script.display().to_string()]).fails(4, &["is a script"]);
}

#[test]
fn held_file_has_its_name_and_no_library_of_the_user() {
    let daemon = sessions_for(&digest(&fs::canonicalize("/usr/bin/env").unwrap()));
    let mut command = daemon.session_command(ADA, &["env"]);
    let shown =
        bpfman_tests::Outcome::of(command.env("LD_PRELOAD", "").env("LDX", "1").env("OTHER", "2")).success();
    assert!(shown.contains("OTHER=2") && !shown.contains("LD_PRELOAD"), "{shown}");
    let cat = digest(&fs::canonicalize("/usr/bin/cat").unwrap());
    let daemon = sessions_for(&cat);
    assert_eq!(daemon.session(ADA, &["cat", "/proc/self/comm"]).success(), "cat\n");
    let mut link = daemon.session_command(ADA, &["readlink", "/proc/self/exe"]);
    bpfman_tests::Outcome::of(&mut link).fails(4, &["readlink"]);
}
