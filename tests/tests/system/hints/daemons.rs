//! Daemons that are suspended, unreachable, or short of something, and callers without rights.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};

use bpfman_model::Hint;
use bpfman_tests::command::run;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::wait::until;
use bpfman_tests::{Launch, compile};

use super::Machine;
use crate::doctor::SmallDisk;

const ADA: u32 = 64_241;

#[test]
pub fn break_glass_is_ended() {
    let config = "[watch]\ncheck_seconds = 0.2\n".to_owned();
    let machine = Machine::launched(Launch { config, ..Launch::default() });
    let attach = format!("bpfman attach {} xdp -i {INTERFACE} -p 5", machine.member());
    machine.shell("bpfmand --break-glass").success();
    let mut failed = machine.shell(&attach);
    until("the daemon is suspended", || {
        failed = machine.shell(&format!("{attach} --again"));
        failed.code != 0
    });
    machine.paste(&failed, &Hint::EndBreakGlass).success();
    until("the daemon has resumed", || machine.shell("bpfman doctor").code == 0);
    machine.shell(&format!("{attach} --again")).success();
}

#[test]
pub fn mistakes_of_the_policy_are_shown() {
    let machine = Machine::new();
    machine.daemon.open_to_users();
    let policy = machine.daemon.path("policy.toml");
    let good = format!("[[grants]]\nname = \"ada\"\nusers = [{ADA}]\nallow = [\"all\"]\n");
    machine.write("policy.toml", &good.replace("\"all\"", "\"fly\""));
    let list = "auth can-i load";
    let denied = machine.daemon.bpfman_as(ADA, list);
    assert_eq!(denied.code, 4, "{denied:?}");
    let shown = machine.paste(&denied, &Hint::CheckPolicy(Some(policy)));
    assert!(shown.stdout.contains("\"fly\" is no verb"), "{shown:?}");
    machine.write("policy.toml", &good);
    machine.daemon.bpfman_as(ADA, list).success();
}

#[test]
pub fn grants_of_the_caller_are_shown() {
    let machine = Machine::new();
    machine.daemon.open_to_users();
    let asked = machine.daemon.bpfman_as(ADA, "auth can-i load");
    let command = machine.printed(&asked, &Hint::Whoami);
    let shown = machine.daemon.bpfman_as(ADA, command.strip_prefix("bpfman ").unwrap()).success();
    assert!(shown.contains("read"), "{shown}");
    machine.daemon.bpfman_as(ADA, "auth can-i read").success();
}

#[test]
pub fn socket_names_its_group() {
    const TEAM: u32 = 64_242;
    let machine = Machine::new();
    machine.daemon.open_to_users();
    chown(machine.daemon.socket(), None, Some(TEAM)).unwrap();
    fs::set_permissions(machine.daemon.socket(), fs::Permissions::from_mode(0o660)).unwrap();
    let list = ["list", "programs"];
    let denied = machine.daemon.cli_as(ADA, ADA, &list);
    assert_eq!(denied.code, 4, "{denied:?}");
    let shown = machine.paste(&denied, &Hint::FileOwners(machine.daemon.socket())).success();
    let group = shown.split_whitespace().nth(3).unwrap().parse().unwrap();
    machine.daemon.cli_as(ADA, group, &list).success();
}

#[test]
pub fn process_with_the_records_is_shown() {
    let machine = Machine::new();
    let (socket, moved) = (machine.daemon.socket(), machine.daemon.path("moved"));
    fs::rename(&socket, &moved).unwrap();
    let failed = machine.shell("bpfman doctor");
    let pid = machine.daemon.pid();
    let fix = Hint::ProcessOf { pid };
    assert!(failed.stdout.contains(&fix.command().unwrap()), "{failed:?}");
    let shown = machine.shell(&fix.command().unwrap()).success();
    assert!(shown.contains("bpfmand") && shown.contains(&socket.display().to_string()), "{shown}");
    fs::rename(&moved, &socket).unwrap();
    machine.shell("bpfman doctor").success();
}

#[test]
pub fn free_space_is_shown() {
    let mut machine = Machine::prepare(true);
    let disk = SmallDisk::at(machine.daemon.path("small"));
    let flags = vec!["--state-dir".to_owned(), disk.0.display().to_string()];
    machine.start(Launch { flags, ..Launch::default() });
    let failed = machine.shell("bpfman doctor");
    machine.paste(&failed, &Hint::FreeSpace(disk.0.clone())).success();
    run(&["mount", "-o", "remount,size=64m", &disk.0.display().to_string()]);
    machine.shell("bpfman doctor").success();
    machine.daemon.kill();
}

#[test]
pub fn stray_is_removed() {
    let mut machine = Machine::new();
    machine.member();
    machine.daemon.kill();
    fs::remove_dir_all(machine.daemon.path("run/state/store")).unwrap();
    machine.start(Launch::default());
    let pin = machine.shell("bpfman stray list -q").success();
    for pin in pin.lines() {
        let doctor = machine.shell("bpfman doctor");
        assert_eq!(doctor.code, 17, "{doctor:?}");
        let command = Hint::RemoveStray { pin: pin.to_owned() }.command().unwrap();
        assert!(doctor.stdout.contains(&format!(": {command}\n")), "{doctor:?}");
        machine.shell(&command).success();
    }
    machine.shell("bpfman doctor").success();
}

fn manifest(interface: &str) -> String {
    format!(
        "apiVersion: bpfman.io/v1alpha1\nkind: ClusterBpfApplication\nmetadata:\n  name: wall\nspec:\n  nodeSelector: {{}}\n  \
         byteCode:\n    path: {}\n  programs:\n  - name: xdp_member\n    type: XDP\n    xdp:\n      links:\n      - \
         interfaceSelector:\n          interfaces: [{interface}]\n        priority: 50\n",
        compile::object("chain").display()
    )
}

#[test]
pub fn differing_manifest_is_applied() {
    let machine = Machine::new();
    machine.write("app one.yaml", &manifest(INTERFACE));
    machine.mends("bpfman diff -f 'app one.yaml'", &Hint::Apply(vec!["app one.yaml".to_owned()]));
}

#[test]
pub fn applications_are_listed() {
    let machine = Machine::new();
    machine.write("app.yaml", &manifest(INTERFACE));
    machine.shell("bpfman apply -f app.yaml").success();
    let shown = machine.leads("bpfman delete wal", &Hint::ListApplications, "bpfman delete wall");
    assert!(shown.contains("wall"), "{shown}");
}

#[test]
pub fn waiting_application_is_examined() {
    let config = "[watch]\ncheck_seconds = 0.2\n".to_owned();
    let machine = Machine::launched(Launch { config, ..Launch::default() });
    let far = &machine.network.far;
    let add = || far.ip(&["link", "add", "pod1", "type", "veth", "peer", "name", "peer1"]);
    add();
    machine.write("app.yaml", &manifest("pod1"));
    let apply = "bpfman apply -f app.yaml";
    machine.shell(apply).success();
    far.ip(&["link", "del", "pod1"]);
    let mut failed = machine.shell(apply);
    until("the application waits", || {
        failed = machine.shell(apply);
        failed.code != 0
    });
    let shown = machine.paste(&failed, &Hint::Doctor);
    assert!(shown.stdout.contains("waiting"), "{shown:?}");
    add();
    until("it is attached again", || machine.shell(apply).code == 0);
}
