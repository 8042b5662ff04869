//! Conversion of the compiler's BTF: rejected types become supported ones of the same size and id.

use std::collections::{HashMap, HashSet};

use super::contexts::TaggedContexts;
use super::{Btf, HEADER_LEN, Kind, MAGIC, SecInfo, Type};
use crate::elf::Elf;

/// Newer BTF kinds that the kernel supports. Everything up to Linux 5.10 is assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BtfFeatures {
    /// `BTF_KIND_FLOAT`, Linux 5.13 and later.
    pub float: bool,
    /// `BTF_KIND_DECL_TAG`, Linux 5.16 and later.
    pub decl_tag: bool,
    /// `BTF_KIND_TYPE_TAG`, Linux 5.17 and later.
    pub type_tag: bool,
    /// `BTF_KIND_ENUM64` and signed enumerations, Linux 6.0 and later.
    pub enum64: bool,
}

impl BtfFeatures {
    /// All features: Linux 6.0 and later.
    pub const ALL: Self = Self { float: true, decl_tag: true, type_tag: true, enum64: true };
    /// No feature: Linux 5.10.
    pub const NONE: Self = Self { float: false, decl_tag: false, type_tag: false, enum64: false };
}

impl Default for BtfFeatures {
    fn default() -> Self {
        Self::ALL
    }
}

/// Returns size and variables of a DATASEC; `None` if it is empty, has externs, or contradicts its section.
pub(crate) fn datasec_layout(btf: &Btf, elf: &Elf, ty: &Type<'_>) -> Option<(u32, Vec<SecInfo>)> {
    let name = btf.name(ty);
    let section = elf.section_named(name)?;
    let size = match ty.size_or_type {
        0 => u32::try_from(elf.sections.get(section)?.size).ok()?,
        size => size,
    };
    let mut infos: Vec<SecInfo> = ty.sec_infos().collect();
    if infos.is_empty() || size == 0 {
        return None;
    }
    infos.sort_by_key(|info| info.offset);
    let mut end = 0_u64;
    for info in &infos {
        let variable = btf.get(info.type_id)?;
        if variable.kind != Kind::Var || u64::from(info.offset) < end || info.size == 0 {
            return None;
        }
        end = u64::from(info.offset) + u64::from(info.size);
    }
    (end <= u64::from(size)).then_some((size, infos))
}

/// Functions in `programs` become global: a static one would be a subprogram, and an extension must be global.
pub(crate) fn fixed(
    btf: &Btf,
    elf: &Elf,
    programs: &HashSet<u32>,
    contexts: &TaggedContexts,
    features: BtfFeatures,
) -> Vec<u8> {
    let hidden: HashSet<&str> = elf
        .symbols
        .iter()
        .filter(|symbol| symbol.is_function && symbol.is_hidden)
        .map(|symbol| symbol.name.as_str())
        .collect();
    let mut writer = Writer::new(btf, btf.len() + 1 + contexts.count());
    for ty in btf.types() {
        writer.fix(&ty, elf, features, (&hidden, programs));
    }
    writer.add(contexts);
    writer.finish()
}

struct Writer<'a> {
    btf: &'a Btf,
    types: Vec<u8>,
    strings: Vec<u8>,
    added_strings: HashMap<String, u32>,
    end: u32,
    /// One-byte integer after all other types, if needed.
    filler: Option<u32>,
}

impl<'a> Writer<'a> {
    fn new(btf: &'a Btf, end: u32) -> Self {
        let mut strings = btf.strings().to_vec();
        if strings.is_empty() {
            strings.push(0);
        }
        Self { btf, types: Vec::new(), strings, added_strings: HashMap::new(), end, filler: None }
    }

