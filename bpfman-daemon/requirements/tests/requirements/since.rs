//! The version table agrees with the running kernel.

use std::collections::BTreeMap;

use bpfmand_object::KernelBtf;
use bpfmand_requirements::{LinuxVersion, rows};

const ENUMERATIONS: [(&str, &str, &str); 3] = [
    ("program_type", "bpf_prog_type", "BPF_PROG_TYPE_"),
    ("map_type", "bpf_map_type", "BPF_MAP_TYPE_"),
    ("helper", "bpf_func_id", "BPF_FUNC_"),
];

/// The three enumerations in a kernel's BTF are complete for its version, whatever its configuration.
#[test]
fn this_kernel_has_what_its_version_promises_and_nothing_later() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        println!("skipped: this kernel has no BTF");
        return;
    };
    let types = KernelBtf::parse(bytes).unwrap();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let version = LinuxVersion::of_release(&release).unwrap();
    let mut compared = BTreeMap::new();
    for (kind, enumeration, prefix) in ENUMERATIONS {
        let names = types.enumerators(enumeration).unwrap();
        for row in rows().filter(|row| row.kind == kind) {
            let name = match kind {
                "helper" => row.name.replacen("bpf_", prefix, 1),
                _ => format!("{prefix}{}", row.name.to_ascii_uppercase()),
            };
            let promised = row.since.version <= version;
            assert_eq!(names.contains(&name.as_str()), promised, "{kind} {} on {release}", row.name);
            *compared.entry(kind).or_insert(0) += 1;
        }
    }
    assert_eq!(compared["helper"], 211);
    // A kernel may lack kfuncs of its version: they depend on its configuration.
    for function in types.offered_functions() {
        if let Some(since) = bpfmand_requirements::since("kfunc", function.name) {
            assert!(since.version <= version, "{} on {release}", function.name);
        }
    }
}
