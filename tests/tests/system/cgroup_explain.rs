//! Order of the programs of a cgroup, as `bpfman explain` shows it beside third-party programs.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use bpfman_tests::Daemon;
use bpfman_tests::control_group::Group;

/// Attaches `early` with BPF_F_PREORDER to connect4, prints the kernel's answer, and waits for the end of stdin.
const EARLY: &str = r"
import ctypes, os, struct, sys
libc, keep = ctypes.CDLL(None, use_errno=True), []
def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(bytes(attributes).ljust(168, b'\0'), 168)
    result = libc.syscall(int(sys.argv[2]), command, buffer, 168)
    return result if result >= 0 else -ctypes.get_errno()
def pointer(data):
    keep.append(ctypes.create_string_buffer(data))
    return ctypes.addressof(keep[-1])
code = struct.pack('<BBhiBBhi', 0xb7, 0, 0, 1, 0x95, 0, 0, 0)
attributes = bytearray(168)
struct.pack_into('<IIQQ', attributes, 0, 18, 2, pointer(code), pointer(b'GPL'))
attributes[48:53] = b'early'
struct.pack_into('<I', attributes, 68, 10)
program = bpf(5, attributes)
group = os.open(sys.argv[1], os.O_RDONLY)
print(bpf(28, struct.pack('<IIIIIIQ', program, group, 10, 64, 0, 0, 0)), flush=True)
sys.stdin.read()
";

struct Early(Child);

impl Early {
    fn attach(group: &Group) -> Result<Self, i32> {
        let call = if cfg!(target_arch = "x86_64") { "321" } else { "280" };
        let mut child = Command::new("python3")
            .args(["-I", "-S", "-c", EARLY])
            .arg(&group.folder)
            .arg(call)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (early, result) = (Self(child), line.trim().parse::<i32>().unwrap());
        if result < 0 { Err(-result) } else { Ok(early) }
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn explain_shows_third_party_preorder_programs_of_a_cgroup() {
    let (daemon, group) = (Daemon::start(), Group::new("explained"));
    let hook = format!("cgroup:{}", group.path);
    daemon.bpfman(&format!("explain {hook}")).fails(5, &["no program of bpfman", &group.path]);
    let load = || {
        let object = bpfman_tests::compile::object("points").display().to_string();
        let line = format!("load file -p {object} --programs cgroup_sock_addr:forbid -q");
        daemon.bpfman(&line).success().trim().to_owned()
    };
    let (first, second) = (load(), load());
    let _early = match Early::attach(&group) {
        Ok(early) => early,
        Err(22) => return eprintln!("SKIPPED(BPF_F_PREORDER): explain_shows_third_party_preorder_programs"),
        Err(error) => panic!("errno {error}"),
    };
    let attach = |program: &str, order: &str| {
        let line = format!("attach {program} cgroup --path {} {order} -q", group.path);
        daemon.bpfman(&line)
    };
    let link = attach(&first, "").success().trim().to_owned();
    let explained = daemon.bpfman(&format!("explain {hook} -o json")).json();
    assert_eq!((&explained["hook"], &explained["member"]), (&hook.as_str().into(), &().into()));
    let found = explained["findings"].to_string();
    assert!(found.contains("does not report whether") && found.contains("(early), third-party"), "{found}");
    let all = daemon.bpfman("features -o json").json();
    if crate::features::state(&all, "probe", "cgroup_order")["state"] == "no" {
        return eprintln!("SKIPPED(order in cgroups): explain_shows_third_party_preorder_programs");
    }

    attach(&second, "--before foreign:early").fails(6, &["BPF_F_PREORDER"]);
    let found = daemon.bpfman(&format!("explain {hook} {link}")).success();
    let (early, ours) = (found.find("(early), third-party").unwrap(), found.find("forbid (link").unwrap());
    assert!(
        early < ours && found.contains("BPF_F_PREORDER") && !found.contains("does not report"),
        "{found}"
    );
    assert_eq!(daemon.bpfman(&format!("explain {hook} forbid")).success(), found);
    daemon.bpfman(&format!("explain {hook} nobody")).fails(5, &["nobody", &format!("forbid (link {link})")]);
    daemon.bpfman("explain cgroup:web").fails(2, &["not absolute"]);
}
