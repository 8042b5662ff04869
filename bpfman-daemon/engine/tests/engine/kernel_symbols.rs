//! Addresses of kernel symbols, and kernel configuration options.

use bpfman_model::{LoadRequest, Owner, OwningApplication, ProgramRequest, ProgramType, Reason};
use bpfmand_engine::{EngineError, GuardRefusal};

use crate::bench::{Ask as _, Bench, Testable};

fn request<K: Testable>(bench: &Bench<K>, file: &'static str, program: &str) -> LoadRequest {
    let program =
        ProgramRequest { name: program.to_owned(), program_type: ProgramType::Uprobe, target: None };
    LoadRequest { programs: vec![program], ..bench.request(file, &[]) }
}

fn symbols_resolve_or_are_named_in_a_refusal_without_leftovers<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let load = |program| engine.load(&request(bench, "kernel_symbols", program));
    let loaded = load("probe_address").unwrap().programs;
    engine.unload(loaded[0].id).unwrap();
    let error = load("probe_missing").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("program probe_missing") && text.contains("a symbol no_such_symbol"), "{text}");
    assert!(engine.ids().is_empty());
}

fn options_are_read_or_named_in_a_refusal_that_leaves_nothing<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    if let Err(error) = bench.kernel.build_config() {
        println!("SKIPPED(the kernel's configuration): {error}");
        return;
    }
    let loaded = engine.load(&request(bench, "kernel_symbols", "probe_options")).unwrap().programs;
    engine.unload(loaded[0].id).unwrap();
    let text = engine.load(&request(bench, "no_such_option", "probe")).unwrap_err().to_string();
    assert!(text.contains("CONFIG_NO_SUCH_OPTION: this kernel's configuration does not have it"), "{text}");
    assert!(engine.ids().is_empty());
}

fn tenants_get_no_kernel_addresses<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let name = OwningApplication::parse(Some("shop"), "probe").unwrap();
    let tenants = |program| LoadRequest {
        owner: Owner::Application(name.clone()),
        ..request(bench, "kernel_symbols", program)
    };
    let error = engine.load(&tenants("probe_address")).unwrap_err();
    assert_eq!(error.kind(), Reason::Denied, "{error}");
    let EngineError::Guard(refusal) = &error else { panic!("{error}") };
    assert!(matches!(**refusal, GuardRefusal::ForbiddenUse { grantable: false, .. }), "{refusal:?}");
    assert!(error.to_string().contains("the address of the kernel symbol "), "{error}");
    assert!(engine.ids().is_empty());
}

crate::on_both_kernels!(
    symbols_resolve_or_are_named_in_a_refusal_without_leftovers,
    options_are_read_or_named_in_a_refusal_that_leaves_nothing,
    tenants_get_no_kernel_addresses,
);
