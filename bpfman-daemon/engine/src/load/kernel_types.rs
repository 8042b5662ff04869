//! Kernel types that programs need, including those of modules, and names of types that the kernel lacks.

use std::ops::RangeInclusive;

use bpfman_model::{FunctionHints, LoadTarget, ProgramType};
use bpfmand_kernel::{Kernel, KernelError};
use bpfmand_object::{KernelBtf, KernelSymbol, ObjectFacts, Unresolved};
use bpfmand_rejection::Rejection;

use crate::engine::kernel_types::KernelTypes;
use crate::engine::objects::EbpfObject;
use crate::load::plan::Wanted;
use crate::{Engine, EngineError};

/// Helper numbers that do not exist, inserted by linking for a missing field, type (the first) or kernel function (the
/// range). The verifier's log names them `unknown#NUMBER`.
const POISONED: [RangeInclusive<u32>; 2] = [195_896_080..=195_896_080, 2_002_000_000..=2_002_999_999];

impl<K: Kernel> Engine<K> {
    /// Returns the kernel's types. Includes modules if a program needs a type that the kernel itself lacks.
    pub(crate) fn kernel_types_for(
        &self,
        object: &EbpfObject,
        programs: &[&str],
        targets: &[(LoadTarget, &str)],
    ) -> Result<KernelTypes<'_>, EngineError> {
        let mut types = self.kernel_types();
        let mut needs_modules = false;
        for (kind, name) in targets {
            let kernel = types.btf().map_err(|error| match error {
                EngineError::Kernel(error @ KernelError::Unsupported { .. }) => EngineError::Unsupported(
                    format!("a program is for \"{name}\", which is found by types: {error}"),
                ),
                other => other,
            })?;
            needs_modules |= match kind {
                LoadTarget::Function => kernel.function_id(name).is_none(),
                LoadTarget::Tracepoint => kernel.tracepoint(name).is_none(),
                LoadTarget::Iterator => kernel.iterator(name).is_none(),
                LoadTarget::LsmHook
                | LoadTarget::SocketHook
                | LoadTarget::StructMember
                | LoadTarget::ProgramFunction => false,
            };
        }
        for program in programs {
            needs_modules = needs_modules || object.needs_module_types(program, &types)?;
        }
        if needs_modules {
            types.add_modules(self.kernel.module_btfs()?);
        }
        Ok(types)
    }

    /// Adds to a rejection the name of the type or function that the kernel lacks, if that is the cause.
    pub(crate) fn explained(
        &self,
        error: KernelError,
        object: &ObjectFacts,
        wanted: &Wanted<'_>,
    ) -> EngineError {
        let program = wanted.program;
        // Instruction indexes of the object do not count the guard in front of the program.
        let front = wanted.front.unwrap_or(0);
        let Some(at) = error.rejection().and_then(poisoned).and_then(|at| at.checked_sub(front)) else {
            return self.with_type(error, program.program_type).into();
        };
        let found = program.linked.unresolved.iter().find(|unresolved| unresolved.at == at);
        let Some(Unresolved { function: (function, insn), what, .. }) = found else { return error.into() };
        let section = object.program(&program.name).map_or("", |entry| entry.section.as_str());
        EngineError::NotInKernel {
            origin: String::new(),
            what: format!(
                "program \"{}\" (section {section}) cannot run on this kernel ({}): function {function}, instruction \
                 {insn} wants {what}",
                program.name,
                self.kernel.features().release
            ),
            source: Box::new(error),
        }
    }
}

/// Returns the position of a call that CO-RE made invalid: the log has "call unknown#195896080" there.
fn poisoned(rejection: &Rejection) -> Option<usize> {
    let at = rejection.instruction.as_ref()?;
    let number =
        at.text.strip_prefix("call unknown#")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    POISONED.iter().any(|numbers| numbers.contains(&number)).then_some(at.index)
}

/// Returns the BTF id of a target, 0 without BTF, and its module. `MODULE:FUNCTION` selects one of several modules.
pub fn attach_id(
    program: &str,
    program_type: ProgramType,
    target: &str,
    kernel: &KernelBtf,
) -> Result<(u32, Option<String>), EngineError> {
    let own = |id| KernelSymbol { id, module: None };
    let (found, what) = match program_type.load_target() {
        None | Some(LoadTarget::SocketHook | LoadTarget::ProgramFunction) => return Ok((0, None)),
        Some(LoadTarget::LsmHook) => (kernel.lsm_hook_id(target).map(own), "LSM hook"),
        Some(LoadTarget::StructMember) => {
            let (structure, _) = target.split_once('.').unwrap_or((target, ""));
            (kernel.struct_ops(structure).map(|ops| own(ops.structure)), "struct_ops type with member")
        }
        Some(LoadTarget::Tracepoint) => (kernel.tracepoint(target), "trace point with typed arguments"),
        Some(LoadTarget::Iterator) => (kernel.iterator(target), "iterator over objects of kind"),
        Some(LoadTarget::Function) => {
            let found = match target.split_once(':') {
                Some((module, function)) => kernel.function_of(module, function),
                None => {
                    let modules = kernel.modules_with(target);
                    if let [first, _, ..] = modules[..] {
                        return Err(EngineError::Invalid(format!(
                            "several modules of the kernel have a function \"{target}\", which program \"{program}\" is for: \
                         {}; say which by MODULE:FUNCTION, such as {first}:{target}",
                            modules.join(", ")
                        )));
                    }
                    kernel.function(target)
                }
            };
            (found, "function that its BTF or that of its loaded modules describes:")
        }
    };
    let symbol = found.ok_or_else(|| {
        let hints = match program_type.load_target() {
            Some(LoadTarget::Function) => FunctionHints::of(target, kernel.function_names()),
            _ => FunctionHints::default(),
        };
        EngineError::Invalid(format!(
            "the kernel has no {what} \"{target}\", which program \"{program}\" is for{hints}"
        ))
    })?;
    Ok((symbol.id, symbol.module.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use bpfmand_rejection::Rejection;

    use super::poisoned;

    #[test]
    fn the_instruction_that_asks_in_vain_is_found_in_the_log() {
        let log = "0: R1=ctx() R10=fp0\n; return ctx->gone; @ x.c:3\n0: (85) call unknown#195896080\n\
                   invalid func unknown#195896080\nprocessed 1 insns (limit 1000000)\n";
        let poisoned = |log| poisoned(&Rejection::read(log));
        assert_eq!(poisoned(log), Some(0));
        assert_eq!(poisoned("17: (85) call unknown#2002000000\ninvalid func unknown#2002000000\n"), Some(17));
        assert_eq!(poisoned("17: (85) call unknown#2002000007\ninvalid func unknown#2002000007\n"), Some(17));
        assert_eq!(poisoned("17: (85) call unknown#2100000007\ninvalid func unknown#2100000007\n"), None);
        assert_eq!(poisoned("1: (85) call bpf_ktime_get_ns#5\n"), None);
    }
}
