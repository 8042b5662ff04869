use std::collections::HashMap;

use bpfman_model::MapSpec;

use crate::ObjectError;
use crate::btf::{Btf, Kind, Type};
use crate::elf::{Elf, SymbolPlace};

#[derive(Clone, Debug)]
pub(crate) enum Extern {
    Function,
    /// Kernel variable with a declared type.
    Variable,
    /// Address only (`extern const void x __ksym`).
    Address,
    /// Offset of the `.kconfig` map.
    Kconfig {
        offset: u32,
    },
}

/// Type of a `__kconfig` variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KconfigKind {
    /// `bool`: `y` is true.
    Bool,
    /// `char`: a letter.
    Char,
    Integer {
        /// Set if negative values are allowed.
        signed: bool,
    },
    /// `enum libbpf_tristate`: no 0, yes 1, module 2.
    Tristate,
    /// An array of characters, terminated by a zero.
    Text,
}

/// A `__kconfig` variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KconfigExtern {
    /// `CONFIG_…`, `LINUX_KERNEL_VERSION` or another of libbpf's names.
    pub name: String,
    /// Byte offset in the `.kconfig` map's value.
    pub offset: u32,
    pub size: u32,
    pub kind: KconfigKind,
    /// May be left unset, and is then zero.
    pub weak: bool,
}

/// Value of the kernel's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KconfigValue {
    /// `y`, `m` or `n`.
    Letter(char),
    /// A number; negative ones in two's complement.
    Number(u64),
    /// A string without its quotes.
    Text(String),
}

#[derive(Debug, Default)]
pub(crate) struct Externs {
    table: HashMap<String, Extern>,
    symbols: Vec<String>,
    pub kconfig: Vec<KconfigExtern>,
    kconfig_end: u32,
}

impl Externs {
    pub(crate) fn read(elf: &Elf, btf: Option<&Btf>) -> Self {
        let mut externs = Self::default();
        let Some(btf) = btf else { return externs };
        // Weak symbols may be missing from the kernel; names that are not in the symbol table are unused.
        let undefined: HashMap<&str, bool> = elf
            .symbols
            .iter()
            .filter(|symbol| symbol.place == SymbolPlace::Undefined && !symbol.name.is_empty())
            .map(|symbol| (symbol.name.as_str(), symbol.is_weak))
            .collect();
        for datasec in btf.types().filter(|ty| ty.kind == Kind::Datasec) {
            let section = btf.name(&datasec);
            if !matches!(section, ".ksyms" | ".kconfig") {
                continue;
            }
            for item in datasec.sec_infos().filter_map(|info| btf.get(info.type_id)) {
                let name = btf.name(&item);
                let Some(weak) = undefined.get(name) else { continue };
                if section == ".kconfig" {
                    externs.add_kconfig(btf, name, &item, *weak);
                    continue;
                }
                let kind = match item.kind {
                    Kind::Func => Extern::Function,
                    _ if btf.resolve(item.size_or_type).is_none() => Extern::Address,
                    _ => Extern::Variable,
                };
                externs.table.insert(name.to_owned(), kind);
            }
        }
        let of_kernel = |kind: &Extern| !matches!(kind, Extern::Kconfig { .. });
        let symbols = externs.table.iter().filter(|(_, kind)| of_kernel(kind)).map(|(name, _)| name.clone());
        externs.symbols = symbols.collect();
        externs.symbols.sort_unstable();
        externs
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Extern> {
        self.table.get(name)
    }

    /// Returns the position of an extern: configuration values come first, then symbols by name.
    pub(crate) fn place(&self, name: &str) -> i32 {
        let among = self.symbols.binary_search_by(|symbol| symbol.as_str().cmp(name)).unwrap_or_default();
        i32::try_from(self.kconfig.len() + among).unwrap_or(i32::MAX)
    }

    pub(crate) fn kconfig_bytes(&self) -> usize {
        self.kconfig_end as usize
    }

    fn add_kconfig(&mut self, btf: &Btf, name: &str, item: &Type<'_>, weak: bool) {
        // Skip an unsupported type: references to the variable then fail.
        let Some((kind, size)) = kconfig_kind(btf, item.size_or_type) else { return };
        let align = if kind == KconfigKind::Text { 1 } else { size };
        let Some(offset) = self.kconfig_end.checked_next_multiple_of(align.max(1)) else { return };
        let Some(end) = offset.checked_add(size).filter(|end| *end as usize <= crate::MAX_OBJECT_BYTES)
        else {
            return;
        };
        self.kconfig_end = end;
        self.table.insert(name.to_owned(), Extern::Kconfig { offset });
        self.kconfig.push(KconfigExtern { name: name.to_owned(), offset, size, kind, weak });
    }
}

pub(crate) fn write_kconfig(
    externs: &[KconfigExtern],
    map: &mut MapSpec,
    mut value_of: impl FnMut(&KconfigExtern) -> Option<KconfigValue>,
) -> Result<(), ObjectError> {
    for item in externs {
        let wrong = |why: String| ObjectError::Kconfig { name: item.name.clone(), why };
        let Some(value) = value_of(item) else {
            if item.weak {
                continue;
            }
            return Err(wrong("this kernel's configuration does not have it".to_owned()));
        };
        let bytes = item.encode(&value).ok_or_else(|| {
            wrong(format!("{value:?} does not fit in a {:?} of {} bytes", item.kind, item.size))
        })?;
        let start = item.offset as usize;
        if let Some(place) = map.initial.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(&bytes);
        }
    }
    Ok(())
}

