//! Records of version 3, in which loads of all users and grants shared the machine's maps.

use std::fs;
use std::path::{Path, PathBuf};

use bpfman_model::{LoadRequest, Owner, ProgramId};
use bpfmand_engine::{Engine, MIGRATIONS, SCHEMA};
use bpfmand_store::{Batch, Store, StoreOptions, Table};

use crate::bench::{Ask as _, Bench, Testable, pins};

const TEAM: &str = "grant:team";
const TABLES: [&str; 7] = ["programs", "previous", "links", "hooks", "matchings", "leftovers", "meta"];

fn store<K: Testable>(bench: &Bench<K>) -> PathBuf {
    bench.folder.path().join("store")
}

fn write_version_3<K: Testable>(bench: &Bench<K>, program: ProgramId, owner: &str) {
    let snapshot = Store::open(StoreOptions::new(store(bench), SCHEMA)).unwrap().load().unwrap();
    fs::remove_dir_all(store(bench)).unwrap();
    let mut batch = Batch::new();
    for name in snapshot.table_names() {
        let table = Table(TABLES.into_iter().find(|table| *table == name).unwrap());
        for (key, record) in snapshot.table(table) {
            let mut record = record.to_vec();
            if name == "programs" {
                let mut parsed: serde_json::Value = serde_json::from_slice(&record).unwrap();
                if parsed["id"] == program.0 {
                    parsed["owner"] = owner.into();
                    record = serde_json::to_vec(&parsed).unwrap();
                }
            }
            batch.put(table, key, record);
        }
    }
    Store::open(StoreOptions::new(store(bench), 3)).unwrap().commit(batch).unwrap();
}

fn shared_maps_stay_until_their_programs_are_unloaded<K: Testable>(bench: &Bench<K>) {
    let map = |engine: &Engine<K>, program| engine.map_pins(program)["everyone"];
    let engine = bench.engine();
    let [roots, teams] = [(); 2].map(|()| engine.loads(&bench.request("sharing", &["host"]))[0]);
    let shared = map(&engine, roots);
    assert_eq!(map(&engine, teams), shared);
    drop(engine);
    write_version_3(bench, teams, TEAM);

    drop(Store::open(StoreOptions::new(store(bench), SCHEMA).migrations(MIGRATIONS)).unwrap());
    let (engine, report) = bench.start();
    let [problem] = &report.problems[..] else { panic!("{report:?}") };
    let says = format!("program {teams} of {TEAM} shares the map \"everyone\"");
    assert!(problem.starts_with(&says), "{problem}");
    let team: Owner = TEAM.parse().unwrap();
    assert_eq!(engine.owner_of_program(teams).as_ref(), Some(&team));
    assert_eq!([roots, teams].map(|program| map(&engine, program)), [shared; 2], "what runs, runs on");
    let load = |owner: &Owner| {
        engine.loads(&LoadRequest { owner: owner.clone(), ..bench.request("sharing", &["host"]) })[0]
    };
    let second = load(&team);
    assert_eq!(map(&engine, second), shared, "the grant has this map by that name");
    assert_ne!(map(&engine, load(&"grant:other".parse().unwrap())), shared, "others have one of their own");
    for program in [teams, second] {
        engine.unload(program).unwrap();
    }
    let later = load(&team);
    assert_ne!(map(&engine, later), shared);
    assert_eq!(map(&engine, roots), shared);
    drop(engine);
    assert_eq!(bench.start().1.problems, [""; 0]);
    assert_eq!(
        pins(&*bench.kernel, Path::new("groups")),
        ["groups/grant-other/everyone", "groups/grant-team/everyone"]
    );
}

#[test]
fn reboot_gives_each_owner_a_map() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let [_roots, teams] = [(); 2].map(|()| engine.loads(&bench.request("sharing", &["host"]))[0]);
    drop(engine);
    write_version_3(&bench, teams, TEAM);
    drop(Store::open(StoreOptions::new(store(&bench), SCHEMA).migrations(MIGRATIONS)).unwrap());
    bench.kernel.reboot();
    let (engine, report) = bench.start();
    assert_eq!(report.problems, [""; 0]);
    let maps: Vec<_> = engine.ids().into_iter().map(|program| engine.map_pins(program)["everyone"]).collect();
    assert_ne!(maps[0], maps[1]);
}

crate::on_both_kernels!(shared_maps_stay_until_their_programs_are_unloaded);
