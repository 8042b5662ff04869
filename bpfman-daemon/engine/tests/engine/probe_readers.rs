//! The users with whose rights probed files are opened, when a probe is attached again.

use std::path::Path;

use bpfman_model::{
    AttachRequest, FileReader, LinkId, OrderIntent, Owner, ProbeReader, ProcessScope, ProgramId,
};
use bpfmand_engine::{Engine, HookCheck};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, edit_records};
use crate::probed_files::{APP, is_moved, probe};
use crate::replacements::replacement;
use crate::simulated::bench as simulated_bench;

fn attach_by(engine: &Engine<SimKernel>, program: ProgramId, owner: &Owner, uid: u32) -> LinkId {
    let request = AttachRequest {
        ttl: None,
        program,
        point: probe(APP, ProcessScope::default()),
        order: OrderIntent::default(),
        sharing: Default::default(),
        metadata: Default::default(),
        owner: owner.clone(),
        group: None,
    };
    let reader = FileReader { uid, gid: uid, ..FileReader::default() };
    engine.attach_by(&request, ProbeReader::from(reader)).unwrap().record.id
}

fn refused(engine: &Engine<SimKernel>, link: LinkId, says: &str) {
    let HookCheck::Lost(found) = engine.check_link(link).unwrap() else { panic!("it is attached") };
    assert!(found.to_string().contains(says), "{found}");
}

#[test]
fn a_probe_moves_only_to_files_that_its_user_may_read() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    let of_user = attach_by(&engine, program, &Owner::User(1000), 1000);
    let of_root = attach_by(&engine, program, &Owner::Root, 0);
    bench.kernel.replace_file(APP);
    bench.kernel.hide_file(APP);
    refused(&engine, of_user, "user 1000 attached it, and may not read /usr/bin/app");
    assert!(is_moved(&engine.check_link(of_root).unwrap()));
    let error = engine.replace_program(&replacement(&bench, program, "programs")).unwrap_err();
    assert!(error.to_string().contains("may not read"), "{error}");
    drop(engine);
    bench.kernel.end_link(Path::new(&format!("links/{of_user}"))).unwrap();
    let (engine, report) = bench.start();
    assert!(report.problems.iter().any(|problem| problem.contains("may not read")), "{report:?}");
    assert!(!engine.describe_link(of_user).unwrap().standing.is_running());
}

/// Records of earlier versions lack the user: only root's probes come back.
#[test]
fn a_probe_of_an_unknown_reader_comes_back_for_root_alone() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    let of_user = attach_by(&engine, program, &Owner::User(1000), 1000);
    let of_root = attach_by(&engine, program, &Owner::Root, 0);
    drop(engine);
    edit_records(&bench, "links", |link| drop(link.as_object_mut().unwrap().remove("reader")));
    let engine = bench.engine();
    let says = "does not have the rights of user:1000";
    for link in [of_user, of_root] {
        assert!(engine.describe_link(link).unwrap().standing.is_running(), "what runs, runs on");
        bench.kernel.end_link(Path::new(&format!("links/{link}"))).unwrap();
    }
    assert!(matches!(engine.check_link(of_user).unwrap(), HookCheck::Lost(_)));
    assert!(matches!(engine.check_link(of_root).unwrap(), HookCheck::Mended(_)));
    bench.kernel.replace_file(APP);
    assert!(matches!(engine.check_link(of_user).unwrap(), HookCheck::Lost(_)));
    assert!(is_moved(&engine.check_link(of_root).unwrap()));
    let links = || bench.kernel.list_folder(Path::new("links")).unwrap();
    assert_eq!(links(), [of_root.to_string()]);
    drop(engine);
    let (_, report) = bench.start();
    assert!(report.problems.iter().any(|problem| problem.contains(says)), "{report:?}");
    assert_eq!(links(), [of_root.to_string()]);
}
