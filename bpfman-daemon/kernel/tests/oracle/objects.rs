use std::env::consts::ARCH;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use bpfman_model::{BoundText, Insn, MapId, MapSpec};
use bpfmand_object::{BtfFeatures, KernelBtf, ObjectFile, TextOptions};
use bpfmand_splice::{DEFERRING_KFUNCS, THROWING_KFUNCS};

use crate::chain::{Loaded, Maps};
use crate::kernel::{Map, Program, ProgramKind, load, shared_btf};

static KERNEL_BTF: LazyLock<KernelBtf> =
    LazyLock::new(|| KernelBtf::parse(std::fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap());

pub struct KernelFunctions {
    pub throwing: Vec<i32>,
    pub deferring: Vec<i32>,
}

pub fn kernel_functions() -> &'static KernelFunctions {
    static FUNCTIONS: LazyLock<KernelFunctions> = LazyLock::new(|| {
        let ids = |names: &[&str]| {
            names.iter().filter_map(|name| KERNEL_BTF.function_id(name)).map(u32::cast_signed).collect()
        };
        KernelFunctions { throwing: ids(THROWING_KFUNCS), deferring: ids(DEFERRING_KFUNCS) }
    });
    &FUNCTIONS
}

pub fn kernel_has(function: &str) -> bool {
    KERNEL_BTF.function_id(function).is_some()
}

pub fn compile(source: &str) -> ObjectFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/members").join(source);
    clang(&path, if source == "plain.c" { "-g0" } else { "-g" })
}

pub fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/members").join(name);
    std::fs::read_to_string(path).unwrap()
}

pub fn compile_text(text: &str) -> ObjectFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.c");
    std::fs::write(&path, text).unwrap();
    clang(&path, "-g")
}

pub fn compile_file(path: &Path) -> ObjectFile {
    clang(path, "-g")
}

/// Returns whether the kernel passes the program to kfuncs such as `bpf_wq_set_callback`. Older kernels have names with
/// `_impl`, and programs pass themselves. BTF of the newest kernels has both names, so the symbols decide.
fn passes_program() -> bool {
    static PASSES: LazyLock<bool> = LazyLock::new(|| {
        let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let has = |name: &str| symbols.lines().any(|line| line.split_ascii_whitespace().nth(2) == Some(name));
        has("bpf_wq_set_callback") && !has("bpf_wq_set_callback_impl")
    });
    *PASSES
}

fn clang(source: &Path, debug: &str) -> ObjectFile {
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("members.o");
    let status = Command::new("clang")
        .args([
            "-O2",
            debug,
            "-target",
            "bpf",
            "-Wall",
            "-Werror",
            &format!("-I/usr/include/{ARCH}-linux-gnu"),
            "-c",
        ])
        .args(passes_program().then_some("-DPASSES_PROGRAM"))
        .arg(source)
        .arg("-o")
        .arg(&object)
        .status()
        .expect("clang is needed for the members in C");
    assert!(status.success(), "{} does not compile", source.display());
    let mut bytes = std::fs::read(object).unwrap();
    crate::type_tags::write(&mut bytes);
    ObjectFile::parse(bytes).unwrap()
}

pub fn installed() -> Vec<(String, ObjectFile)> {
    let Ok(folder) = std::fs::read_dir(format!("/usr/lib/{ARCH}-linux-gnu/bpf")) else { return Vec::new() };
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

pub fn maps(object: &ObjectFile) -> Vec<Map> {
    let btf = object.btf(BtfFeatures::ALL).map(|raw| shared_btf(&raw).unwrap());
    let create = |spec: &MapSpec| {
        let map = Map::from_spec(spec, btf.as_ref()).unwrap();
        if spec.name == "blocked" {
            map.update(&[1, 0, 0, 0, 0x80, 0, 0, 0], &[1, 0, 0, 0]).unwrap();
        }
        if spec.name == "jumps" {
            map.hold(&dropper()).unwrap();
        }
        map
    };
    object.maps().iter().map(create).collect()
}

fn dropper() -> Program {
    let insns = vec![Insn::new(0xb7, 0, 0, 0, 1), Insn::new(0x95, 0, 0, 0, 0)];
    load(&program("dropper", insns), ProgramKind::Xdp, &[]).unwrap()
}

pub fn program(name: &str, insns: Vec<Insn>) -> BoundText {
    BoundText::of_one_function(name, "GPL", insns)
}

/// Map ids are indexes among the maps, those of the object from `first` on.
pub fn members(
    object: &ObjectFile,
    label: &str,
    kind: ProgramKind,
    maps: &Maps,
    first: usize,
    wanted: impl Fn(&str) -> bool,
) -> Vec<Loaded> {
    let ids: Vec<MapId> = (0..object.maps().len()).map(|place| MapId((first + place) as u32)).collect();
    let options = TextOptions { kernel_btf: Some(&KERNEL_BTF), features: BtfFeatures::ALL };
    object
        .programs()
        .iter()
        .filter(|program| wanted(&program.name))
        .map(|program| {
            let text = object.text(&program.name, &options).unwrap();
            let is_tied = |map: usize| object.map_is_tied(map);
            let needs_own_btf = text.map_indexes().into_iter().any(is_tied);
            let text = text.bind(&ids).unwrap();
            let loaded = Loaded::new(format!("{label}:{}", program.name), text, kind, maps);
            let local_type_ids = local_type_ids(object, &program.name);
            Loaded { needs_own_btf, local_type_ids, ..loaded }.specialised(maps)
        })
        .collect()
}

pub fn local_type_ids(object: &ObjectFile, program: &str) -> Vec<usize> {
    let options = TextOptions { kernel_btf: Some(&KERNEL_BTF), features: BtfFeatures::ALL };
    object.local_type_ids(program, &options).unwrap()
}

pub fn text(object: &ObjectFile, program: &str) -> BoundText {
    let ids: Vec<MapId> = (0..object.maps().len()).map(|place| MapId(place as u32)).collect();
    let options = TextOptions { kernel_btf: Some(&KERNEL_BTF), features: BtfFeatures::ALL };
    object.text(program, &options).unwrap().bind(&ids).unwrap()
}

#[derive(Default)]
pub struct Corpus {
    pub maps: Maps,
    pub members: Vec<Loaded>,
}

impl Corpus {
    pub fn add(
        &mut self,
        kind: ProgramKind,
        label: &str,
        object: &ObjectFile,
        wanted: impl Fn(&str) -> bool,
    ) {
        let first = self.maps.alone.len();
        self.maps.alone.extend(maps(object));
        self.maps.spliced.extend(maps(object));
        self.members.extend(members(object, label, kind, &self.maps, first, wanted));
    }

    pub fn named(&self, name: &str) -> &Loaded {
        self.members.iter().find(|member| member.name() == name).unwrap_or_else(|| panic!("no member {name}"))
    }
}
