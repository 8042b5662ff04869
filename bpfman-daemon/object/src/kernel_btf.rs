//! The running kernel's type information.

use crate::ObjectError;
use crate::btf::{Btf, Kind};

/// Number of hash chains: about one for each name of a kernel.
const CHAINS: usize = 1 << 16;

/// The kernel's BTF (`/sys/kernel/btf/vmlinux`) with an index of its names.
///
/// Takes the size of the blob plus about a sixth: some 7 MiB for a distribution kernel. Drop it when idle.
#[derive(Clone, Debug)]
pub struct KernelBtf {
    btf: Btf,
    /// First type of each chain, and for each type the next one; 0 ends a chain.
    first: Vec<u32>,
    next: Vec<u32>,
}

impl KernelBtf {
    /// Indexes the kernel's BTF. A `Vec` is kept as it is, without a copy.
    ///
    /// # Errors
    /// [`ObjectError::Btf`] if the bytes are no BTF.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, ObjectError> {
        let btf = Btf::parse(bytes)?;
        let mut first = vec![0; CHAINS];
        let mut next = vec![0; btf.len() as usize + 1];
        // Backwards, so that chains ascend by id.
        for id in (1..=btf.len()).rev() {
            let Some(ty) = btf.get(id).filter(|ty| ty.name_off != 0) else { continue };
            let chain = chain_of(essential_name(btf.string_bytes(ty.name_off)));
            next[id as usize] = first[chain];
            first[chain] = id;
        }
        Ok(Self { btf, first, next })
    }

    /// Id of a kernel function, as fentry and fexit programs attach to and kfunc calls name.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.id(name, Kind::Func)
    }

    /// Id of the function behind an LSM hook, which the kernel calls `bpf_lsm_` and the hook's name.
    #[must_use]
    pub fn lsm_hook_id(&self, hook: &str) -> Option<u32> {
        self.function_id(&format!("bpf_lsm_{hook}"))
    }

    /// Id of a structure.
    #[must_use]
    pub fn struct_id(&self, name: &str) -> Option<u32> {
        self.id(name, Kind::Struct)
    }

    /// Id of a kernel variable.
    #[must_use]
    pub fn variable_id(&self, name: &str) -> Option<u32> {
        self.id(name, Kind::Var)
    }

    pub(crate) const fn btf(&self) -> &Btf {
        &self.btf
    }

    fn id(&self, name: &str, kind: Kind) -> Option<u32> {
        self.candidates(name)
            .find(|id| self.btf.get(*id).is_some_and(|ty| ty.kind == kind && self.btf.name(&ty) == name))
    }

    /// Ids of all types whose names agree up to a flavour (`name___flavour`), ascending.
    pub(crate) fn candidates<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        let wanted = essential_name(name.as_bytes());
        let mut at = self.first[chain_of(wanted)];
        std::iter::from_fn(move || {
            let here = at;
            at = self.next.get(here as usize).copied().unwrap_or(0);
            (here != 0).then_some(here)
        })
        .filter(move |id| {
            self.btf.get(*id).is_some_and(|ty| essential_name(self.btf.string_bytes(ty.name_off)) == wanted)
        })
    }
}

/// A name without its flavour: what follows the last separator of exactly three underscores.
pub(crate) fn essential_name(name: &[u8]) -> &[u8] {
    name.windows(5)
        .rposition(|five| five[0] != b'_' && &five[1..4] == b"___" && five[4] != b'_')
        .map_or(name, |at| &name[..=at])
}

/// FNV-1a, folded to the number of chains.
fn chain_of(name: &[u8]) -> usize {
    let hash =
        name.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash >> 16 ^ hash) as usize & (CHAINS - 1)
}
