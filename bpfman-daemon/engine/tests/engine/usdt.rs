//! USDT probes: programs get the arguments of each probe location.

use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_model::{AttachPoint, LoadRequest, MapId, ProcessScope, ProgramId, Reason, TenantRules};
use bpfmand_engine::{Engine, EngineError, HookCheck, Standing};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, Bench, pins};
use crate::objects;
use crate::replacements::replacement;
use crate::simulated::bench as simulated_bench;

fn shop(folder: &Path) -> PathBuf {
    shop_with(folder, "nop")
}

fn shop_with(folder: &Path, instruction: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/src/shop.c");
    let program = folder.join("shop");
    let built = objects::once(&source, &["-O1", &format!("-DINSTRUCTION=\"{instruction}\"")]);
    std::fs::copy(built, &program).unwrap();
    program
}

fn taken(bench: &Bench<LinuxKernel>, engine: &Engine<LinuxKernel>, program: ProgramId) -> usize {
    let specs = bench.kernel.open_map(MapId(engine.map_pins(program)["__bpf_usdt_specs"])).unwrap();
    let entries = bench.kernel.map_entries(&specs, 256).unwrap();
    entries.iter().filter(|entry| entry.value.iter().any(|byte| *byte != 0)).count()
}

fn point(target: &Path, name: &str) -> AttachPoint {
    let (target, provider, name) = (target.display().to_string(), "shop".to_owned(), name.to_owned());
    AttachPoint::Usdt { target, provider, name, scope: ProcessScope::default() }
}

fn said(
    bench: &Bench<LinuxKernel>,
    engine: &Engine<LinuxKernel>,
    program: ProgramId,
    shop: &Path,
) -> (String, Vec<[i64; 3]>) {
    let map = bench.kernel.open_map(MapId(engine.map_pins(program)["said"])).unwrap();
    for key in 0..16_u32 {
        let entry = bpfmand_kernel::MapEntry { key: key.to_ne_bytes().to_vec(), value: vec![0xff; 24] };
        bench.kernel.write_entry(&map, &entry).unwrap();
    }
    let ran = Command::new(shop).output().unwrap();
    assert!(ran.status.success(), "a probe ended the program");
    let number = |bytes: &[u8]| i64::from_ne_bytes(bytes.try_into().unwrap());
    let values = |value: &[u8]| [number(&value[..8]), number(&value[8..16]), number(&value[16..24])];
    let entries = bench.kernel.map_entries(&map, 16).unwrap();
    let entries = entries.iter().map(|entry| values(&entry.value)).filter(|values| values[0] != -1).collect();
    (String::from_utf8(ran.stdout).unwrap().trim().to_owned(), entries)
}

#[test]
fn linux_programs_get_the_arguments_of_each_place() {
    let bench = crate::linux::bench("usdt");
    let shop = shop(bench.folder.path());
    let engine = bench.engine();
    let program = engine.loads(&bench.request("usdt", &["sold"]))[0];
    if !bench.kernel.features().uprobe_multi {
        println!("skipped: Linux before 6.6 has no probes of many functions of a library");
        let error = engine.try_attach(program, point(&shop, "sold")).unwrap_err();
        assert_eq!((error.kind(), engine.all_links().len()), (Reason::Unsupported, 0), "{error}");
        return;
    }
    assert_eq!(said(&bench, &engine, program, &shop), ("unwatched".to_owned(), vec![]), "before");
    let link = engine.attached(program, point(&shop, "sold"));
    let all = vec![[0, 0, 0], [2, -5, 1_234_567_890_123], [3, 7, -2]];
    let seen = ("watched".to_owned(), all);
    assert_eq!(said(&bench, &engine, program, &shop), seen, "attached");
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running, "a new daemon");
    let pin = engine.describe_link(link).unwrap().pin.unwrap();
    bench.kernel.end_link(&pin).unwrap();
    assert!(matches!(engine.check_link(link).unwrap(), HookCheck::Mended(_)));
    assert_eq!(said(&bench, &engine, program, &shop), seen, "put back");
    assert_eq!(taken(&bench, &engine, program), 3);
    let second = engine.attached(program, point(&shop, "sold"));
    assert_eq!(taken(&bench, &engine, program), 3);
    engine.detach(second).unwrap();
    let new = engine.replace_program(&replacement(&bench, program, "usdt")).unwrap().programs[0].id;
    assert_eq!(said(&bench, &engine, new, &shop), seen, "replaced");
    let error = engine.try_attach(new, point(&shop, "bought")).unwrap_err();
    assert_eq!(error.kind(), Reason::NotFound, "{error}");
    assert!(error.to_string().contains("has no USDT probe shop:bought"), "{error}");
    let error = engine.try_attach(new, point(Path::new("/etc/passwd"), "sold")).unwrap_err();
    assert_eq!(error.kind(), Reason::NotFound, "{error}");
    engine.detach(link).unwrap();
    assert_eq!(said(&bench, &engine, new, &shop), ("unwatched".to_owned(), vec![]), "detached");
    engine.unload(new).unwrap();
    assert_eq!(pins(&*bench.kernel, "".as_ref()), Vec::<String>::new());
}

