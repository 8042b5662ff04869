//! Which types of programs this kernel takes: tried, as kernels of one release differ in it.

use std::collections::BTreeMap;

use bpfmand_core::{BoundText, Insn, ProgramType, op};
use bpfmand_kernel::{Kernel, KernelError, ProgramLoad};
use bpfmand_object::KernelBtf;

use crate::{Engine, EngineError};

/// What a kernel may have, by name; with the reason where it lacks it.
pub type Support = BTreeMap<&'static str, Option<String>>;

/// Functions that some kernel has, each of which can be traced.
const TRACED: [&str; 3] = ["vfs_read", "do_unlinkat", "bpf_fentry_test1"];
const LSM_HOOK: &str = "file_open";
/// `r0 = 0`.
const MOVE: u8 = 0xb7;

impl<K: Kernel> Engine<K> {
    /// The types of programs, and features that go with them. A smallest program of each type is loaded, attached nowhere
    /// and dropped: once in the daemon's life, when it is first asked for. Takes some ten milliseconds.
    pub fn support(&self) -> &Support {
        self.support.get_or_init(|| self.try_support())
    }

    fn try_support(&self) -> Support {
        let features = self.kernel.features();
        let types = self.kernel_btf();
        let mut support: Support = ProgramType::ALL
            .into_iter()
            .map(|program_type| {
                let lack = match program_type {
                    ProgramType::Tcx if !features.tcx => Some("Linux 6.6 and later have it".to_owned()),
                    ProgramType::Kprobe | ProgramType::Kretprobe if !features.kprobes => {
                        Some("the kernel was built without kernel probes".to_owned())
                    }
                    ProgramType::Uprobe | ProgramType::Uretprobe if !features.uprobes => {
                        Some("the kernel was built without user-space probes".to_owned())
                    }
                    _ => self.try_type(program_type, &types).err().map(|error| reason(&error)),
                };
                (program_type.name(), lack)
            })
            .collect();
        let or = |there: bool, reason: &str| (!there).then(|| reason.to_owned());
        support.insert("freplace", or(features.freplace, "the kernel refused to load or attach one"));
        support.insert("perf_links", or(features.perf_links, "Linux 5.15 and later have them"));
        support.insert("long_jumps", or(features.long_jumps, "Linux 6.6 and later have them"));
        support
    }

    fn try_type(
        &self,
        program_type: ProgramType,
        types: &Result<KernelBtf, EngineError>,
    ) -> Result<(), EngineError> {
        let none = || EngineError::Unsupported("its BTF has nothing to try it on".to_owned());
        let attach_btf_id = match (program_type, types) {
            (program_type, _) if !program_type.needs_load_target() => 0,
            (_, Err(error)) => return Err(EngineError::Unsupported(error.to_string())),
            (ProgramType::Lsm, Ok(types)) => types.lsm_hook_id(LSM_HOOK).ok_or_else(none)?,
            (_, Ok(types)) => TRACED.iter().find_map(|name| types.function_id(name)).ok_or_else(none)?,
        };
        let text = smallest();
        let load = ProgramLoad { attach_btf_id, ..ProgramLoad::new("try", &text, program_type.into()) };
        Ok(self.kernel.load_program(&load).map(drop)?)
    }
}

/// The kernel's own words, where they are its.
fn reason(error: &EngineError) -> String {
    match error {
        EngineError::Kernel(KernelError::Refused { source, .. }) => {
            format!("the kernel refuses to load it: {source}")
        }
        other => other.to_string(),
    }
}

/// A program that answers 0, which every type may.
fn smallest() -> BoundText {
    let insns = vec![Insn::new(MOVE, 0, 0, 0, 0), Insn::new(op::EXIT, 0, 0, 0, 0)];
    BoundText::of_one_function("try", "GPL", insns)
}
