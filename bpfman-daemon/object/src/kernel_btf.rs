use std::sync::Arc;

use crate::ObjectError;
use crate::btf::{Btf, Kind, Type};
use crate::held::HeldNumbers;

/// Number of hash chains: about one per name in a kernel's BTF.
const CHAINS: usize = 1 << 16;

/// Indexed kernel BTF, and BTF of modules as needed: some 7 MiB for a distribution kernel. Drop it when idle.
#[derive(Clone, Debug)]
pub struct KernelBtf {
    pub(crate) kernel: NamedTypes,
    pub(crate) modules: Vec<(String, NamedTypes)>,
}

/// Function or variable of the kernel or of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSymbol<'a> {
    pub id: u32,
    /// Module; `None` for the kernel itself.
    pub module: Option<&'a str>,
}

/// Function that programs may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelFunction<'a> {
    pub name: &'a str,
    /// Module; `None` for the kernel itself.
    pub module: Option<&'a str>,
}

impl KernelBtf {
    /// Indexes the kernel's BTF. A `Vec` is used without a copy.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, ObjectError> {
        Ok(Self { kernel: NamedTypes::of(Btf::parse(bytes)?, 0), modules: Vec::new() })
    }

    /// Adds the split BTF of a module (`/sys/kernel/btf/NAME`). Lookups prefer the kernel itself.
    pub fn add_module(&mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Result<(), ObjectError> {
        let base = self.kernel.btf.len();
        let btf = Btf::parse_split(bytes, Some(Arc::clone(&self.kernel.btf)))?;
        self.modules.push((name.to_owned(), NamedTypes::of(btf, base)));
        Ok(())
    }

    /// Returns the id of a function of the kernel itself, for fentry and fexit programs and kfunc calls.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.kernel.id(name, Kind::Func)
    }

    /// Returns the name of a function of the kernel itself.
    #[must_use]
    pub fn function_name(&self, id: u32) -> Option<&str> {
        let ty = self.kernel.btf.get(id).filter(|ty| ty.kind == Kind::Func)?;
        Some(self.kernel.btf.string(ty.name_off))
    }

    /// Returns a function of the kernel, or else of the first module that has it.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<KernelSymbol<'_>> {
        self.symbol(name, Kind::Func)
    }

    /// Returns the modules with a function, in the order added; empty if the kernel itself has it.
    #[must_use]
    pub fn modules_with(&self, function: &str) -> Vec<&str> {
        if self.function_id(function).is_some() {
            return Vec::new();
        }
        let with = self.modules.iter().filter(|(_, names)| names.id(function, Kind::Func).is_some());
        with.map(|(module, _)| module.as_str()).collect()
    }

    #[must_use]
    pub fn function_of(&self, module: &str, name: &str) -> Option<KernelSymbol<'_>> {
        let (module, names) = self.modules.iter().find(|(known, _)| known == module)?;
        Some(KernelSymbol { id: names.id(name, Kind::Func)?, module: Some(module.as_str()) })
    }

    /// Returns the id of the function of an LSM hook (`bpf_lsm_HOOK`).
    #[must_use]
    pub fn lsm_hook_id(&self, hook: &str) -> Option<u32> {
        self.function_id(&format!("bpf_lsm_{hook}"))
    }

    /// Returns the attach target of programs for a typed tracepoint: the type `btf_trace_NAME`.
    #[must_use]
    pub fn tracepoint(&self, name: &str) -> Option<KernelSymbol<'_>> {
        self.symbol(&format!("btf_trace_{name}"), Kind::Typedef)
    }

    /// Returns the function that runs iterators over a kind of objects: `bpf_iter_KIND`.
    #[must_use]
    pub fn iterator(&self, objects: &str) -> Option<KernelSymbol<'_>> {
        self.symbol(&format!("bpf_iter_{objects}"), Kind::Func)
    }

    pub(crate) fn own_types(&self) -> &Btf {
        &self.kernel.btf
    }

    /// Returns the id of a struct of the kernel itself.
    #[must_use]
    pub fn struct_id(&self, name: &str) -> Option<u32> {
        self.kernel.id(name, Kind::Struct)
    }

    /// Returns the byte offset of a member, also in anonymous structs; `None` for bit fields and missing members.
    #[must_use]
    pub fn member_offset(&self, structure: &str, member: &str) -> Option<u32> {
        let btf = &self.kernel.btf;
        let found = member_bits(btf, &btf.get(self.struct_id(structure)?)?, member, DEPTH)?;
        (found % 8 == 0).then_some(found / 8)
    }

    /// Returns the names in an enumeration of the kernel itself, in order.
    #[must_use]
    pub fn enumerators(&self, name: &str) -> Option<Vec<&str>> {
        let btf = &self.kernel.btf;
        let id = self.kernel.id(name, Kind::Enum).or_else(|| self.kernel.id(name, Kind::Enum64))?;
        Some(btf.get(id)?.enumerators().map(|(name, _)| btf.string(name)).collect())
    }

    /// Returns whether a union of the kernel itself has a member, at any depth of anonymous structs.
    #[must_use]
    pub fn union_has(&self, union: &str, member: &str) -> bool {
        let btf = &self.kernel.btf;
        let ty = self.kernel.id(union, Kind::Union).and_then(|id| btf.get(id));
        ty.is_some_and(|ty| member_bits(btf, &ty, member, DEPTH).is_some())
    }

    /// Returns the names of all functions that the kernel and added modules describe.
    pub fn function_names(&self) -> impl Iterator<Item = &str> {
        let all = std::iter::once(&self.kernel).chain(self.modules.iter().map(|(_, names)| names));
        all.flat_map(|names| {
            let own = (names.base + 1..=names.btf.len()).filter_map(|id| names.btf.get(id));
            own.filter(|ty| ty.kind == Kind::Func).map(|ty| names.btf.string(ty.name_off))
        })
    }

    /// Returns the functions offered to programs by the kernel and added modules (Linux 6.10, else empty).
    #[must_use]
    pub fn offered_functions(&self) -> Vec<KernelFunction<'_>> {
        let mut found = Vec::new();
        let all = std::iter::once((None, &self.kernel))
            .chain(self.modules.iter().map(|(module, names)| (Some(module.as_str()), names)));
        for (module, names) in all {
            let btf = &*names.btf;
            let own = (names.base + 1..=btf.len()).filter_map(|id| btf.get(id));
            let tags = own.filter(|ty| ty.kind == Kind::DeclTag && btf.name(ty) == OFFERED);
            let functions = tags.filter_map(|tag| btf.get(tag.size_or_type));
            found.extend(functions.map(|ty| KernelFunction { name: btf.string(ty.name_off), module }));
        }
        found
    }

    /// Returns the id of a variable of the kernel itself.
    #[must_use]
    pub fn variable_id(&self, name: &str) -> Option<u32> {
        self.kernel.id(name, Kind::Var)
    }

    /// Returns a symbol of the kernel, or else of the first module that has it.
    pub(crate) fn symbol(&self, name: &str, kind: Kind) -> Option<KernelSymbol<'_>> {
        if let Some(id) = self.kernel.id(name, kind) {
            return Some(KernelSymbol { id, module: None });
        }
        self.modules.iter().find_map(|(module, names)| {
            Some(KernelSymbol { id: names.id(name, kind)?, module: Some(module.as_str()) })
        })
    }

    /// Returns types of a name, also with a flavour (`name___flavour`): the kernel's, or if it has none, all modules'.
    pub(crate) fn candidates(&self, name: &str, is_wanted: impl Fn(&Type<'_>) -> bool) -> Vec<(&Btf, u32)> {
        let of = |names: &NamedTypes| -> Vec<u32> {
            let found = names.candidates(name);
            found.filter(|id| names.btf.get(*id).is_some_and(|ty| is_wanted(&ty))).collect()
        };
        let own = of(&self.kernel);
        if !own.is_empty() {
            return own.into_iter().map(|id| (&*self.kernel.btf, id)).collect();
        }
        let all =
            self.modules.iter().flat_map(|(_, names)| of(names).into_iter().map(move |id| (&*names.btf, id)));
        all.collect()
    }
}

