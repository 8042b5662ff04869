//! Addresses of kernel symbols that programs use (`extern const void NAME __ksym`), written into their texts for this
//! boot. The object reader never receives them.

use std::collections::{BTreeMap, BTreeSet};

use bpfmand_kernel::{Kernel, KernelError};
use bpfmand_object::{ObjectError, RelocationError, WantedAddress};

use crate::load::linked::ResolvedProgram;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Sets addresses; reads the symbol list only if needed. Fails for missing, ambiguous or hidden symbols.
    pub(crate) fn set_addresses(&self, programs: &mut [ResolvedProgram]) -> Result<(), EngineError> {
        let all = programs.iter().flat_map(|program| &program.linked.addresses);
        let names: BTreeSet<&str> = all.map(|one| one.symbol.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let known = self.kernel.symbol_addresses(&names)?;
        for linked in programs.iter_mut().map(|program| &mut program.linked) {
            for one in linked.addresses.clone() {
                let address = self.address(&linked.text.name, &one, &known)?;
                linked.set_address(one.at, address);
            }
        }
        Ok(())
    }

    fn address(
        &self,
        program: &str,
        wanted: &WantedAddress,
        known: &BTreeMap<String, BTreeSet<u64>>,
    ) -> Result<u64, EngineError> {
        let symbol = &wanted.symbol;
        let found: Vec<u64> = known.get(symbol).into_iter().flatten().copied().collect();
        match found[..] {
            [] if wanted.weak => Ok(0),
            [] => Err(EngineError::from(ObjectError::Relocation {
                program: program.to_owned(),
                function: program.to_owned(),
                insn: wanted.at,
                why: RelocationError::NotInKernel("symbol", symbol.clone()),
            })),
            // Per-CPU symbols do not move with the kernel and may have address zero on some machines.
            [0] if !symbol.starts_with("__per_cpu") => Err(EngineError::from(KernelError::Unsupported {
                feature: "addresses of its symbols for this process: /proc/kallsyms shows zeros",
                release: self.kernel.features().release.clone(),
                needs: "a program that takes the address of a kernel symbol (extern const void NAME __ksym) needs a \
                        daemon with CAP_SYSLOG, and kernel.kptr_restrict below 2",
            })),
            [address] => Ok(address),
            _ => Err(EngineError::Invalid(format!(
                "program \"{program}\" takes the address of the kernel symbol {symbol}, and the kernel has {} of that \
                 name: take one that has a name of its own",
                found.len()
            ))),
        }
    }
}
