//! Members from C sources and from objects that others built.

use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::process::Command;

use bpfmand_core::{BoundText, FunctionSpan, Insn, MapId, MapSpec, ProgramText};
use bpfmand_object::{BtfFeatures, KernelBtf, ObjectFile, TextOptions};

use crate::chain::Loaded;
use crate::kernel::{Map, Program, ProgramKind, load, load_btf};

/// Compiles one of tests/members.
pub fn compile(source: &str) -> ObjectFile {
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("members.o");
    let status = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", "-Wall", "-I/usr/include/x86_64-linux-gnu", "-c"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/members").join(source))
        .arg("-o")
        .arg(&object)
        .status()
        .expect("clang is needed for the members in C");
    assert!(status.success(), "{source} does not compile");
    ObjectFile::parse(std::fs::read(object).unwrap()).unwrap()
}

/// Debian's xdp-filter and the default program of its AF_XDP library, if they are installed.
pub fn installed() -> Vec<(String, ObjectFile)> {
    let Ok(folder) = std::fs::read_dir("/usr/lib/x86_64-linux-gnu/bpf") else { return Vec::new() };
    let mut found: Vec<(String, ObjectFile)> = folder
        .map(|entry| entry.unwrap())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let wanted = name.starts_with("xdpfilt_") || name == "xsk_def_xdp_prog.o";
            wanted.then(|| (name, ObjectFile::parse(std::fs::read(entry.path()).unwrap()).unwrap()))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

/// Every map of the object, by its place.
pub fn maps(object: &ObjectFile) -> Vec<Map> {
    let btf = object.btf(BtfFeatures::ALL).map(|raw| load_btf(&raw).unwrap());
    let create = |spec: &MapSpec| {
        let map = Map::from_spec(spec, btf.as_ref()).unwrap();
        if spec.name == "blocked" {
            // Half of all addresses: a prefix of one bit.
            map.update(&[1, 0, 0, 0, 0x80, 0, 0, 0], &[1, 0, 0, 0]).unwrap();
        }
        if spec.name == "jumps" {
            // The array holds the program for as long as it is open itself.
            let target = dropper();
            map.update(&[0; 4], &target.as_raw_fd().to_ne_bytes()).unwrap();
        }
        map
    };
    object.maps().iter().map(create).collect()
}

/// An XDP program that drops.
fn dropper() -> Program {
    let insns = vec![Insn::new(0xb7, 0, 0, 0, 1), Insn::new(0x95, 0, 0, 0, 0)];
    load(&program("dropper", insns), ProgramKind::Xdp, &[]).unwrap()
}

/// A program of one function without type information.
pub fn program(name: &str, insns: Vec<Insn>) -> BoundText {
    BoundText(ProgramText {
        name: name.to_owned(),
        license: "GPL".to_owned(),
        functions: vec![FunctionSpan { name: name.to_owned(), start: 0, len: insns.len() }],
        insns,
        btf: None,
        func_info: Vec::new(),
        line_info: Vec::new(),
        frags: false,
        sleepable: false,
    })
}

/// Every program of the object, loaded alone. Map ids are places in `descriptors`, the object's own from `first` on.
pub fn members(
    object: &ObjectFile,
    label: &str,
    kind: ProgramKind,
    descriptors: &[RawFd],
    first: usize,
) -> Vec<Loaded> {
    let ids: Vec<MapId> = (0..object.maps().len()).map(|place| MapId((first + place) as u32)).collect();
    let kernel_btf = KernelBtf::parse(std::fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap();
    let options = TextOptions { kernel_btf: Some(&kernel_btf), features: BtfFeatures::ALL };
    object
        .programs()
        .iter()
        .map(|program| {
            let text = object.text(&program.name, &options).unwrap().bind(&ids).unwrap();
            Loaded::new(format!("{label}:{}", program.name), text, kind, descriptors)
        })
        .collect()
}
