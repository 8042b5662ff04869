use std::collections::{BTreeMap, BTreeSet};

use crate::chain::hook::SpliceHook;
use crate::text::btf_records::{self as records, WordType};

const MAX_TYPES: usize = 0x000f_ffff;
const MAX_STRINGS: usize = 0x00ff_ffff;

/// Maximum length of a name, in bytes, that every kernel accepts.
const MAX_NAME: usize = 127;

/// Numbers to add to a member's ids and offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    types: u32,
    strings: u32,
}

impl Moved {
    pub(crate) fn type_id(self, id: u32) -> u32 {
        if id == 0 { 0 } else { id.saturating_add(self.types) }
    }

    pub(crate) fn string(self, offset: u32) -> u32 {
        if offset == 0 { 0 } else { offset.saturating_add(self.strings) }
    }
}

/// Begins with `int chain(struct xdp_md *context)`, the joined program.
pub(crate) struct Merge {
    types: Vec<u8>,
    count: u32,
    strings: Vec<u8>,
    own_strings: BTreeMap<String, u32>,
    functions: BTreeMap<String, u32>,
    prototype: u32,
    entry: u32,
    pub(crate) chain: u32,
}

/// Linkage of a static function, which BTF stores in the field for a length.
const STATIC: u32 = 0;
const GLOBAL: u32 = 1;

/// Static: verified on each call with its arguments. Global: once, by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linkage {
    Static,
    Global,
}

impl Merge {
    pub(crate) fn new(hook: SpliceHook) -> Self {
        let mut merge = Self {
            types: Vec::new(),
            count: 0,
            strings: vec![0],
            own_strings: BTreeMap::new(),
            functions: BTreeMap::new(),
            prototype: 0,
            entry: 0,
            chain: 0,
        };
        let context = match hook {
            SpliceHook::Xdp => "xdp_md",
            SpliceHook::TcTcx | SpliceHook::TcTcxOpen | SpliceHook::TcClsact => "__sk_buff",
        };
        const SIGNED_32_BITS: u32 = 1 << 24 | 32;
        let int = merge.add("int", records::INT, 0, 4, &[SIGNED_32_BITS]);
        // The verifier recognizes a context by the name of its struct, and ignores the fields.
        let context = merge.add(context, records::STRUCT, 0, 0, &[]);
        let pointer = merge.add("", records::PTR, 0, context, &[]);
        let name = merge.string("context");
        merge.entry = merge.add("", records::FUNC_PROTO, 1, int, &[name, pointer]);
        merge.prototype = merge.add("", records::FUNC_PROTO, 0, int, &[]);
        merge.chain = merge.add("chain", records::FUNC, GLOBAL, merge.entry, &[]);
        merge
    }

    fn add(&mut self, name: &str, kind: u32, vlen: u32, third: u32, words: &[u32]) -> u32 {
        let name = self.string(name);
        for word in [name, kind << 24 | vlen, third].iter().chain(words) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.count += 1;
        self.count
    }

    pub(crate) fn string(&mut self, text: &str) -> u32 {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        if text.is_empty() {
            return 0;
        }
        if let Some(offset) = self.own_strings.get(&text) {
            return *offset;
        }
        // The sum is checked against the kernel's limit in `finish`.
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.own_strings.insert(text, offset);
        offset
    }

    /// `name` must be an [`identifier`].
    pub(crate) fn entry_function(&mut self, name: &str, linkage: Linkage) -> u32 {
        let linkage = match linkage {
            Linkage::Static => STATIC,
            Linkage::Global => GLOBAL,
        };
        self.add(name, records::FUNC, linkage, self.entry, &[])
    }

    pub(crate) fn function(&mut self, name: &str) -> u32 {
        let name = identifier(name);
        if let Some(id) = self.functions.get(&name) {
            return *id;
        }
        let id = self.add(&name, records::FUNC, STATIC, self.prototype, &[]);
        self.functions.insert(name, id);
        id
    }

    /// `entries`: FUNCs of inlined entry functions, which are no longer functions.
    pub(crate) fn append(&mut self, raw: &[u8], entries: &BTreeSet<u32>) -> Result<Moved, &'static str> {
        let sections = records::sections(raw)?;
        let moved = Moved { types: self.count, strings: self.strings.len() as u32 };
        let mut at = 0;
        let mut id = 0;
        while at < sections.types.len() {
            id += 1;
            at += self.append_record(&sections.types[at..], moved, entries.contains(&id))?;
        }
        self.strings.extend_from_slice(sections.strings);
        Ok(moved)
    }

    /// Appends a record; returns its size in the member's BTF, in bytes.
    fn append_record(&mut self, from: &[u8], moved: Moved, is_entry: bool) -> Result<usize, &'static str> {
        let word = |index: usize| records::word_at(from, index * 4).ok_or("a type is cut short");
        let info = word(1)?;
        let kind = info >> 24 & 0x1f;
        let vlen = info & 0xffff;
        let (third_is, once, each) = records::shape(kind).ok_or("a type is of an unknown kind")?;
        let entries = if each.is_empty() { 0 } else { vlen as usize };
        let words = 3 + once.len() + each.len() * entries;
        word(words - 1)?;
        self.count += 1;
        if kind == records::DATASEC {
            // Sections of several members would clash, and no map refers to this BTF: an empty struct keeps the id.
            for word in [0, records::STRUCT << 24, 0] {
                self.types.extend_from_slice(&u32::to_ne_bytes(word));
            }
            return Ok(words * 4);
        }
        let info = match (kind, vlen) {
            (records::FUNC, linkage) if is_entry || linkage > GLOBAL => info & !0xffff | STATIC,
            _ => info,
        };
        let common = [WordType::Name, WordType::Number, third_is];
        let behind = once.iter().chain(each.iter().cycle().take(each.len() * entries));
        for (index, is) in common.iter().chain(behind).enumerate() {
            let value = if index == 1 { info } else { word(index)? };
            let value = match is {
                WordType::Name => moved.string(value),
                WordType::Type => moved.type_id(value),
                WordType::Number => value,
            };
            self.types.extend_from_slice(&value.to_ne_bytes());
        }
        Ok(words * 4)
    }

    /// The error is the number of types, and bytes of strings, beyond the kernel's limits.
    pub(crate) fn finish(self) -> Result<Vec<u8>, (usize, usize)> {
        let types = self.count as usize;
        if types > MAX_TYPES || self.strings.len() > MAX_STRINGS || self.types.len() > MAX_STRINGS {
            return Err((types, self.strings.len()));
        }
        Ok(records::assemble(&self.types, &self.strings))
    }
}

pub(crate) fn identifier(name: &str) -> String {
    let mut identifier: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(MAX_NAME).collect();
    if !identifier.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        identifier.insert(0, '_');
        identifier.truncate(MAX_NAME);
    }
    identifier
}

#[cfg(test)]
#[path = "btf_merge_tests.rs"]
pub(crate) mod tests;
