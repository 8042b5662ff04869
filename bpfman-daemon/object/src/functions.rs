use std::collections::BTreeMap;

use bpfman_model::Insn;

use crate::RelocationError;
use crate::elf::Elf;

pub(crate) const INSN_BYTES: u64 = 8;

/// Section and offset of a function. Two sections may have functions at the same offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FunctionKey {
    pub section: usize,
    pub offset: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub name: String,
    pub len: usize,
    pub is_local: bool,
}

/// Damaged functions are kept with the reason, which is reported when they are used.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    table: BTreeMap<FunctionKey, (Function, Option<&'static str>)>,
}

impl Functions {
    pub(crate) fn read(elf: &Elf) -> Self {
        let mut table = BTreeMap::new();
        for (section, header) in elf.sections.iter().enumerate().filter(|(_, header)| header.is_code()) {
            let mut symbols: Vec<_> = elf
                .symbols_in(section)
                .filter(|symbol| symbol.is_function && !symbol.name.is_empty())
                .collect();
            // If a location has two names, use the global one.
            symbols.sort_by_key(|symbol| (symbol.value, symbol.is_local));
            symbols.dedup_by_key(|symbol| symbol.value);
            for (index, symbol) in symbols.iter().enumerate() {
                let next = symbols.get(index + 1).map_or(header.size as u64, |next| next.value);
                let key = FunctionKey { section, offset: symbol.value };
                // Hand-written assembly may omit the size: such a function extends to the next one.
                let size = if symbol.size == 0 { next.saturating_sub(symbol.value) } else { symbol.size };
                let end = symbol.value.saturating_add(size);
                let damage = if !symbol.value.is_multiple_of(INSN_BYTES) || !size.is_multiple_of(INSN_BYTES) {
                    Some("is not made of whole instructions")
                } else if size == 0 {
                    Some("is empty")
                } else if end > header.size as u64 {
                    Some("reaches beyond its section")
                } else if end > next && index + 1 < symbols.len() {
                    Some("overlaps the function after it")
                } else {
                    None
                };
                let len = (size / INSN_BYTES) as usize;
                let function = Function { name: symbol.name.clone(), len, is_local: symbol.is_local };
                table.insert(key, (function, damage));
            }
        }
        Self { table }
    }

    pub(crate) fn get(&self, key: FunctionKey) -> Result<&Function, RelocationError> {
        match self.table.get(&key) {
            Some((function, None)) => Ok(function),
            Some((function, Some(what))) => {
                Err(RelocationError::DamagedFunction(function.name.clone(), what))
            }
            None => Err(RelocationError::NoFunction { section: key.section, offset: key.offset }),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (FunctionKey, &Function)> {
        self.table.iter().map(|(key, (function, _))| (*key, function))
    }

    pub(crate) fn instructions(elf: &Elf, key: FunctionKey, len: usize) -> impl Iterator<Item = Insn> + '_ {
        let data = elf.section_data(key.section);
        let start = usize::try_from(key.offset).unwrap_or(usize::MAX).min(data.len());
        data[start..]
            .chunks_exact(INSN_BYTES as usize)
            .take(len)
            .filter_map(|raw| raw.try_into().ok())
            .map(Insn::from_ne_bytes)
    }
}
