//! Load, list, get, unload, and sharing of maps.

use std::collections::BTreeSet;
use std::path::Path;

use bpfman_model::{LoadRequest, Owner, ProgramId, Reason, Selector};
use bpfmand_engine::{ProgramDetails, SCHEMA, Standing};
use bpfmand_store::{Batch, Store, StoreOptions, Table};

use crate::bench::{Ask as _, Bench, Testable, pins};

#[test]
fn damaged_debug_records_are_a_warning_of_the_load() {
    let bench = crate::simulated::bench();
    let mut engine = bench.engine();
    let whole = crate::objects::object("programs");
    let is_records = |bytes: &[u8]| bytes == [0x9f, 0xeb, 1, 0];
    let at = whole.windows(4).rposition(is_records).unwrap();
    let mut damaged = whole.to_vec();
    damaged[at] = 0;
    let mut request = bench.request("programs", &["alpha", "bravo"]);
    let file = bench.folder.path().join("damaged.o");
    std::fs::write(&file, damaged).unwrap();
    let warnings = |request: &LoadRequest| {
        let loaded = engine.load(request).unwrap().programs;
        let warnings_of = |program: ProgramDetails| program.managed.unwrap().record.warnings.clone();
        loaded.into_iter().map(warnings_of).collect::<Vec<_>>()
    };
    assert_eq!(warnings(&request), vec![Vec::<String>::new(); 2]);
    request.source = bpfman_model::BytecodeSource::File(file);
    for told in warnings(&request) {
        assert!(told.len() == 1 && told[0].contains("source lines"), "{told:?}");
    }
    for boots in [false, true] {
        drop(engine);
        if boots {
            bench.kernel.reboot();
        }
        engine = bench.engine();
        let last = *engine.ids().last().unwrap();
        let told = engine.describe_program(last).unwrap().managed.unwrap().record.warnings.clone();
        assert!(told.len() == 1 && told[0].contains("source lines"), "{told:?}");
    }
}

fn a_loaded_program_is_listed_until_it_is_unloaded<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut request = bench.request("programs", &["alpha"]);
    request.metadata.insert("team".to_owned(), "blue".to_owned());
    let [loaded] = &engine.load(&request).unwrap().programs[..] else { panic!("one program") };
    let id = loaded.id;
    let described = engine.describe_program(id).unwrap();
    assert_eq!((&loaded.facts, &loaded.managed), (&described.facts, &described.managed));
    let selector = Selector { metadata: request.metadata, ..Selector::default() };
    let [listed] = &engine.list(&selector).unwrap()[..] else { panic!("one program") };
    let managed = listed.managed.as_ref().unwrap();
    assert_eq!((listed.id, managed.record.name.as_str(), managed.standing.name()), (id, "alpha", "ok"));
    assert_eq!(listed.facts.as_ref().unwrap().name, "alpha");
    assert_eq!(pins(&*bench.kernel, Path::new("")), [format!("maps/{id}/counts"), format!("prog_{id}")]);
    assert_eq!(listed.managed, engine.describe_program(id).unwrap().managed);

    engine.unload(id).unwrap();
    assert_eq!(engine.describe_program(id).unwrap_err().kind(), Reason::NotFound);
    assert_eq!(engine.unload(id).unwrap_err().kind(), Reason::NotFound);
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    assert_eq!(bench.kernel.program(id).unwrap(), None);
    assert_eq!(std::fs::read_dir(bench.folder.path().join("bytecode")).unwrap().count(), 0);
}

fn programs_of_one_load_share_the_maps_of_their_object<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, tango] = engine.loads(&bench.request("programs", &["alpha", "tango"]))[..] else { panic!() };
    assert_eq!(engine.map_pins(alpha)["counts"], engine.map_pins(tango)["counts"]);
    let other = engine.loads(&bench.request("programs", &["alpha"]))[0];
    assert_ne!(engine.map_pins(other)["counts"], engine.map_pins(alpha)["counts"]);

    engine.unload(alpha).unwrap();
    let tango_alone = engine.describe_program(tango).unwrap();
    assert_eq!(tango_alone.managed.unwrap().standing, Standing::Running);
    assert!(pins(&*bench.kernel, Path::new("maps")).contains(&format!("maps/{tango}/counts")));
}

