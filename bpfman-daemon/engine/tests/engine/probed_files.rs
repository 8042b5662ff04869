//! Probed files that are replaced, as by a package upgrade: the probe follows, or its state names the old file.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use bpfman_model::{
    AttachPoint, AttachRequest, FileIdentity, FileReader, KernelLinkId, LinkId, OrderIntent, Owner,
    ProbeReader, ProcessScope, ProgramId, TargetIdentity,
};
use bpfmand_engine::{Engine, HookCheck, Standing};
use bpfmand_kernel::Kernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench, TEST_TIMEOUT, Testable, pins};
use crate::replacements::replacement;
use crate::simulated::bench as simulated_bench;

pub const APP: &str = "/usr/bin/app";

pub fn probe(target: &str, scope: ProcessScope) -> AttachPoint {
    AttachPoint::Uprobe { target: target.to_owned(), function: Some("probed".to_owned()), offset: 0, scope }
}

fn attached<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>, target: &str) -> (ProgramId, LinkId) {
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    (program, engine.attached(program, probe(target, ProcessScope::default())))
}

fn file_of<K: Kernel>(engine: &Engine<K>, link: LinkId) -> FileIdentity {
    let link = engine.describe_link(link).unwrap();
    let file = link.record.targets.iter().find_map(|target| match target {
        TargetIdentity::File(file) => Some(file.clone()),
        _ => None,
    });
    file.unwrap()
}

fn kernel_link<K: Kernel>(engine: &Engine<K>, link: LinkId) -> KernelLinkId {
    engine.describe_link(link).unwrap().kernel_link.unwrap()
}

pub fn is_moved(check: &HookCheck) -> bool {
    matches!(check, HookCheck::Mended(Standing::OldFile { is_there: true, why: None, .. }))
}

fn places_in(bench: &Bench<SimKernel>) -> Vec<String> {
    bench.kernel.snapshot().links.into_values().map(|link| link.place).collect()
}

fn nothing_is_left(bench: &Bench<SimKernel>, said: &str) {
    assert_eq!(bench.kernel.list_folder(Path::new("pending")).unwrap(), [""; 0], "{said}");
    assert_eq!(bench.kernel.snapshot().links.len(), 1, "{said}");
}

#[test]
fn checks_look_for_a_file_of_many_probes_once() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let (program, _) = attached(&bench, &engine, APP);
    for _ in 0..3 {
        engine.attached(program, probe(APP, ProcessScope::default()));
    }
    bench.kernel.note_calls();
    assert!(engine.check_all().lost.is_empty());
    let looks = bench.kernel.calls().into_iter().filter(|call| *call == "binary_identity").count();
    assert_eq!(looks, 1);
}

#[test]
fn a_probe_follows_its_file() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let (program, link) = attached(&bench, &engine, APP);
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
    for change in [SimKernel::replace_file, SimKernel::write_file, SimKernel::replace_file] {
        let before = (file_of(&engine, link), places_in(&bench), kernel_link(&engine, link));
        change(&bench.kernel, APP);
        assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running, "lists look at no path");
        assert!(is_moved(&engine.check_link(link).unwrap()));
        let now = (file_of(&engine, link), places_in(&bench), kernel_link(&engine, link));
        assert!(before.0 != now.0 && before.1 != now.1 && before.2 != now.2, "{before:?}, {now:?}");
        nothing_is_left(&bench, "moved");
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
        assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
    }
    drop(engine);
    bench.kernel.replace_file(APP);
    let engine = bench.engine();
    assert!(is_moved(&engine.check_link(link).unwrap()));
    bench.kernel.replace_file(APP);
    engine.replace_program(&replacement(&bench, program, "programs")).unwrap();
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right, "the new version is in the new file");
    nothing_is_left(&bench, "replaced");
}

#[test]
fn points_in_several_functions_follow_their_file() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["many_functions"]))[0];
    for target in [APP, "libapp"] {
        let functions = vec!["first".to_owned(), "second".to_owned()];
        let scope = ProcessScope::default();
        let point = AttachPoint::UprobeMulti { target: target.to_owned(), functions, scope };
        let link = engine.attached(program, point);
        bench.kernel.replace_file(target);
        assert!(is_moved(&engine.check_link(link).unwrap()), "{target}");
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
        engine.detach(link).unwrap();
    }
}

