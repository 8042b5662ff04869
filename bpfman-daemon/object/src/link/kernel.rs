//! References to functions and variables of the kernel and its modules.

use bpfman_model::op;

use super::{Linker, set_source};
use crate::btf::Kind;
use crate::{ObjectError, RelocationError};

/// Helper number, to which the extern's index is added, as in libbpf. The verifier refuses a reachable call of it.
const MISSING_FUNCTION: i32 = 2_002_000_000;

impl Linker<'_> {
    /// `place`: function and index of the instruction. Returns a missing weak function, which must not be called.
    pub(super) fn link_kernel(
        &mut self,
        at: usize,
        place: (&str, usize),
        name: &str,
        weak: bool,
        kind: Kind,
    ) -> Result<Option<String>, ObjectError> {
        let what = if kind == Kind::Func { "function" } else { "variable" };
        let Some(kernel) = self.kernel else {
            return Err(ObjectError::NeedsKernelBtf {
                program: self.entry.name.clone(),
                what: format!("kernel {what} {name}"),
            });
        };
        let call = self.out.insns[at].code == op::CALL;
        match kernel.symbol(name, kind) {
            Some(symbol) => {
                let module = symbol.module.map_or(0, |module| self.module(module));
                if call {
                    let off = i16::try_from(module)
                        .map_err(|_| self.fault(place.0, (place.1, RelocationError::TooManyModules)))?;
                    let insn = &mut self.out.insns[at];
                    set_source(insn, op::PSEUDO_KFUNC_CALL);
                    insn.off = off;
                    insn.imm = symbol.id.cast_signed();
                } else {
                    self.set_wide(at, op::PSEUDO_BTF_ID, symbol.id.cast_signed(), module);
                }
            }
            None if !weak => {
                return Err(
                    self.fault(place.0, (place.1, RelocationError::NotInKernel(what, name.to_owned())))
                );
            }
            None if call => {
                let insn = &mut self.out.insns[at];
                set_source(insn, 0);
                insn.off = 0;
                insn.imm = MISSING_FUNCTION.saturating_add(self.object.externs.place(name));
                return Ok(Some(format!(
                    "kernel function {name} (weak): neither this kernel nor its loaded modules have it"
                )));
            }
            None => self.set_wide(at, 0, 0, 0),
        }
        Ok(None)
    }

    fn module(&mut self, name: &str) -> i32 {
        let modules = &mut self.out.modules;
        let place = modules.iter().position(|known| known == name).unwrap_or_else(|| {
            modules.push(name.to_owned());
            modules.len() - 1
        });
        // At most one module for each of a million instructions, so it fits.
        place as i32 + 1
    }
}