fn global_data_reaches_the_program<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut request = bench.request("programs", &["alpha"]);
    let untouched = engine.loads(&request)[0];
    request.global_data.insert("verdict".to_owned(), 1_u32.to_ne_bytes().to_vec());
    let given = engine.loads(&request)[0];
    assert_eq!((bench.kernel.verdict(untouched), bench.kernel.verdict(given)), (2, 1));

    request.global_data.insert("nonsense".to_owned(), vec![0]);
    assert_eq!(engine.load(&request).unwrap_err().kind(), Reason::Invalid);
}

fn maps_of_an_owner_outlive_it_until_their_last_user_leaves<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let owner = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let mut request = bench.request("programs", &["bravo"]);
    request.map_owner = Some(owner);
    let first = engine.loads(&request)[0];
    let second = engine.loads(&request)[0];
    let counts = engine.map_pins(owner)["counts"];
    assert_eq!(engine.map_pins(first)["counts"], counts);
    assert_eq!(engine.map_pins(second)["counts"], counts);
    let used_by = engine.describe_program(first).unwrap().managed.unwrap().map_used_by;
    assert_eq!(used_by, [owner, first, second]);

    let folder = format!("maps/{owner}/counts");
    engine.unload(owner).unwrap();
    engine.unload(first).unwrap();
    assert_eq!(engine.map_pins(second)["counts"], counts);
    assert_eq!(pins(&*bench.kernel, Path::new("maps")), [folder]);
    engine.unload(second).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    assert_eq!(bench.kernel.list_folder(Path::new("maps")).unwrap(), Vec::<String>::new());
}

fn maps_over_the_memory_limit_are_refused_before_any_is_created<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let error = engine.load(&bench.request("huge", &["hoards"])).unwrap_err();
    assert_eq!(error.kind(), Reason::TooLarge);
    let message = error.to_string();
    assert!(message.contains("3072 MiB are of map \"everything\" with 786432 entries"), "{message}");
    assert!(message.contains("the limit is 1024 MiB"), "{message}");
    assert!(error.hint().unwrap().to_string().contains("maps.mib_per_load"));
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    assert_eq!(bench.kernel.list_folder(Path::new("pending")).unwrap(), Vec::<String>::new());
}

fn a_map_that_its_own_loader_sizes_is_named<K: Testable>(bench: &Bench<K>) {
    let error = bench.engine().load(&bench.request("unsized", &["counts"])).unwrap_err();
    assert_eq!(error.kind(), Reason::Invalid);
    let message = error.to_string();
    assert!(message.contains("map \"per_interface\": its max_entries is 0"), "{message}");
    assert!(message.contains("the object's own loader sets it"), "{message}");
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

fn map_owner_without_the_map_is_refused<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let owner = engine.loads(&bench.request("refused", &["tame"]))[0];
    let before = pins(&*bench.kernel, Path::new(""));
    let mut request = bench.request("programs", &["alpha"]);
    request.map_owner = Some(owner);
    assert!(engine.load(&request).unwrap_err().to_string().contains("has no map \"counts\""));
    request.map_owner = Some(bpfman_model::ProgramId(u32::MAX));
    assert!(engine.load(&request).unwrap_err().to_string().contains("does not exist"));
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
}

fn maps_pinned_by_name_are_one_map_and_go_with_the_last_user<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [host, guest] = engine.loads(&bench.request("sharing", &["host", "guest"]))[..] else { panic!() };
    let other = engine.loads(&bench.request("sharing", &["guest"]))[0];
    let (first, second) = (engine.map_pins(host), engine.map_pins(other));
    assert_eq!(first["everyone"], second["everyone"]);
    assert_ne!(first["own"], second["own"]);
    for gone in [host, other] {
        engine.unload(gone).unwrap();
        assert_eq!(pins(&*bench.kernel, Path::new("shared")), ["shared/everyone"]);
    }
    engine.unload(guest).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

fn for_application<K: Testable>(
    bench: &Bench<K>,
    object: &'static str,
    namespace: Option<&str>,
) -> LoadRequest {
    let program = if object == "sharing" { "host" } else { object };
    let mut request = bench.request(object, &[program]);
    request.metadata.insert("bpfman.io/uuid".to_owned(), "0-1".to_owned());
    let namespace = namespace.map(|name| ("bpfman.io/ProgramNamespace".to_owned(), name.to_owned()));
    request.metadata.extend(namespace);
    request
}