/// The same offset may be inside an instruction of another file: a breakpoint there would crash the process.
#[test]
fn offset_probe_is_not_moved_to_another_file() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    for (function, offset) in [(None, 0x1000), (Some("probed"), 4)] {
        let scope = ProcessScope::default();
        let function = function.map(str::to_owned);
        let point = AttachPoint::Uprobe { target: APP.to_owned(), function, offset, scope };
        let link = engine.attached(program, point);
        let before = kernel_link(&engine, link);
        bench.kernel.replace_file(APP);
        let HookCheck::Lost(found) = engine.check_link(link).unwrap() else { panic!("it is moved") };
        assert!(found.to_string().contains("its offset is of the file that was at /usr/bin/app"), "{found}");
        assert_eq!(kernel_link(&engine, link), before, "it stays where it was put");
        let error = engine.replace_program(&replacement(&bench, program, "programs")).unwrap_err();
        assert!(error.to_string().contains("its offset is of the file"), "{error}");
        engine.detach(link).unwrap();
    }
}

/// A network file system answers stat(2), and may hang on read(2).
#[test]
fn a_probe_is_not_moved_to_a_file_of_another_machine() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let (_, link) = attached(&bench, &engine, APP);
    bench.kernel.mount_from_elsewhere(APP);
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
    let before = kernel_link(&engine, link);
    bench.kernel.replace_file(APP);
    for _ in 0..2 {
        let HookCheck::Lost(found) = engine.check_link(link).unwrap() else { panic!("it is moved") };
        assert!(found.to_string().contains("NFS, FUSE"), "{found}");
        assert_eq!(kernel_link(&engine, link), before);
    }
    nothing_is_left(&bench, "not moved");
}

#[test]
fn a_probe_stays_where_it_is_as_long_as_it_cannot_move() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let (_, link) = attached(&bench, &engine, APP);
    let before = (places_in(&bench), kernel_link(&engine, link));
    bench.kernel.replace_file_without_functions(APP);
    for _ in 0..2 {
        let HookCheck::Lost(found) = engine.check_link(link).unwrap() else { panic!("it is not moved") };
        let says = found.to_string();
        assert!(says.starts_with("elsewhere: the file at /usr/bin/app was replaced"), "{says}");
        assert!(says.contains("has no function"), "{says}");
        assert_eq!(engine.describe_link(link).unwrap().standing, found, "lists have what checks found");
        assert_eq!((places_in(&bench), kernel_link(&engine, link)), before);
        nothing_is_left(&bench, "not moved");
    }
    bench.kernel.replace_file(APP);
    assert!(is_moved(&engine.check_link(link).unwrap()));
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
    assert_ne!(places_in(&bench), before.0);
}

#[test]
fn a_file_that_is_away_for_a_moment_is_no_finding() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let (_, link) = attached(&bench, &engine, APP);
    bench.kernel.remove_file(APP);
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right, "the new one may come yet");
    bench.kernel.replace_file(APP);
    assert!(is_moved(&engine.check_link(link).unwrap()));
    bench.kernel.remove_file(APP);
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
    for _ in 0..2 {
        let HookCheck::Lost(found) = engine.check_link(link).unwrap() else { panic!("it stays away") };
        assert!(matches!(found, Standing::OldFile { is_there: false, .. }), "{found}");
        assert_eq!(engine.describe_link(link).unwrap().standing, found);
    }
    nothing_is_left(&bench, "the probe stays");
    bench.kernel.replace_file(APP);
    assert!(is_moved(&engine.check_link(link).unwrap()));
}

#[test]
fn a_file_system_that_does_not_answer_holds_nothing() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let (program, link) = attached(&bench, &engine, APP);
    let other = engine.attached(program, probe("/bin/true", ProcessScope::default()));
    bench.kernel.hang_file(APP);
    for _ in 0..3 {
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
    }
    bench.kernel.replace_file("/bin/true");
    assert!(is_moved(&engine.check_link(other).unwrap()), "others are compared meanwhile");
    assert_eq!(engine.all_links().len(), 2);
    engine.detach(other).unwrap();
    bench.kernel.replace_file(APP);
    bench.kernel.answer_file(APP);
    let began = std::time::Instant::now();
    // The blocked stat call must return first.
    while !is_moved(&engine.check_link(link).unwrap()) {
        assert!(began.elapsed() < TEST_TIMEOUT);
    }
    bench.kernel.hang_file(APP);
    engine.check_link(link).unwrap();
    drop(engine);
    bench.kernel.end_link(Path::new(&format!("links/{link}"))).unwrap();
    let (engine, report) = bench.start();
    assert!(report.problems.iter().any(|problem| problem.contains("does not answer")), "{report:?}");
    engine.detach(link).unwrap();
    bench.kernel.answer_file(APP);
}

