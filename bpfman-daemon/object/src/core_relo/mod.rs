//! CO-RE: instructions that depend on the layout of the running kernel's types.

mod compat;
mod patch;
mod spec;
mod value;

use std::collections::HashMap;

use bpfmand_core::Insn;

use crate::KernelBtf;
use crate::btf::Btf;
use crate::btf::ext::CoreRecord;

use patch::Patch;
pub(crate) use patch::patch_local;
use spec::Spec;
use value::RelocKind;

/// True for relocations that need nothing but the object itself.
pub(crate) const fn is_local(record: &CoreRecord) -> bool {
    record.kind == RelocKind::TypeIdLocal as u32
}

/// Resolves the relocations of one object against one kernel.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    local: &'a Btf,
    kernel: &'a KernelBtf,
    /// Kernel types by local root type: each is looked up once.
    candidates: HashMap<u32, Vec<u32>>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(local: &'a Btf, kernel: &'a KernelBtf) -> Self {
        Self { local, kernel, candidates: HashMap::new() }
    }

    /// Applies one relocation to the instruction at `at`.
    ///
    /// What the kernel does not have makes the instruction one that the verifier refuses if it can be reached: a
    /// program may ask first whether a field exists.
    pub(crate) fn relocate(
        &mut self,
        record: &CoreRecord,
        insns: &mut [Insn],
        at: usize,
    ) -> Result<(), String> {
        let kind = RelocKind::from_number(record.kind)?;
        let local = Spec::parse(self.local, record.type_id, self.local.string(record.access_off), kind)?;
        let patch = self.resolve(kind, &local)?;
        patch.apply(insns, at)
    }

    fn resolve(&mut self, kind: RelocKind, local: &Spec) -> Result<Patch, String> {
        let root = self.local.get(local.root).ok_or_else(|| format!("type {} does not exist", local.root))?;
        let name = self.local.name(&root);
        if name.is_empty() {
            return Err(format!("type {} has no name to look for in the kernel", local.root));
        }
        let target = self.kernel.btf();
        let candidates = self.candidates.entry(local.root).or_insert_with(|| {
            self.kernel
                .candidates(name)
                .filter(|id| target.get(*id).is_some_and(|ty| compat::kinds_agree(ty.kind, root.kind)))
                .collect()
        });
        let mut found: Option<(Patch, u64)> = None;
        for candidate in candidates.iter() {
            let Some(matching) = local.matching(self.local, target, *candidate, kind)? else { continue };
            let patch = Patch::compute(kind, (self.local, local), Some((target, &matching)))?;
            match &found {
                None => found = Some((patch, matching.bit_offset)),
                Some((first, bit_offset)) => {
                    if !first.agrees(&patch) || *bit_offset != matching.bit_offset {
                        return Err(format!(
                            "the kernel has several types {name} that differ in what is asked"
                        ));
                    }
                }
            }
        }
        match found {
            Some((patch, _)) => Ok(patch),
            None => Patch::compute(kind, (self.local, local), None),
        }
    }
}