fn maps_pinned_by_name_belong_to_namespace_cluster_or_machine<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let owners = [None, Some("good"), Some("evil")];
    let machine = engine.loads(&bench.request("sharing", &["host"]))[0];
    let first = owners.map(|owner| engine.loads(&for_application(bench, "sharing", owner))[0]);
    let second = owners.map(|owner| engine.loads(&for_application(bench, "sharing", owner))[0]);
    let map = |program: ProgramId| engine.map_pins(program)["everyone"];
    let ids: BTreeSet<u32> = first.iter().chain([&machine]).map(|program| map(*program)).collect();
    assert_eq!(ids.len(), 4, "nobody has the map of another");
    assert_eq!(first.map(map), second.map(map), "those who belong together have one");
    assert_eq!(
        pins(&*bench.kernel, Path::new("groups")),
        ["groups/cluster/everyone", "groups/ns-evil/everyone", "groups/ns-good/everyone"]
    );
    assert_eq!(pins(&*bench.kernel, Path::new("shared")), ["shared/everyone"]);
    let before = first.map(map);
    drop(engine);
    let engine = bench.engine();
    let map = |program: ProgramId| engine.map_pins(program)["everyone"];
    let third = owners.map(|owner| engine.loads(&for_application(bench, "sharing", owner))[0]);
    assert_eq!(third.map(map), before);
    for program in engine.ids() {
        engine.unload(program).unwrap();
    }
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

fn maps_pinned_by_name_are_not_shared_among_owners<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let owners = ["root", "user:4711", "grant:team", "grant:other"].map(|owner| owner.parse().unwrap());
    let load = |owner: &Owner| {
        let request = LoadRequest { owner: owner.clone(), ..bench.request("sharing", &["host"]) };
        engine.map_pins(engine.loads(&request)[0])["everyone"]
    };
    let first = owners.each_ref().map(load);
    assert_eq!(BTreeSet::from(first).len(), owners.len(), "a map for each owner");
    assert_eq!(owners.each_ref().map(load), first, "loads of one owner share it");
    assert_eq!(
        pins(&*bench.kernel, Path::new("groups")),
        ["groups/grant-other/everyone", "groups/grant-team/everyone", "groups/user-4711/everyone"]
    );
    for program in engine.ids() {
        engine.unload(program).unwrap();
    }
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

fn map_of_another_shape_blocks_no_other_owner<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    engine.loads(&for_application(bench, "squatter", Some("evil")));
    engine.loads(&for_application(bench, "sharing", None));
    engine.loads(&for_application(bench, "sharing", Some("good")));
    engine.loads(&bench.request("sharing", &["host"]));
    let own = engine.load(&for_application(bench, "sharing", Some("evil"))).unwrap_err();
    assert!(own.to_string().contains("exists with another shape"), "{own}");
}

fn maps_of_daemons_without_groups_stay_with_their_users<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let old = engine.loads(&bench.request("sharing", &["host"]))[0];
    let shared = engine.map_pins(old)["everyone"];
    drop(engine);
    let metadata = for_application(bench, "sharing", Some("good")).metadata;
    {
        let store = Store::open(StoreOptions::new(bench.folder.path().join("store"), SCHEMA)).unwrap();
        let programs = Table("programs");
        let (key, record) = {
            let snapshot = store.load().unwrap();
            let (key, record) = snapshot.table(programs).next().unwrap();
            (key.to_vec(), record.to_vec())
        };
        let mut record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        record["metadata"] = serde_json::to_value(&metadata).unwrap();
        let mut batch = Batch::new();
        batch.put(programs, &key, serde_json::to_vec(&record).unwrap());
        store.commit(batch).unwrap();
    }
    let (engine, report) = bench.start();
    let says = format!("program {old} of root shares the map \"everyone\"");
    assert!(matches!(&report.problems[..], [problem] if problem.starts_with(&says)), "{report:?}");
    let map = |program: ProgramId| engine.map_pins(program)["everyone"];
    let [good, evil] =
        [Some("good"), Some("evil")].map(|owner| engine.loads(&for_application(bench, "sharing", owner))[0]);
    assert_eq!((map(old), map(good)), (shared, shared));
    assert_ne!(map(evil), shared);
    engine.unload(old).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("shared")), ["shared/everyone"], "one still has it");
    engine.unload(good).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("shared")), Vec::<String>::new());
    let later = engine.loads(&for_application(bench, "sharing", Some("good")))[0];
    assert_ne!(map(later), shared);
    assert!(pins(&*bench.kernel, Path::new("groups")).contains(&"groups/ns-good/everyone".to_owned()));
}

