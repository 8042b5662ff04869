//! Trace points and probes on this machine's kernel run their program.

use std::collections::BTreeSet;

use bpfman_model::{
    AttachPoint, AttachRequest, CallerGroup, LoadRequest, ProcessScope, ProgramType, Reason, TaskScope,
    TenantRules,
};
use bpfmand_engine::EngineError;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{KernelError, SYSCALL_WRAPPERS};

use crate::bench::Ask as _;
use crate::linux::bench;
use crate::points_seen::{Deed, Group, assert_seen, lacks_trampolines, python, runs};

#[test]
fn linux_raw_trace_points_count() {
    let bench = bench("raw");
    let point = AttachPoint::RawTracepoint { name: "sched_switch".to_owned() };
    assert_seen(&bench, "raw_switch", None, point, &Deed { lines: "pass", without: "done", with: "done" });
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["raw_switch"]))[0];
    let missing = AttachPoint::RawTracepoint { name: "no_such_event".to_owned() };
    let error = engine.try_attach(program, missing).unwrap_err();
    assert_eq!((error.kind(), engine.all_links().len()), (Reason::NotFound, 0), "{error}");
}

#[test]
fn linux_typed_trace_points_count() {
    let bench = bench("typed");
    assert_seen(
        &bench,
        "typed_switch",
        None,
        AttachPoint::BtfTracepoint,
        &Deed { lines: "pass", without: "done", with: "done" },
    );
}

/// Other tasks switch all the time; only those of the cgroup count.
#[test]
fn linux_tenants_raw_and_typed_trace_points_see_their_own_tasks() {
    let (bench, group) = (bench("tenants"), Group::new("tenants"));
    let engine = bench.engine();
    let raw = AttachPoint::RawTracepoint { name: "sched_switch".to_owned() };
    for (program, point) in [("raw_switch", raw), ("typed_switch", AttachPoint::BtfTracepoint)] {
        let tenant = Some(TenantRules { scope: TaskScope::Caller, helpers: BTreeSet::new() });
        let load = LoadRequest { tenant, ..bench.request("points", &[program]) };
        if bench.kernel.features().version < (6, 10) {
            println!("skipped: Linux before 6.10 has no cookies of raw trace points");
            let error = engine.load(&load).unwrap_err();
            assert!(error.to_string().contains("Linux 6.10 or later has them"), "{error}");
            continue;
        }
        let loaded = engine.loads(&load)[0];
        let (order, sharing, metadata, owner) = Default::default();
        let tasks = bench.kernel.tasks_of_group(&group.path).unwrap();
        let of = Some(CallerGroup { path: group.path.clone(), tasks, user: Some(0) });
        let attach =
            AttachRequest { ttl: None, program: loaded, point, order, sharing, metadata, owner, group: of };
        engine.attach(&attach).unwrap();
        python(&bench.netns, None, "pass");
        assert_eq!(runs(&bench.kernel, &engine, loaded), 0, "{program} sees tasks of others");
        python(&bench.netns, Some(&group), "import time\ntime.sleep(0.01)");
        assert!(runs(&bench.kernel, &engine, loaded) > 0, "{program} does not see its own tasks");
    }
}

#[test]
fn linux_fmod_ret_sees_calls() {
    let bench = bench("fmod");
    if lacks_trampolines(&bench) {
        return;
    }
    let deed = Deed { lines: "open('/proc/self/comm').close()", without: "done", with: "done" };
    assert_seen(&bench, "keep_return", None, AttachPoint::FmodRet, &deed);
}

fn kernel_functions(text: &str) -> AttachPoint {
    AttachPoint::KprobeMulti { functions: text.split(' ').map(|name| name.parse().unwrap()).collect() }
}

#[test]
fn linux_probes_of_many_kernel_functions_count() {
    let bench = bench("kprobes");
    let release = bench.kernel.features().version;
    let mut programs = vec![("many_entries", (5, 18)), ("many_returns", (5, 18)), ("many_sessions", (6, 10))];
    programs.retain(|(_, since)| release >= *since);
    for (program, _) in programs {
        let engine = bench.engine();
        let loaded = engine.loads(&bench.request("points", &[program]));
        let wrapper = SYSCALL_WRAPPERS.unwrap();
        let names = format!("{wrapper}getpriorit? {wrapper}getppid");
        let attached = engine.try_attach(loaded[0], kernel_functions(&format!("{wrapper}getppid")));
        if let Err(EngineError::Kernel(KernelError::Unsupported { .. })) = &attached {
            println!("skipped: this kernel was built without fprobe");
            return;
        }
        engine.detach(attached.unwrap().record.id).unwrap();
        engine.unload(loaded[0]).unwrap();
        drop(engine);
        let lines = "os.getpriority(os.PRIO_PROCESS, 0)\nos.getppid()";
        let deed = Deed { lines, without: "done", with: "done" };
        assert_seen(&bench, program, None, kernel_functions(&names), &deed);
        let engine = bench.engine();
        let program = engine.loads(&bench.request("points", &[program]))[0];
        for none in ["no_such_function", "no_such_*"] {
            let error = engine.try_attach(program, kernel_functions(none)).unwrap_err();
            assert_eq!(error.kind(), Reason::NotFound, "{error}");
            assert!(error.to_string().contains(none), "{error}");
        }
    }
}