#[test]
fn linux_a_full_map_of_arguments_is_named() {
    let bench = crate::linux::bench("usdt-full");
    if !bench.kernel.features().uprobe_multi {
        println!("skipped: Linux before 6.6 has no probes of many functions of a library");
        return;
    }
    let shop = shop(bench.folder.path());
    let engine = bench.engine();
    let mut request = bench.request("usdt", &["sold"]);
    request.values.map_sizes.insert("__bpf_usdt_specs".to_owned(), 2);
    let program = engine.load(&request).unwrap().programs[0].id;
    let error = engine.try_attach(program, point(&shop, "sold")).unwrap_err();
    assert!(error.to_string().contains("--map-size __bpf_usdt_specs"), "{error}");
    assert_eq!(engine.all_links().len(), 0);
    assert_eq!(taken(&bench, &engine, program), 0, "of a map that has no room for all");
}

#[test]
fn linux_detached_probe_uses_no_entries_for_arguments() {
    let bench = crate::linux::bench("usdt-failed");
    if !bench.kernel.features().uprobe_multi {
        println!("skipped: Linux before 6.6 has no probes of many functions of a library");
        return;
    }
    let engine = bench.engine();
    let program = engine.loads(&bench.request("usdt", &["sold"]))[0];
    let odd = shop_with(bench.folder.path(), "ret");
    let error = engine.try_attach(program, point(&odd, "sold")).unwrap_err();
    assert!(error.to_string().contains("a place of the probe is no empty instruction"), "{error}");
    let shop = shop(bench.folder.path());
    // The kernel refuses this link last, after everything else has been created.
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let mut of_ended = point(&shop, "sold");
    if let AttachPoint::Usdt { scope, .. } = &mut of_ended {
        scope.pid = Some(ended.id());
    }
    let error = engine.try_attach(program, of_ended).unwrap_err();
    assert!(error.to_string().contains(&format!("process {} does not exist", ended.id())), "{error}");
    assert_eq!((engine.all_links().len(), taken(&bench, &engine, program)), (0, 0));
    engine.attached(program, point(&shop, "sold"));
    assert_eq!(taken(&bench, &engine, program), 3);
}

#[test]
fn usdt_probes_are_refused_to_tenants_and_return_after_reboot() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let tenant = Some(TenantRules::of_containers());
    let denied: EngineError =
        engine.load(&LoadRequest { tenant, ..bench.request("usdt", &["sold"]) }).unwrap_err();
    assert_eq!(denied.kind(), Reason::Denied);
    let program = engine.loads(&bench.request("usdt", &["sold"]))[0];
    let link = engine.attached(program, point(Path::new("/bin/shop"), "sold"));
    drop(engine);
    bench.kernel.reboot();
    assert_eq!(bench.engine().describe_link(link).unwrap().standing, Standing::Running);
}