impl KconfigExtern {
    /// Returns a value as bytes; `None` if it does not fit.
    fn encode(&self, value: &KconfigValue) -> Option<Vec<u8>> {
        use KconfigValue::{Letter, Number, Text};
        let size = self.size as usize;
        match (self.kind, value) {
            (KconfigKind::Bool, Letter('y')) => Some(vec![1]),
            (KconfigKind::Bool, Letter('n')) => Some(vec![0]),
            (KconfigKind::Bool, Number(value @ 0..=1)) => Some(vec![*value as u8]),
            (KconfigKind::Char, Letter(letter)) => u8::try_from(*letter).ok().map(|byte| vec![byte]),
            (KconfigKind::Tristate, Letter(letter)) => {
                let number: u32 = match letter {
                    'n' => 0,
                    'y' => 1,
                    'm' => 2,
                    _ => return None,
                };
                Some(number.to_ne_bytes().to_vec())
            }
            (KconfigKind::Integer { signed }, Number(value)) => {
                let bits = u32::try_from(size * 8).ok().filter(|bits| matches!(bits, 8 | 16 | 32 | 64))?;
                let fits = bits == 64
                    || *value >> bits == 0 && (!signed || *value >> (bits - 1) == 0)
                    || signed && value.cast_signed() < 0 && value.cast_signed() >> (bits - 1) == -1;
                let wide = value.to_ne_bytes();
                let narrow = if cfg!(target_endian = "little") { &wide[..size] } else { &wide[8 - size..] };
                fits.then(|| narrow.to_vec())
            }
            (KconfigKind::Char, Number(value)) => u8::try_from(*value).ok().map(|byte| vec![byte]),
            // Text that does not fit is truncated, as in libbpf.
            (KconfigKind::Text, Text(text)) => {
                let mut bytes = text.as_bytes()[..text.len().min(size.checked_sub(1)?)].to_vec();
                bytes.push(0);
                Some(bytes)
            }
            _ => None,
        }
    }
}

fn kconfig_kind(btf: &Btf, type_id: u32) -> Option<(KconfigKind, u32)> {
    let ty = btf.resolve(type_id)?;
    let size = u32::try_from(btf.size_of(type_id)?).ok()?;
    let kind = match ty.kind {
        Kind::Int if ty.int_encoding() & 4 != 0 && size == 1 => KconfigKind::Bool,
        Kind::Int if btf.name(&ty) == "char" => KconfigKind::Char,
        Kind::Int if matches!(size, 1 | 2 | 4 | 8) => {
            KconfigKind::Integer { signed: ty.int_encoding() & 1 != 0 }
        }
        Kind::Enum if btf.name(&ty) == "libbpf_tristate" && size == 4 => KconfigKind::Tristate,
        Kind::Array if btf.size_of(ty.array().element) == Some(1) && size > 0 => KconfigKind::Text,
        _ => return None,
    };
    Some((kind, size))
}