const OFFERED: &str = "bpf_kfunc";

const DEPTH: usize = 8;

fn member_bits(btf: &Btf, ty: &Type<'_>, wanted: &str, depth: usize) -> Option<u32> {
    let mut members = ty.members().filter(|_| depth > 0);
    members.find_map(|member| {
        let inside = if btf.string(member.name_off).is_empty() {
            member_bits(btf, &btf.resolve(member.type_id)?, wanted, depth - 1)?
        } else {
            (btf.string(member.name_off) == wanted && member.bit_size == 0).then_some(0)?
        };
        member.bit_offset.checked_add(inside)
    })
}

/// Types with an index of their names; for a module, only its own.
#[derive(Clone, Debug)]
pub(crate) struct NamedTypes {
    pub btf: Arc<Btf>,
    pub base: u32,
    /// Hash chains of names: the first type of each chain, and for each own type the `next` one; 0 ends a chain.
    pub first: HeldNumbers,
    pub next: HeldNumbers,
}

impl NamedTypes {
    fn of(btf: Btf, base: u32) -> Self {
        let own = (btf.len() - base) as usize;
        let mut first = vec![0; own.next_power_of_two().clamp(16, CHAINS)];
        let mut next = vec![0; own + 1];
        // Backwards, so that chains ascend by id.
        for id in (base + 1..=btf.len()).rev() {
            let Some(name) = btf.own_name(id) else { continue };
            let chain = chain_of(essential_name(name), first.len());
            next[(id - base) as usize] = first[chain];
            first[chain] = id;
        }
        Self { btf: Arc::new(btf), base, first: HeldNumbers::Own(first), next: HeldNumbers::Own(next) }
    }

