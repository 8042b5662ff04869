//! Cost of a chain per packet, by test run: ten spliced programs, compared with one that was merged by hand.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use bpfman_model::{BoundText, MapId, ProgramType, VerdictFamily};
use bpfmand_kernel::linux::{LinuxKernel, test_run};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{LogRequest, ProgramLoad};
use bpfmand_object::{ObjectFile, TextOptions};
use bpfmand_splice::{FrameRounding, Member, ProceedMask, SpliceHook, SpliceOptions, splice};
use tempfile::TempDir;

use crate::objects::Objects;
use crate::samples::Results;

const MEMBERS: [usize; 4] = [1, 2, 5, 10];
const ROUNDS: usize = 8;
const REPEATS: u32 = 10_000_000;

pub struct Mount(TempDir);

impl Mount {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _not_mounted = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

pub struct Loaded {
    pub handle: OwnedFd,
    text: BoundText,
    _maps: Vec<OwnedFd>,
}

pub fn load(kernel: &LinuxKernel, objects: &Objects, object: &str, name: &str) -> anyhow::Result<Loaded> {
    let object = ObjectFile::parse(std::fs::read(objects.path(object))?)?;
    let maps =
        object.maps().iter().map(|spec| kernel.create_map(spec, None)).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<MapId> = maps.iter().map(|map| Ok(kernel.map_of(map)?.id)).collect::<anyhow::Result<_>>()?;
    let program_type = match name.split('_').next() {
        Some("tcx") => ProgramType::Tcx,
        Some("uprobe") => ProgramType::Uprobe,
        _ => ProgramType::Xdp,
    };
    let text = object
        .text(name, &TextOptions { kernel_btf: None, features: bpfmand_object::BtfFeatures::ALL })?
        .bind(&ids)
        .map_err(|index| anyhow::anyhow!("no map number {index}"))?;
    let handle = load_text(kernel, &text, program_type)?;
    Ok(Loaded { handle, text, _maps: maps })
}

fn load_text(kernel: &LinuxKernel, text: &BoundText, program_type: ProgramType) -> anyhow::Result<OwnedFd> {
    let load = ProgramLoad {
        without_perfmon: false,
        name: &text.0.name,
        text,
        kind: program_type.into(),
        attach_btf_id: 0,
        attach_module: None,
        extends: None,
        device: None,
        log: LogRequest::OnFailure,
    };
    Ok(kernel.load_program(&load)?.program)
}

struct Case {
    name: String,
    program: OwnedFd,
    samples: Vec<f64>,
}

/// Measures all cases in turn, since the machine is shared: the minimum of many rounds counts.
pub fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("packets")?;
    let mount = Mount::new()?;
    let kernel = LinuxKernel::new(mount.path())?;
    let features = kernel.features();
    let mut options = SpliceOptions::new(SpliceHook::Xdp);
    options.rounding = if features.frames_by_16 { FrameRounding::To16 } else { FrameRounding::To32 };
    options.ja32 = features.long_jumps;
    let set = ProceedMask(bpfman_model::ProceedOn::default_for(VerdictFamily::Xdp).mask());

    let mut kept = Vec::new();
    let mut cases = Vec::new();
    let mut case = |name: String, program: OwnedFd| cases.push(Case { name, program, samples: Vec::new() });
    case("empty".to_owned(), load(&kernel, objects, "trivial", "xdp_empty")?.handle);
    let merged = load(&kernel, objects, "merged", "merged")?;
    case("merged by hand, 10".to_owned(), merged.handle.try_clone()?);
    let alone = load(&kernel, objects, "trivial", "xdp_trivial")?;
    case("attached by hand, 1".to_owned(), alone.handle.try_clone()?);
    for name in ["xdp_trivial", "xdp_unknown"] {
        let programs = (0..10)
            .map(|_| load(&kernel, objects, "trivial", name))
            .collect::<anyhow::Result<Vec<Loaded>>>()?;
        for count in MEMBERS {
            let members: Vec<Member<'_>> =
                programs[..count].iter().map(|program| Member::new(name, &program.text, set)).collect();
            let joined = splice("bench", &members, &options)?;
            let verdicts = if name == "xdp_trivial" { "known" } else { "unknown" };
            case(
                format!("splice, {verdicts} verdicts, {count}"),
                load_text(&kernel, &joined.text, ProgramType::Xdp)?,
            );
        }
        kept.push(programs);
    }
    let packet = [0_u8; 64];
    for _ in 0..ROUNDS {
        for case in &mut cases {
            // Wall time is exact to 0.4 ns per run (a tick of 4 ms); the kernel reports whole nanoseconds.
            let start = Instant::now();
            test_run(&case.program, &packet, REPEATS)?;
            case.samples.push(start.elapsed().as_nanos() as f64 / f64::from(REPEATS));
        }
    }
    let minimum = |case: &Case| case.samples.iter().copied().fold(f64::INFINITY, f64::min);
    let net: Vec<f64> = cases.iter().map(|case| minimum(case) - minimum(&cases[0])).collect();
    for case in &cases {
        results.add(&format!("{} (gross)", case.name), "ns", case.samples.clone())?;
    }
    for (case, net) in cases.iter().zip(&net).skip(1) {
        results.add(&format!("{} (net, of minima)", case.name), "ns", vec![*net])?;
    }
    for (case, net_of_case) in cases.iter().zip(&net).filter(|(case, _)| case.name.ends_with(" 10")) {
        results.add(&format!("{} / merged by hand", case.name), "ratio", vec![net_of_case / net[1]])?;
    }
    drop(kept);
    Ok(())
}