fn rejected_program_unloads_its_siblings_and_leaves_nothing<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let kept = engine.loads(&bench.request("refused", &["tame"]))[0];
    let before = pins(&*bench.kernel, Path::new(""));
    let refused = engine.load(&bench.request("refused", &["tame", "wild"])).unwrap_err();
    assert_eq!(refused.kind(), Reason::KernelRefused, "{refused}");
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
    assert_eq!(bench.kernel.list_folder(Path::new("pending")).unwrap(), Vec::<String>::new());
    assert_eq!(engine.ids(), [kept]);
}

fn wrong_requests_change_nothing<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut cases = vec![
        (bench.request("programs", &[]), Reason::Invalid),
        (bench.request("programs", &["alpha", "alpha"]), Reason::Invalid),
        (bench.request("programs", &["nobody"]), Reason::Invalid),
        (bench.request("programs", &["alpha"]), Reason::Denied),
        (bench.request("programs", &["alpha"]), Reason::Invalid),
        (bench.request("programs", &["alpha"]), Reason::TooLarge),
    ];
    cases[3].0.caller_uid = 1000;
    cases[4].0.programs[0].program_type = bpfman_model::ProgramType::Tc;
    cases[5].0.metadata.insert("long".to_owned(), "x".repeat(1 << 20));
    for (request, kind) in cases {
        let error = engine.load(&request).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    }
    drop(engine);
    assert_eq!(bench.records(), []);
}

crate::on_both_kernels!(
    a_loaded_program_is_listed_until_it_is_unloaded,
    a_map_that_its_own_loader_sizes_is_named,
    maps_over_the_memory_limit_are_refused_before_any_is_created,
    programs_of_one_load_share_the_maps_of_their_object,
    global_data_reaches_the_program,
    maps_of_an_owner_outlive_it_until_their_last_user_leaves,
    map_owner_without_the_map_is_refused,
    maps_pinned_by_name_are_one_map_and_go_with_the_last_user,
    maps_pinned_by_name_belong_to_namespace_cluster_or_machine,
    maps_pinned_by_name_are_not_shared_among_owners,
    map_of_another_shape_blocks_no_other_owner,
    maps_of_daemons_without_groups_stay_with_their_users,
    wrong_requests_change_nothing,
);

mod refusal {
    #[test]
    fn linux_missing_feature_is_named_by_object_type_and_field() {
        let bench = crate::linux::bench("missing");
        let error =
            super::Bench::engine(&bench).load(&bench.request("missing", &["trace_missing"])).unwrap_err();
        assert_eq!(error.kind(), super::Reason::KernelRefused);
        let message = error.to_string();
        for says in [
            "missing.o: program \"trace_missing\" (section tp/sched/sched_switch)",
            "function trace_missing, instruction ",
            "struct task_struct.of_no_kernel (CO-RE byte_off, access path 0:1)",
            "this kernel's struct task_struct has nothing of this name",
        ] {
            assert!(message.contains(says), "{says}: {message}");
        }
        assert!(error.verifier_log().unwrap().contains("unknown#195896080"));
        assert!(error.hint().unwrap().to_string().contains("bpf_core_field_exists"));
    }

    #[test]
    fn simulated_a_refused_program_leaves_nothing() {
        let bench = crate::simulated::bench();
        bench.kernel.refuse("wild");
        super::rejected_program_unloads_its_siblings_and_leaves_nothing(&bench);
    }

    #[test]
    fn linux_a_refused_program_leaves_nothing() {
        super::rejected_program_unloads_its_siblings_and_leaves_nothing(&crate::linux::bench("refusal"));
    }
}