    fn put(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.types.extend_from_slice(&word.to_ne_bytes()));
    }

    fn keep(&mut self, ty: &Type<'_>) {
        self.put(&[ty.name_off, ty.info, ty.size_or_type]);
        self.types.extend_from_slice(ty.rest);
    }

    fn string(&mut self, text: &str) -> u32 {
        if let Some(offset) = self.added_strings.get(text) {
            return *offset;
        }
        // Object files are limited to 16 MiB, so offsets fit.
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.added_strings.insert(text.to_owned(), offset);
        offset
    }

    fn filler(&mut self) -> u32 {
        *self.filler.get_or_insert(self.end)
    }

    fn add(&mut self, contexts: &TaggedContexts) {
        let mut words = Vec::new();
        contexts.write(self.btf, |name| self.string(name), |more| words.extend_from_slice(more));
        self.put(&words);
    }

    /// The kernel requires a single encoding bit, and gcc 12 writes `signed char` with two: keep the lowest, the sign.
    fn integer(&mut self, ty: &Type<'_>) {
        let encoding = match ty.int_encoding() {
            0 => 0,
            bits => 1 << bits.trailing_zeros(),
        };
        let word = encoding << 24 | ty.int_offset() << 16 | ty.int_bits();
        self.put(&[ty.name_off, ty.info, ty.size_or_type, word]);
    }

    fn fix(
        &mut self,
        ty: &Type<'_>,
        elf: &Elf,
        features: BtfFeatures,
        (hidden, programs): (&HashSet<&str>, &HashSet<u32>),
    ) {
        let btf = self.btf;
        match ty.kind {
            Kind::Datasec => match datasec_layout(btf, elf, ty) {
                Some((size, infos)) => {
                    let name = self.section_name(ty);
                    self.put(&[name, ty.info, size]);
                    infos.iter().for_each(|info| self.put(&[info.type_id, info.offset, info.size]));
                }
                // The name of a struct must be an identifier, so it has none.
                None => self.put(&[0, Kind::Struct.info(0), 0]),
            },
            Kind::Var => {
                // The kernel supports neither extern variables nor variables of type void.
                let type_id = match btf.resolve(ty.size_or_type) {
                    Some(_) => ty.size_or_type,
                    None => self.filler(),
                };
                let linkage = if ty.var_linkage() == 2 { 1 } else { ty.var_linkage() };
                self.put(&[ty.name_off, ty.info, type_id, linkage]);
            }
            Kind::Func => {
                let name = btf.name(ty);
                // The kernel verifies global functions without their callers' bounds, which hidden functions and
                // memory builtins need. Extern functions have no linkage.
                let builtin = matches!(name, "memset" | "memcpy" | "memmove" | "memcmp");
                let linkage = match ty.vlen() {
                    1 if !builtin && !hidden.contains(name) => 1,
                    0 if programs.contains(&ty.id) => 1,
                    _ => 0,
                };
                self.put(&[ty.name_off, Kind::Func.info(linkage), ty.size_or_type]);
            }
            Kind::FuncProto => {
                self.put(&[ty.name_off, ty.info, ty.size_or_type]);
                for (index, (name, type_id)) in ty.params().enumerate() {
                    // The kernel requires parameter names; void ends a variadic list.
                    let name =
                        if name == 0 && type_id != 0 { self.string(&format!("param{index}")) } else { name };
                    self.put(&[name, type_id]);
                }
            }
            Kind::Int => self.integer(ty),
            Kind::Float if !features.float => self.put(&[0, Kind::Struct.info(0), ty.size_or_type]),
            Kind::DeclTag if !features.decl_tag => self.put(&[ty.name_off, Kind::Int.info(0), 1, 8]),
            Kind::TypeTag if !features.type_tag => self.put(&[0, Kind::Const.info(0), ty.size_or_type]),
            Kind::Enum if !features.enum64 => {
                self.put(&[ty.name_off, ty.info & 0x7fff_ffff, ty.size_or_type]);
                self.types.extend_from_slice(ty.rest);
            }
            Kind::Enum64 if !features.enum64 => {
                let filler = self.filler();
                self.put(&[ty.name_off, Kind::Union.info(ty.vlen()), ty.size_or_type]);
                for (name, _value) in ty.enumerators() {
                    self.put(&[name, filler, 0]);
                }
            }
            _ => self.keep(ty),
        }
    }

    /// Returns the offset of a section's name, with only characters that every kernel accepts.
    fn section_name(&mut self, ty: &Type<'_>) -> u32 {
        let name = self.btf.name(ty);
        let plain: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '.' }).collect();
        if plain == name { ty.name_off } else { self.string(&plain) }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.filler.is_some() {
            let name = self.string("filler");
            self.put(&[name, Kind::Int.info(0), 1, 8]);
        }
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut out = Vec::with_capacity(HEADER_LEN + self.types.len() + self.strings.len());
        out.extend_from_slice(&MAGIC.to_ne_bytes());
        out.extend_from_slice(&[1, 0]);
        for word in [HEADER_LEN as u32, 0, types, types, strings] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.append(&mut self.types);
        out.append(&mut self.strings);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(encoding: u32) -> Vec<u8> {
        let strings = b"\0signed char\0";
        let types = [1_u32, Kind::Int.info(0), 1, encoding << 24 | 8];
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let length = size_of_val(&types) as u32;
        for word in [HEADER_LEN as u32, 0, length, length, strings.len() as u32].iter().chain(&types) {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn integers_keep_one_bit_of_their_encoding() {
        for (encoding, expected) in [(0, 0), (1, 1), (2, 2), (4, 4), (3, 1), (6, 2), (7, 1)] {
            let btf = Btf::parse(integer(encoding)).unwrap();
            let mut writer = Writer::new(&btf, 2);
            for ty in btf.types() {
                writer.integer(&ty);
            }
            let written = Btf::parse(writer.finish()).unwrap();
            let ty = written.get(1).unwrap();
            assert_eq!((ty.int_encoding(), ty.int_bits(), ty.size_or_type), (expected, 8, 1), "{encoding}");
        }
    }
}
