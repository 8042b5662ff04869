//! CO-RE: relocation of instructions that depend on the layout of the running kernel's types.

mod compat;
mod describe;
mod error;
mod patch;
mod spec;
mod value;

use std::collections::HashMap;

use bpfman_model::Insn;

use crate::KernelBtf;
use crate::btf::Btf;
use crate::btf::ext::CoreRecord;

use describe::describe;
pub use error::CoreError;
use patch::{Applied, Patch};
pub(crate) use patch::{patch_local, starts, takes_type_id};
use spec::Spec;
use value::RelocKind;

pub(crate) const fn is_local(record: &CoreRecord) -> bool {
    record.kind == RelocKind::TypeIdLocal as u32
}

/// Describes a relocation's target, and whether only its existence is tested; `None` if it needs none, or is damaged.
pub(crate) fn in_words(record: &CoreRecord, local: &Btf) -> Option<(String, bool)> {
    let kind = RelocKind::from_number(record.kind).ok().filter(|kind| *kind != RelocKind::TypeIdLocal)?;
    let spec = Spec::parse(local, record.type_id, local.string(record.access_off), kind).ok()?;
    let asks = matches!(
        kind,
        RelocKind::FieldExists | RelocKind::TypeExists | RelocKind::EnumeratorExists | RelocKind::TypeMatches
    );
    Some((describe::place(local, &spec, kind), asks))
}

pub(crate) fn is_unknown(record: &CoreRecord, local: &Btf, kernel: &KernelBtf) -> bool {
    local.get(record.type_id).is_some_and(|root| {
        let name = local.name(&root);
        !name.is_empty() && kernel.candidates(name, |ty| compat::kinds_agree(ty.kind, root.kind)).is_empty()
    })
}

#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    local: &'a Btf,
    kernel: &'a KernelBtf,
    candidates: HashMap<u32, Vec<(&'a Btf, u32)>>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(local: &'a Btf, kernel: &'a KernelBtf) -> Self {
        Self { local, kernel, candidates: HashMap::new() }
    }

    /// Returns the target if it is missing: the verifier then refuses the instruction if it is reachable.
    pub(crate) fn relocate(
        &mut self,
        record: &CoreRecord,
        insns: &mut [Insn],
        at: usize,
    ) -> Result<Option<String>, CoreError> {
        let kind = RelocKind::from_number(record.kind)?;
        let btf = self.local;
        let path = btf.string(record.access_off);
        let local = Spec::parse(btf, record.type_id, path, kind)?;
        let place = || describe(btf, &local, kind, path);
        let resolved = self.resolve(kind, &local).and_then(|patch| Ok((patch.apply(insns, at)?, patch)));
        match resolved {
            Ok((Applied::Changed, _)) => Ok(None),
            Ok((Applied::Refused, patch)) => {
                let why = if patch.has_answer() {
                    "its type is another here, and cannot be read in its place".to_owned()
                } else {
                    self.lack(&local)
                };
                Ok(Some(format!("{}: {why}", place())))
            }
            Err(why) => Err(CoreError::At { place: place(), source: Box::new(why) }),
        }
    }

    fn lack(&self, local: &Spec) -> String {
        let root = self.local.describe(local.root);
        match self.candidates.get(&local.root).map(Vec::len) {
            Some(0) | None => format!("neither this kernel nor its loaded modules have a type {root}"),
            Some(_) => format!("this kernel's {root} has nothing of this name and nature"),
        }
    }

    fn resolve(&mut self, kind: RelocKind, local: &Spec) -> Result<Patch, CoreError> {
        let root = self.local.get(local.root).ok_or(CoreError::NoType(local.root))?;
        let name = self.local.name(&root);
        if name.is_empty() {
            return Err(CoreError::Unnamed(local.root));
        }
        let kernel = self.kernel;
        let candidates = self
            .candidates
            .entry(local.root)
            .or_insert_with(|| kernel.candidates(name, |ty| compat::kinds_agree(ty.kind, root.kind)));
        let mut found: Option<(Patch, u64)> = None;
        for (target, candidate) in candidates.iter() {
            let Some(matching) = local.matching(self.local, target, *candidate, kind)? else { continue };
            let patch = Patch::compute(kind, (self.local, local), Some((target, &matching)))?;
            match &found {
                None => found = Some((patch, matching.bit_offset)),
                Some((first, bit_offset)) => {
                    if !first.agrees(&patch) || *bit_offset != matching.bit_offset {
                        return Err(CoreError::Ambiguous(name.to_owned()));
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
