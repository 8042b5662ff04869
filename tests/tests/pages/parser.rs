//! Checks by a program's own parser, without executing the command: the real binary runs without rights, and may open
//! only one file at a time. This suffices for the loader of its libraries, not for a runtime, a socket or a map.

use std::fs::File;
use std::process::Command;

use bpfman_tests::{Outcome, binaries};

pub fn takes(program: &str, words: &[String]) -> Result<(), String> {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = Command::new("timeout");
    command.args(["20", "prlimit", "--nofile=4", "setpriv", "--reuid=65534", "--regid=65534"]);
    command.args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]);
    // Executed through an open descriptor, because user 65534 cannot read the build directory.
    command.arg("/proc/self/fd/0").stdin(File::open(binaries::find(program)).unwrap());
    command.args(words).current_dir(nowhere.path()).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("BPFMAN_SOCKET_PATH", "/nowhere/bpfman.sock").env("KUBECONFIG", "/nowhere/kubeconfig");
    let Outcome { code, stdout, stderr } = Outcome::of(&mut command);
    match code {
        2 if stderr.contains("Usage:") || stderr.contains("try '--help'") => Err(stderr),
        124 | 126 | 127 => Err(format!("it was not asked: exit code {code}: {stdout}{stderr}")),
        _ => Ok(()),
    }
}

/// Checks the words with a third-party tool that parses all flags before it shows its help.
pub fn takes_before_help(program: &str, words: &[String]) -> Result<(), String> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let mut command = Command::new(program);
    command.args(&words[..end]).arg("--help").env("KUBECONFIG", "/nowhere/kubeconfig");
    let Outcome { code, stdout, stderr } = Outcome::of(&mut command);
    if code == 0 { Ok(()) } else { Err(format!("{stdout}{stderr}")) }
}

#[test]
fn a_wrong_line_is_refused() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (program, right, wrong) in [
        ("bpfman", "attach 7 xdp --iface eth0 --priority 50", "attach 7 xdp --iface eth0 --prioritee 50"),
        ("bpfman", "list links", "list lynx"),
        ("bpfman", "unload 7", "unload se:ven"),
        ("bpfman", "attach 7 tcx -d ingress -i eth0 -p 50", "attach 7 tcx -i eth0 -p 50"),
        ("bpfmand", "--end-break-glass", "--end-break-glass --break-glass"),
        ("bpfman-operator", "crds --without-rules", "crds --without-rules --no"),
        ("kubectl-bpfman", "status filter --follow", "status --follow"),
        ("bpfman-xdp-firewall", "--program 7 list", "list"),
        (
            "bpfman-ci-guard",
            "--app ci-guard run --policy p.yaml -- make test",
            "--app ci-guard run --pol p.yaml",
        ),
    ] {
        takes(program, &words(right)).unwrap_or_else(|error| panic!("{program} {right}: {error}"));
        assert!(takes(program, &words(wrong)).is_err(), "{program} {wrong}");
    }
}
