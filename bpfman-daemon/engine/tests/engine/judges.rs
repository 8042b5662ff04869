//! Results of other loaders than libbpf: aya, and cilium/ebpf if it was built.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;

use aya::programs::{Program, ProgramError};
use aya::{Btf, EbpfLoader};
use bpfmand_object::ObjectFile;

type Names = BTreeSet<(String, String)>;

/// Returns the programs that other loaders load: aya, and cilium/ebpf if the corpus has it. Pins maps below `bpffs`.
pub fn loaded_by_others(
    corpus: &Path,
    objects: &BTreeSet<PathBuf>,
    bpffs: &Path,
) -> Vec<(&'static str, Names)> {
    let mut found = vec![("aya", by_all(objects, |object| by_aya(object, bpffs)))];
    let cilium = corpus.join("judge-cilium");
    // If it was not built, the test of the corpus reports that.
    if cilium.exists() {
        found.push(("cilium/ebpf", by_all(objects, |object| by_cilium(&cilium, object))));
    }
    found
}

fn by_all(objects: &BTreeSet<PathBuf>, by: impl Fn(&Path) -> Vec<String>) -> Names {
    let of = |object: &PathBuf| {
        let name = object.file_stem().unwrap().to_string_lossy().into_owned();
        by(object).into_iter().map(move |program| (name.clone(), program))
    };
    objects.iter().flat_map(of).collect()
}

fn by_cilium(judge: &Path, object: &Path) -> Vec<String> {
    let done = Command::new(judge).arg(object).output().unwrap();
    if !done.status.success() {
        println!("cilium/ebpf: {}: {}", object.display(), String::from_utf8_lossy(&done.stderr));
    }
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn by_aya(object: &Path, bpffs: &Path) -> Vec<String> {
    // The folder names that aya accepts have no dots.
    let pins = tempfile::Builder::new().prefix("aya").tempdir_in(bpffs).unwrap();
    catch_unwind(|| taken_by_aya(object, pins.path())).unwrap_or_else(|_| {
        println!("aya: {}: a panic", object.display());
        Vec::new()
    })
}

fn taken_by_aya(object: &Path, pins: &Path) -> Vec<String> {
    let bytes = std::fs::read(object).unwrap();
    let Ok(ours) = ObjectFile::parse(&*bytes) else { return Vec::new() };
    let mut loader = EbpfLoader::new();
    let Ok(mut loaded) = loader.default_map_pin_directory(pins).load(&bytes) else { return Vec::new() };
    let kernel = Btf::from_sys_fs().ok();
    let mut taken = Vec::new();
    for (name, program) in loaded.programs_mut() {
        let target = ours.program(name).ok().and_then(|entry| entry.attach_target.clone());
        if load(program, target.as_deref().zip(kernel.as_ref())).is_some_and(|done| done.is_ok()) {
            taken.push(name.to_owned());
        }
    }
    taken
}

/// Loads a program; `None` for extensions, and for a target that the program's section does not name.
fn load(program: &mut Program, target: Option<(&str, &Btf)>) -> Option<Result<(), ProgramError>> {
    Some(match program {
        Program::KProbe(one) => one.load(),
        Program::UProbe(one) => one.load(),
        Program::TracePoint(one) => one.load(),
        Program::SocketFilter(one) => one.load(),
        Program::ReusePortSocketFilter(one) => one.load(),
        Program::Xdp(one) => one.load(),
        Program::SkMsg(one) => one.load(),
        Program::SkSkb(one) => one.load(),
        Program::CgroupSockAddr(one) => one.load(),
        Program::SockOps(one) => one.load(),
        Program::SchedClassifier(one) => one.load(),
        Program::CgroupSkb(one) => one.load(),
        Program::CgroupSysctl(one) => one.load(),
        Program::CgroupSockopt(one) => one.load(),
        Program::LircMode2(one) => one.load(),
        Program::PerfEvent(one) => one.load(),
        Program::RawTracePoint(one) => one.load(),
        Program::FlowDissector(one) => one.load(),
        Program::SkLookup(one) => one.load(),
        Program::SkReuseport(one) => one.load(),
        Program::CgroupSock(one) => one.load(),
        Program::CgroupDevice(one) => one.load(),
        Program::Lsm(one) => one.load(target?.0, target?.1),
        Program::LsmCgroup(one) => one.load(target?.0, target?.1),
        Program::BtfTracePoint(one) => one.load(target?.0, target?.1),
        Program::FEntry(one) => one.load(target?.0, target?.1),
        Program::FExit(one) => one.load(target?.0, target?.1),
        Program::Iter(one) => one.load(target?.0, target?.1),
        Program::Extension(_) => return None,
    })
}
