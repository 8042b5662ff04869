//! Commands in a session have the outcomes that they have for root, although they have no capability.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use bpfman_tests::Outcome;
use bpfman_tests::command::run;

use super::{ADA, sessions};

#[test]
fn command_has_no_right_and_its_own_bpffs() {
    let daemon = sessions();
    let seen = daemon.session_shell(
        ADA,
        "grep -E '^(Uid|CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/self/status; id -u; stat -f -c %T /sys/fs/bpf; \
         touch /run/bpfman-test.lck && echo lock; ls /sys/kernel/tracing/events/sched/sched_switch; \
         cat /sys/kernel/debug/tracing/available_events | grep sched_switch; \
         head -1 /sys/kernel/tracing/events/header_page > /dev/null && echo header; ls /sys/kernel/debug; \
         grep -E '^(Uid|Cap...|NoNewPrivs|Seccomp):' /proc/$PPID/status | sed 's/^/receiver: /'",
    );
    let seen = seen.success();
    for line in [
        &format!("Uid:\t{ADA}\t{ADA}\t{ADA}\t{ADA}")[..],
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "0",
        "bpf_fs",
        "lock",
        "format",
        "id",
        "sched:sched_switch",
        "header",
        "tracing",
        &format!("receiver: Uid:\t{ADA}\t{ADA}\t{ADA}\t{ADA}"),
        "receiver: CapEff:\t0000000000000000",
        "receiver: CapPrm:\t0000000000000000",
        "receiver: CapBnd:\t0000000000000000",
        "receiver: NoNewPrivs:\t1",
        "receiver: Seccomp:\t2",
    ] {
        assert!(seen.lines().any(|one| one == line), "{line}: {seen}");
    }
    assert!(!std::path::Path::new("/run/bpfman-test.lck").exists());
}

/// Loads programs of type syscall that may sleep, which call an unknown helper and a known one, and prints the outcome of each.
const SYSCALL_PROGRAMS: &str = "
import ctypes, struct, os
libc = ctypes.CDLL(None, use_errno=True)
number = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]
for helper in (999, 5):
    code = struct.pack('<BBhi', 0x85, 0, 0, helper) + struct.pack('<BBhi', 0x95, 0, 0, 0)
    code, log = ctypes.create_string_buffer(code), ctypes.create_string_buffer(4096)
    licence = ctypes.create_string_buffer(b'GPL')
    address = ctypes.addressof
    attr = struct.pack('<IIQQIIQII', 31, 2, address(code), address(licence), 1, 4096, address(log), 0, 1 << 4)
    attr = ctypes.create_string_buffer(attr.ljust(128, b'\\0'), 128)
    loaded = libc.syscall(number, 5, attr, 128)
    print(loaded, os.strerror(ctypes.get_errno()), b'invalid func' in log.value, b'processed' in log.value)
";

#[test]
fn log_of_a_withheld_program_is_the_verifiers() {
    let daemon = sessions();
    let seen = daemon.session(ADA, &["python3", "-c", SYSCALL_PROGRAMS]).success();
    let lines = ["-1 Invalid argument True True", "-1 Operation not permitted False True"];
    assert_eq!(seen.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn bpftool_shows_what_it_shows_root() {
    let daemon = sessions();
    let object = daemon.readable(&bpfman_tests::compile::object("page_count"));
    let pins = daemon.path("own");
    std::fs::create_dir(&pins).unwrap();
    run(&["mount", "-t", "bpf", "bpf", &pins.display().to_string()]);
    let script = |folder: &str| {
        format!(
            "cd {folder} && bpftool prog loadall {} loaded pinmaps maps && ls loaded maps && \
             bpftool prog dump xlated pinned loaded/count opcodes && bpftool map dump pinned maps/page_cou.bss && \
             bpftool prog run pinned loaded/count data_in /etc/services data_out - | head -4",
            object.display()
        )
    };
    let as_root = Outcome::of(Command::new("sh").args(["-c", &script(&pins.display().to_string())]));
    run(&["umount", &pins.display().to_string()]);
    let brokered = daemon.session_shell(ADA, &script("/sys/fs/bpf"));
    let history = daemon.bpfman("history --accesses").success();
    assert!(history.contains("PROG_LOAD (type sched_cls \"count\") in session"), "{history}");
    let masked = |text: &str| -> String {
        // Leave out durations and map ids, which differ in each run.
        text.lines()
            .filter(|line| !line.contains("duration"))
            .map(|line| line.split("map[id:").next().unwrap_or_default().to_owned() + "\n")
            .filter(|line| !line.trim_start().starts_with("18 "))
            .collect()
    };
    assert_eq!(
        (masked(&brokered.stdout), brokered.code),
        (masked(&as_root.stdout), as_root.code),
        "{brokered:?}"
    );
    assert!(brokered.stdout.contains("maps:\n") && brokered.stdout.lines().count() > 10, "{brokered:?}");
}

#[test]
fn kernel_is_probed_as_by_root() {
    let daemon = sessions();
    let words = ["bpftool", "feature", "probe", "kernel"];
    let as_root = run(&words);
    // Leave out settings in files that only root may read.
    let shown = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.contains("JIT")).map(str::to_owned).collect()
    };
    assert_eq!(shown(&daemon.session(ADA, &words).success()), shown(&as_root));
}

