//! The disk of the state folder is temporarily full: changes are refused, and succeed later without a restart.

use std::path::Path;
use std::process::Command;

use bpfmand_engine::{Engine, EngineOptions, SCHEMA};
use bpfmand_store::{EngineKind, Store, StoreOptions};

use crate::bench::{Ask as _, pins};
use crate::simulated::{bench, shape};

const FOLDER: &str = "ENGINE_FULL_FOLDER";
const ENGINE: &str = "ENGINE_FULL_ENGINE";

fn goes_on_with_room_again(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    // The small file system disappears with its mount namespace.
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg("mount -t tmpfs -o size=6m small \"$0\" && exec \"$@\"")
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["full_disk::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .env(ENGINE, kind.name())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("went on"), "{said}\n{problems}");
}

#[test]
fn redb_continues_when_a_full_disk_has_space_again() {
    goes_on_with_room_again(EngineKind::Redb);
}

#[test]
fn sled_continues_when_a_full_disk_has_space_again() {
    goes_on_with_room_again(EngineKind::Sled);
}

#[test]
#[ignore = "the process that the tests here start on a small file system"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let kind: EngineKind = std::env::var(ENGINE).unwrap().parse().unwrap();
    let folder = Path::new(&folder);
    let bench = bench();
    let open = || {
        let store = Store::open(StoreOptions::new(folder.join("store"), SCHEMA).engine(kind)).unwrap();
        let options = EngineOptions::new(bench.folder.path().join("bytecode"), store);
        let engine = Engine::open(bench.kernel.clone(), options).unwrap();
        assert_eq!(engine.recover().unwrap().problems, Vec::<String>::new());
        engine
    };
    let engine = open();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    for round in 0..3 {
        let ballast = folder.join("ballast");
        let full = std::io::copy(&mut std::io::repeat(1), &mut std::fs::File::create(&ballast).unwrap());
        full.unwrap_err();
        let mut refused = 0;
        let mut acknowledged = 0;
        while refused < 5 {
            let before = shape(&bench.kernel.snapshot());
            let request = bench.request("programs", &["bravo", "charlie", "tango", "tulip"]);
            match engine.load(&request) {
                Ok(_) => acknowledged += 4,
                Err(_) => {
                    refused += 1;
                    assert_eq!(shape(&bench.kernel.snapshot()), before);
                }
            }
            assert!(acknowledged < 20_000, "the disk never filled up");
        }
        println!("round {round}: {acknowledged} programs until the disk was full");
        std::fs::remove_file(&ballast).unwrap();
        let link = engine.attached(alpha, bench.xdp(1));
        engine.detach(link).unwrap();
        let others: Vec<_> = engine.ids().into_iter().filter(|id| *id != alpha).collect();
        assert_eq!(others.len(), acknowledged);
        others.into_iter().for_each(|id| engine.unload(id).unwrap());
    }
    let before = (shape(&bench.kernel.snapshot()), engine.ids());
    drop(engine);
    let engine = open();
    assert_eq!((shape(&bench.kernel.snapshot()), engine.ids()), before);
    engine.unload(alpha).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    println!("went on");
}