#[test]
fn linux_probes_of_many_functions_of_a_library_count() {
    let bench = bench("uprobes");
    let engine = bench.engine();
    let at = |functions: &[&str]| AttachPoint::UprobeMulti {
        target: "libc".to_owned(),
        functions: functions.iter().map(|name| (*name).to_owned()).collect(),
        scope: ProcessScope::default(),
    };
    if bench.kernel.features().version < (6, 6) {
        println!("skipped: Linux before 6.6 has no probes of many functions of a library");
        // An older kernel would treat the program as an ordinary probe.
        let program = engine.loads(&bench.request("points", &["many_functions"]))[0];
        let error = engine.try_attach(program, at(&["getpriority"])).unwrap_err();
        assert_eq!((error.kind(), engine.all_links().len()), (Reason::Unsupported, 0), "{error}");
        return;
    }
    drop(engine);
    let lines = "os.getpriority(os.PRIO_PROCESS, 0)\nos.getloadavg()";
    for program in ["many_functions", "many_function_returns"] {
        let deed = Deed { lines, without: "done", with: "done" };
        assert_seen(&bench, program, None, at(&["getpriority", "getloadavg"]), &deed);
    }
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["many_functions"]))[0];
    let error = engine.try_attach(program, at(&["getpriority", "no_such_function"])).unwrap_err();
    assert!(error.to_string().contains("has no function \"no_such_function\""), "{error}");
    assert_eq!(engine.all_links().len(), 0);
}

fn first_of(text: &str, is_wanted: impl Fn(&[&str]) -> bool, word: usize) -> Option<String> {
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|words| is_wanted(words)).map(|words| words[word].to_owned())
}

/// Returns the kernel's list of functions that cannot be probed; empty without debugfs.
fn forbidden_functions() -> String {
    let script = "mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
                  cat /sys/kernel/debug/kprobes/blacklist";
    let output = std::process::Command::new("unshare").args(["-m", "sh", "-c", script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn linux_reasons_of_unprobed_functions_are_distinguished() {
    const NAME: &str = "linux_reasons_of_unprobed_functions_are_distinguished";
    let bench = bench("forbidden");
    if !bench.kernel.features().kprobes {
        println!("SKIPPED(kprobes): {NAME}");
        return;
    }
    let engine = bench.engine();
    let mut request = bench.request("fallbacks", &["probes_kernel"]);
    request.programs[0].program_type = ProgramType::Kprobe;
    let single = engine.loads(&request)[0];
    let at = |function: &str| AttachPoint::Kprobe { function: function.to_owned(), offset: 0 };
    // Entry functions of exceptions on x86: each name exists once.
    let is_forbidden = |words: &[&str]| words.len() == 2 && words[1].starts_with("exc_");
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let whole: BTreeSet<&str> = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .filter(|name| !name.contains('.'))
        .collect();
    let is_made = |words: &[&str]| {
        let base = words[2].strip_suffix(".isra.0");
        matches!(words[1], "t" | "T") && base.is_some_and(|base| !whole.contains(base))
    };
    let made = first_of(&symbols, is_made, 2);
    let mut points = vec![
        (at("vfs_unlnik"), "names like it are vfs_unlink".to_owned()),
        (at("of_no_kernel_at_all"), "may have built it into its callers".to_owned()),
    ];
    let forbidden = first_of(&forbidden_functions(), is_forbidden, 1);
    match forbidden.clone() {
        Some(name) => points.push((at(&name), format!("\"{name}\": the kernel forbids to probe it"))),
        None => println!("SKIPPED(the kernel's list of forbidden functions): {NAME}"),
    }
    match made {
        Some(made) => {
            points.push((at(made.trim_end_matches(".isra.0")), format!("its compiler made {made}")));
        }
        None => println!("SKIPPED(a function named .isra.0): {NAME}: functions that the compiler made"),
    }
    for (point, words) in points {
        let error = engine.try_attach(single, point).unwrap_err();
        assert!(error.to_string().contains(&words), "{words}: {error}");
        assert_eq!(error.kind(), Reason::NotFound, "{error}");
    }
    let wrapper = SYSCALL_WRAPPERS.unwrap();
    let many = engine.loads(&bench.request("points", &["many_entries"]))[0];
    let attached = engine.try_attach(many, kernel_functions(&format!("{wrapper}getppid")));
    if let Err(EngineError::Kernel(KernelError::Unsupported { .. })) = &attached {
        println!("SKIPPED(fprobe): {NAME}: several functions");
        return;
    }
    engine.detach(attached.unwrap().record.id).unwrap();
    let unknown = kernel_functions(&format!("{wrapper}getppid of_no_kernel_at_all"));
    let error = engine.try_attach(many, unknown).unwrap_err().to_string();
    assert!(error.contains("kernel function \"of_no_kernel_at_all\""), "{error}");
    if let Some(name) = forbidden.filter(|name| !name.starts_with(wrapper)) {
        let point = kernel_functions(&format!("{wrapper}getppid {name}"));
        let error = engine.try_attach(many, point).unwrap_err().to_string();
        assert!(error.contains(&format!("kernel functions {name}: the kernel forbids")), "{error}");
    }
    assert_eq!(engine.all_links().len(), 0);
}

/// A kernel has static functions of one name in several files; a dozen are named `init_once`.
#[test]
fn linux_a_function_with_many_addresses_is_refused_with_count() {
    let bench = bench("several");
    if !bench.kernel.features().kprobes {
        println!("SKIPPED(kprobes): linux_a_function_with_many_addresses_is_refused_with_count");
        return;
    }
    let engine = bench.engine();
    let mut request = bench.request("fallbacks", &["probes_kernel"]);
    request.programs[0].program_type = ProgramType::Kprobe;
    let program = engine.loads(&request)[0];
    let point = AttachPoint::Kprobe { function: "init_once".to_owned(), offset: 0 };
    let error = engine.try_attach(program, point).unwrap_err().to_string();
    assert!(error.contains("\"init_once\"") && error.contains("functions of that name"), "{error}");
    assert_eq!(engine.all_links().len(), 0);
}
