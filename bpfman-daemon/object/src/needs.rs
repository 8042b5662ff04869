use std::collections::HashSet;

use bpfman_model::Insn;

use crate::RelocationError;
use crate::core_relo;
use crate::exceptions;
use crate::functions::{FunctionKey, Functions};
use crate::kernel_btf::KernelBtf;
use crate::object_file::ObjectFile;
use crate::programs::ProgramEntry;
use crate::references::Reference;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    pub kernel_types: bool,
    pub kernel_symbols: bool,
    pub local_type_ids: bool,
}

fn entry_points(object: &ObjectFile, entry: &ProgramEntry) -> Result<Vec<FunctionKey>, RelocationError> {
    Ok([entry.key].into_iter().chain(exceptions::callback(object, entry.key)?).collect())
}

pub(crate) struct Reached {
    queue: Vec<FunctionKey>,
    seen: HashSet<FunctionKey>,
}

impl Reached {
    pub(crate) fn of(object: &ObjectFile, entry: &ProgramEntry) -> Result<Self, RelocationError> {
        let queue = entry_points(object, entry)?;
        Ok(Self { seen: queue.iter().copied().collect(), queue })
    }

    pub(crate) fn next(&mut self) -> Option<FunctionKey> {
        self.queue.pop()
    }

    pub(crate) fn follow(&mut self, callee: FunctionKey) {
        if self.seen.insert(callee) {
            self.queue.push(callee);
        }
    }
}

pub(crate) fn needs(object: &ObjectFile, entry: &ProgramEntry) -> Result<Needs, RelocationError> {
    let mut needs = Needs::default();
    let mut reached = Reached::of(object, entry)?;
    while let Some(key) = reached.next() {
        let function = object.functions.get(key)?;
        for record in object.core_records(key, function.len)? {
            if core_relo::is_local(record) {
                needs.local_type_ids = true;
            } else {
                needs.kernel_types = true;
            }
        }
        let insns: Vec<Insn> = Functions::instructions(&object.elf, key, function.len).collect();
        for (_, reference) in object.references(key, &insns).map_err(|(_, why)| why)? {
            match reference {
                Reference::Function(callee) => reached.follow(callee),
                Reference::Kernel { .. } => needs.kernel_symbols = true,
                _ => {}
            }
        }
    }
    Ok(needs)
}

/// Returns whether a program refers to types or symbols that the kernel itself lacks, but a module may have.
pub(crate) fn needs_module_types(
    object: &ObjectFile,
    entry: &ProgramEntry,
    kernel: &KernelBtf,
) -> Result<bool, RelocationError> {
    let mut reached = Reached::of(object, entry)?;
    while let Some(key) = reached.next() {
        let function = object.functions.get(key)?;
        let records = object.core_records(key, function.len)?;
        if let Some(btf) = &object.btf
            && records
                .iter()
                .any(|record| !core_relo::is_local(record) && core_relo::is_unknown(record, btf, kernel))
        {
            return Ok(true);
        }
        let insns: Vec<Insn> = Functions::instructions(&object.elf, key, function.len).collect();
        for (_, reference) in object.references(key, &insns).map_err(|(_, why)| why)? {
            match reference {
                Reference::Function(callee) => reached.follow(callee),
                Reference::Kernel { name, kind, .. } if kernel.symbol(name, kind).is_none() => {
                    return Ok(true);
                }
                _ => {}
            }
        }
    }
    Ok(false)
}