/// A user's FUSE file system can hang, and any number of other users may probe files on it.
#[test]
fn hanging_paths_of_one_owner_do_not_block_others() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    let [one, another] = ["one", "another"].map(|name| Owner::Grant(name.to_owned()));
    let hang = "/home/ada/fuse/app";
    let hanging: Vec<_> = (0..9).map(|uid| attach_at(&engine, program, &one, (hang, 4711 + uid))).collect();
    let other = attach_at(&engine, program, &another, ("/bin/true", 4800));
    let roots = engine.attached(program, probe("/bin/false", ProcessScope::default()));
    bench.kernel.hang_file(hang);
    for link in hanging {
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
    }
    for (link, path) in [(other, "/bin/true"), (roots, "/bin/false")] {
        bench.kernel.replace_file(path);
        assert!(is_moved(&engine.check_link(link).unwrap()), "{path} is compared meanwhile");
    }
    bench.kernel.answer_file(hang);
}

#[test]
fn a_move_that_fails_anywhere_is_made_up_for() {
    let prepared = || {
        let bench = simulated_bench();
        let engine = bench.engine();
        let (program, link) = attached(&bench, &engine, APP);
        bench.kernel.replace_file(APP);
        (bench, engine, program, link)
    };
    let (bench, engine, _, link) = prepared();
    bench.kernel.note_calls();
    assert!(is_moved(&engine.check_link(link).unwrap()));
    let calls = bench.kernel.calls().len() as u64;
    assert!(calls > 10, "so few calls: {calls}");
    for (call, lasting, restarted) in (1..=calls)
        .flat_map(|call| [(call, false, false), (call, false, true), (call, true, false), (call, true, true)])
    {
        let said = format!("call {call}, lasting: {lasting}, restarted: {restarted}");
        let (bench, mut engine, program, link) = prepared();
        if lasting {
            bench.kernel.fail_from(call)
        } else {
            bench.kernel.fail_call(call)
        }
        let _failed = engine.check_link(link);
        bench.kernel.fail_call(0);
        if restarted {
            drop(engine);
            engine = bench.engine();
        } else {
            let other = engine.attached(program, probe("/bin/true", ProcessScope::default()));
            engine.detach(other).unwrap();
        }
        // A file that could not be examined once may be missing for a moment only.
        for _ in 0..2 {
            engine.check_link(link).unwrap();
        }
        assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running, "{said}");
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right, "{said}");
        nothing_is_left(&bench, &said);
        assert!(places_in(&bench)[0].contains("file 2"), "{said}: {:?}", places_in(&bench));
        assert_eq!(pins(&*bench.kernel, Path::new("links")), [format!("links/{link}")], "{said}");
    }
}

fn attach_at<K: Kernel>(
    engine: &Engine<K>,
    program: ProgramId,
    owner: &Owner,
    (target, uid): (&str, u32),
) -> LinkId {
    let request = AttachRequest {
        ttl: None,
        program,
        point: probe(target, ProcessScope::default()),
        order: OrderIntent::default(),
        sharing: Default::default(),
        metadata: Default::default(),
        owner: owner.clone(),
        group: None,
    };
    let reader = FileReader { uid, gid: uid, ..FileReader::default() };
    engine.attach_by(&request, ProbeReader::from(reader)).unwrap().record.id
}

fn compiled(path: &Path, number: u32) {
    let source = path.with_extension("c");
    let code = format!(
        "__attribute__((noinline)) int probed(int n) {{ __asm__ volatile(\"\"); return n + {number}; }}\n\
         int main(void) {{ return probed(0) != {number}; }}\n"
    );
    std::fs::write(&source, code).unwrap();
    assert!(Command::new("cc").args(["-O1", "-o"]).args([path, &source]).status().unwrap().success());
}