    fn id(&self, name: &str, kind: Kind) -> Option<u32> {
        self.candidates(name)
            .find(|id| self.btf.get(*id).is_some_and(|ty| ty.kind == kind && self.btf.name(&ty) == name))
    }

    fn candidates<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        let wanted = essential_name(name.as_bytes());
        let mut at = self.first.get(chain_of(wanted, self.first.len())).unwrap_or(0);
        std::iter::from_fn(move || {
            let here = at;
            at = self.next.get(here.saturating_sub(self.base) as usize).unwrap_or(0);
            (here != 0).then_some(here)
        })
        .filter(move |id| {
            self.btf.get(*id).is_some_and(|ty| essential_name(self.btf.string_bytes(ty.name_off)) == wanted)
        })
    }
}

/// Returns a name without its flavour, which follows the last separator of exactly three underscores.
pub(crate) fn essential_name(name: &[u8]) -> &[u8] {
    if !may_have_separator(name) {
        return name;
    }
    name.windows(5)
        .rposition(|five| five[0] != b'_' && &five[1..4] == b"___" && five[4] != b'_')
        .map_or(name, |at| &name[..=at])
}

/// Returns whether a name may have a flavour, by every third byte: hardly any of a kernel's 100,000 names has one.
fn may_have_separator(name: &[u8]) -> bool {
    let is_one = |at: usize| name.get(at) == Some(&b'_');
    (2..name.len()).step_by(3).any(|at| is_one(at) && (is_one(at - 1) || is_one(at + 1)))
}

/// Hashes like rustc; the names are the kernel's, so collisions cannot be provoked. `chains` is a power of two.
fn chain_of(name: &[u8], chains: usize) -> usize {
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let (words, rest) = name.as_chunks::<8>();
    let hash = words.iter().fold(name.len() as u64, |hash, word| mix(hash, u64::from_ne_bytes(*word)));
    let hash = mix(hash, rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    (hash >> 48) as usize & (chains - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flavour_is_what_follows_exactly_three_underscores() {
        let essential = |name: &str| essential_name(name.as_bytes()).len();
        for (name, len) in [
            ("task_struct", 11),
            ("task___old", 4),
            ("a___b", 1),
            ("ab___b", 2),
            ("abc___b", 3),
            ("a___b___c", 5),
            ("a____b", 6),
            ("a__b", 4),
            ("___a", 4),
            ("a___", 4),
            ("__a___b", 3),
            ("", 0),
            ("___", 3),
        ] {
            assert_eq!(essential(name), len, "{name}");
        }
    }

    #[test]
    fn names_are_spread_over_the_chains() {
        let mut members = [0_u32; 256];
        for number in 0..4096 {
            members[chain_of(format!("bpf_function_{number}").as_bytes(), 256)] += 1;
        }
        assert!(members.iter().all(|count| (1..64).contains(count)), "{members:?}");
    }
}
