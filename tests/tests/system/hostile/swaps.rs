//! Attacks between check and use: files, namespaces and cgroups that change while a call runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use bpfman_proto::v1::{BpfmanProgramType as Type, attach_info::Info};
use bpfman_tests::control_group::naming_hierarchy;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, uprobe};
use bpfman_tests::target::{self, Target};
use bpfman_tests::{Network, compile, kernel};
use tonic::Code;

use super::calls_as;
use crate::equipment::Program;
use crate::forged_names::{Group, USER, client, policy, unit};
use crate::grants::{daemon, load_as};

const EVE: u32 = 64_261;
const TRIES: usize = 60;

fn policy_of(more: &str) -> String {
    format!(
        "[files]\nusers = [0, {EVE}]\n[[grants]]\nname = \"eve\"\nusers = [{EVE}]\nallow = [\"all\"]\n{more}\n"
    )
}

fn while_swapping<T>(link: &Path, places: [&Path; 2], work: impl FnOnce() -> T) -> T {
    let next = link.with_extension("next");
    let stop = AtomicBool::new(false);
    symlink(places[0], link).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for place in places.into_iter().rev().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                symlink(place, &next).unwrap();
                fs::rename(&next, link).unwrap();
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Root replaces the namespace behind a path while a caller gives the path as that of its own namespace.
#[test]
fn namespace_swapped_under_an_attach_reaches_another() {
    let (daemon, network) = (daemon(policy_of("netns = [\"own\"]")), Network::new());
    let program = load_as(&daemon, EVE);
    let link = Path::new("/run/netns").join(format!("bpfman-test-{}-swapped", std::process::id()));
    let user = EVE.to_string();
    let (near, far) = (network.near.path(), network.far.path());
    let attached = while_swapping(&link, [&near, &far], || {
        let mut attached = 0;
        for _ in 0..TRIES {
            let mut command = network.near.command("setpriv");
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
            let line = format!("attach {program} xdp -i {INTERFACE} -p 10 -n {} -o json", link.display());
            let answer = client(command, &daemon, &line);
            assert_eq!(kernel::hooks(&far)[0]["xdp"], serde_json::json!([]), "{answer:?}");
            if answer.code == 0 {
                attached += 1;
                let links = daemon.bpfman("list links -o json").json();
                let link = links["links"][0]["link_id"].as_u64().unwrap_or_else(|| panic!("{links}"));
                daemon.bpfman(&format!("detach {link}")).success();
            }
        }
        attached
    });
    fs::remove_file(&link).unwrap();
    assert!(attached > 0, "its own namespace can be named");
}

#[test]
fn object_file_swapped_under_a_load_is_one_of_root() {
    let daemon = daemon(policy_of(""));
    let (own, roots, link) = (daemon.path("own.o"), daemon.path("roots.o"), daemon.path("link.o"));
    fs::copy(compile::object("chain"), &own).unwrap();
    chown(&own, Some(EVE), Some(EVE)).unwrap();
    fs::copy(compile::object("probes"), &roots).unwrap();
    fs::set_permissions(&roots, fs::Permissions::from_mode(0o600)).unwrap();
    let before = daemon.state();
    while_swapping(&link, [&own, &roots], || {
        calls_as(EVE, &daemon.socket(), |wire| {
            let mut refused = 0;
            for _ in 0..TRIES {
                let answer = wire.load(load(&link, &[("on_uprobe", Type::Uprobe)]));
                let refusal = answer.expect_err("the program is in root's file alone");
                refused += usize::from(refusal.code() == Code::PermissionDenied);
                assert!(!refusal.message().contains("on_kprobe"), "names of root's file: {refusal}");
            }
            assert!(refused < TRIES, "its own file was never read");
        });
    });
    assert_eq!(daemon.state(), before);
}

#[test]
fn probed_file_swapped_under_an_attach_is_one_of_root() {
    let daemon = daemon(policy_of(""));
    let (own, roots, link) = (daemon.path("own"), daemon.path("roots"), daemon.path("link"));
    for (path, mode) in [(&own, 0o755), (&roots, 0o700)] {
        fs::copy(target::binary(), path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let object = daemon.path("eves.o");
    fs::copy(compile::object("probes"), &object).unwrap();
    chown(&object, Some(EVE), Some(EVE)).unwrap();
    let mut process = Target::start_by(&mut Command::new(&roots));
    let program = calls_as(EVE, &daemon.socket(), |wire| {
        let loaded = wire.load(load(&object, &[("on_uprobe", Type::Uprobe)])).unwrap();
        let program = Program::of(&loaded.programs[0]);
        let attached = while_swapping(&link, [&own, &roots], || {
            let at = || Info::UprobeAttachInfo(uprobe(&link.display().to_string(), "probed"));
            (0..TRIES).filter(|_| wire.attach(attach(program.id, at())).is_ok()).count()
        });
        assert!(attached > 0, "its own file can be probed");
        program
    });
    process.call();
    assert_eq!(kernel::array_value(kernel::map_named(&program.maps, "fired"), 3), 0);
    let mut own = Target::start_by(&mut Command::new(&own));
    own.call();
    assert_ne!(kernel::array_value(kernel::map_named(&program.maps, "fired"), 3), 0);
}

/// Hierarchies of version 1 let the owner of a folder rename the groups in it.
#[test]
fn group_renamed_under_a_call_makes_a_unit() {
    let daemon = daemon(policy());
    let own = Group::delegated(&naming_hierarchy(), &format!("renamed-{}", std::process::id()));
    let folder = own.folder();
    let named = folder.join(unit());
    let script = format!(
        "mkdir {plain} && while mv {plain} {named} && mv {named} {plain}; do :; done 2> /dev/null; exec sleep 600",
        plain = folder.join("plain").display(),
        named = named.display()
    );
    let user = USER.to_string();
    let mut renaming = Command::new("setpriv");
    renaming.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--", "sh", "-c", &script]);
    let mut renaming = renaming.spawn().unwrap();
    for _ in 0..TRIES / 3 {
        let mut inside = Command::new("sh");
        let enter = "for group in \"$0\"/*/; do echo 0 > \"$group/cgroup.procs\" && exec \"$@\"; done 2> /dev/null; exec \"$@\"";
        inside.args(["-c", enter]).arg(folder);
        inside.args([
            "setpriv",
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
            "--inh-caps=-all",
            "--",
        ]);
        let seen = client(inside, &daemon, "whoami -o json").json();
        assert_eq!(
            (&seen["grants"], &seen["unit"]),
            (&serde_json::json!([]), &serde_json::Value::Null),
            "{seen}"
        );
    }
    renaming.kill().unwrap();
    renaming.wait().unwrap();
}