#[test]
fn only_own_objects_are_seen() {
    let daemon = sessions();
    let object = daemon.object();
    let line = format!(
        "bpftool prog load {object} /sys/fs/bpf/p && bpftool prog show && bpftool map && bpftool link"
    );
    let seen = daemon.session_shell(ADA, &line).success();
    // The kernel may still be freeing programs that the library loaded as probes.
    let others = |line: &&str| line.contains("name ") && !line.contains("name libbpf_");
    let named: Vec<&str> = seen.lines().filter(others).collect();
    assert!(named.len() == 1 && named[0].contains("name pass"), "{seen}");
    let other = daemon.bpfman("list programs --all -o json").json();
    let foreign =
        other["programs"].as_array().unwrap().first().map(|program| program["program_id"].to_string());
    if let Some(id) = foreign {
        daemon.session(ADA, &["bpftool", "prog", "show", "id", &id]).fails(255, &["No such file"]);
    }
    // Every user can read the kernel's types in `/sys/kernel/btf`.
    assert!(daemon.session(ADA, &["bpftool", "btf", "list"]).success().contains("[vmlinux]"));
}

#[test]
fn status_of_the_command_is_that_of_the_client() {
    let daemon = sessions();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        assert_eq!(daemon.session_shell(ADA, script).code, status, "{script}");
    }
    daemon.session(ADA, &["/nowhere/at-all"]).fails(127, &["cannot execute /nowhere/at-all"]);
    // The head of an ELF program of 32 bits for another processor than any that is supported.
    let foreign = daemon.path("foreign");
    std::fs::write(&foreign, [b"\x7fELF\x01\x01\x01".as_slice(), &[0; 9], &[2, 0, 3, 0], &[0; 32]].concat())
        .unwrap();
    std::fs::set_permissions(&foreign, std::fs::Permissions::from_mode(0o755)).unwrap();
    let foreign = foreign.display().to_string();
    daemon.session(ADA, &[&foreign]).fails(6, &[&foreign, "or of 32 bits"]);
    let option = |option: &str| {
        let mut command = daemon.cli_command_as(ADA, ADA);
        Outcome::of(command.args(["run-as", option, "--", "true"]))
    };
    option("--no-such").fails(2, &["unexpected argument '--no-such'"]);
    daemon.session(ADA, &["/etc/passwd"]).fails(126, &["cannot execute /etc/passwd: Permission denied"]);
    let piped = Outcome::of(Command::new("sh").arg("-c").arg(format!(
        "{:?} | cat",
        daemon.session_command(ADA, &["printenv", "NAME"]).env("NAME", "some value").current_dir("/usr")
    )));
    assert_eq!((piped.code, piped.stdout.as_str()), (0, "some value\n"), "{piped:?}");
    let mut command =
        daemon.session_command(ADA, &["sh", "-c", "pwd; echo \"$1\"; echo error >&2", "sh", "x  y"]);
    let outcome = Outcome::of(command.current_dir("/usr"));
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("/usr\nx  y\n", "error\n"));
}