#[test]
fn linux_probes_follow_files_that_are_renamed_into_place() {
    let bench = crate::linux::bench("probed_files");
    let engine = bench.engine();
    let (app, new) = (bench.folder.path().join("app"), bench.folder.path().join("new"));
    let target = app.to_str().unwrap();
    compiled(&app, 1);
    let (_, link) = attached(&bench, &engine, target);
    let inode = || std::fs::metadata(&app).unwrap().ino();
    assert_eq!(file_of(&engine, link).inode, inode());
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
    for number in 2..4 {
        let before = kernel_link(&engine, link);
        compiled(&new, number);
        std::fs::rename(&new, &app).unwrap();
        assert!(is_moved(&engine.check_link(link).unwrap()));
        assert_eq!(file_of(&engine, link).inode, inode());
        assert!(bench.kernel.open_link(before).unwrap().is_none(), "the link in the old file has ended");
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
        assert!(Command::new(&app).status().unwrap().success(), "the probe ended the program");
    }
    let before = kernel_link(&engine, link);
    std::fs::write(&new, "no binary").unwrap();
    std::fs::rename(&new, &app).unwrap();
    let HookCheck::Lost(found) = engine.check_link(link).unwrap() else { panic!("it is no binary") };
    assert!(found.to_string().contains("is not a binary"), "{found}");
    assert_eq!(kernel_link(&engine, link), before);
    engine.detach(link).unwrap();
}

#[test]
fn linux_checks_find_no_file_that_is_hidden_from_the_user() {
    const USER: u32 = 4711;
    let bench = crate::linux::bench("hidden_probed_files");
    let engine = bench.engine();
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = |name: &str| folder.path().join(name);
    let open_to_all = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    open_to_all(folder.path());
    compiled(&path("app"), 1);
    open_to_all(&path("app"));
    std::fs::create_dir(path("hidden")).unwrap();
    std::fs::copy(path("app"), path("hidden/app")).unwrap();
    std::fs::set_permissions(path("hidden"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    let link_path = path("link");
    let found = ["hidden/app", "hidden/absent"].map(|hidden| {
        std::os::unix::fs::symlink(path("app"), &link_path).unwrap();
        let target = (link_path.to_str().unwrap(), USER);
        let link = attach_at(&engine, program, &Owner::User(USER), target);
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
        std::fs::remove_file(&link_path).unwrap();
        std::os::unix::fs::symlink(path(hidden), &link_path).unwrap();
        let found = [(); 3].map(|()| format!("{:?}", engine.check_link(link).unwrap()));
        assert!(found[0].contains("may not read"), "{found:?}");
        engine.detach(link).unwrap();
        std::fs::remove_file(&link_path).unwrap();
        found
    });
    assert_eq!(found[0], found[1]);
}

#[test]
fn linux_probe_of_a_process_is_of_that_process() {
    let bench = crate::linux::bench("probed_processes");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    let app = bench.folder.path().join("app");
    compiled(&app, 1);
    let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let of_child = ProcessScope { pid: Some(child.id()), container_pid: None };
    let link = engine.attached(program, probe(app.to_str().unwrap(), of_child));
    let exe = AttachPoint::Uprobe {
        target: format!("/proc/{}/exe", child.id()),
        function: None,
        offset: 0x1000,
        scope: ProcessScope::default(),
    };
    let by_path = engine.try_attach(program, exe);
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
    drop(child.stdin.take());
    child.wait().unwrap();
    for link in [Some(link), by_path.ok().map(|link| link.record.id)].into_iter().flatten() {
        let standing = engine.describe_link(link).unwrap().standing;
        assert_eq!(standing, Standing::Ended { pid: child.id() });
        assert_eq!(engine.check_link(link).unwrap(), HookCheck::Lost(standing));
    }
}

fn probes_stay_in_files_that_are_not_touched<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    let point = AttachPoint::Uprobe {
        target: "libc".to_owned(),
        function: Some("strtold".to_owned()),
        offset: 0,
        scope: ProcessScope::default(),
    };
    let link = engine.attached(program, point);
    let before = kernel_link(&engine, link);
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right, "after a restart of the daemon");
    assert_eq!(kernel_link(&engine, link), before);
}

crate::on_both_kernels!(probes_stay_in_files_that_are_not_touched);
