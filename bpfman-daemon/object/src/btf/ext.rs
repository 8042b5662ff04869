use std::collections::HashMap;

use super::{Btf, word};
use crate::ObjectError;

#[derive(Clone, Copy, Debug)]
pub(crate) struct FuncRecord {
    pub offset: u64,
    pub type_id: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LineRecord {
    pub offset: u64,
    pub file_name_off: u32,
    pub line_off: u32,
    pub line_col: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreRecord {
    pub offset: u64,
    pub type_id: u32,
    pub access_off: u32,
    pub kind: u32,
}

/// Lists of one code section, ascending by offset.
#[derive(Debug, Default)]
pub(crate) struct SectionRecords {
    pub functions: Vec<FuncRecord>,
    pub lines: Vec<LineRecord>,
    pub core: Vec<CoreRecord>,
}

#[derive(Debug, Default)]
pub(crate) struct BtfExt {
    sections: HashMap<String, SectionRecords>,
}

const MAGIC: u16 = 0xeb9f;

impl BtfExt {
    pub(crate) fn parse(data: &[u8], btf: &Btf) -> Result<Self, ObjectError> {
        let broken = |why: &str| ObjectError::btf(".BTF.ext", why);
        if data.len() < 24 {
            return Err(broken("header cut off"));
        }
        if u16::from_ne_bytes([data[0], data[1]]) != MAGIC {
            return Err(broken("wrong magic"));
        }
        let header_len = word(data, 4) as usize;
        let mut sections: HashMap<String, SectionRecords> = HashMap::new();
        // The third part came with CO-RE; older headers end before it.
        let parts: &[(&str, usize, usize)] =
            &[("func_info", 8, 8), ("line_info", 16, 16), ("core_relo", 24, 16)];
        for (index, (what, at, smallest)) in parts.iter().enumerate() {
            if at + 8 > header_len.min(data.len()) {
                continue;
            }
            let start = header_len.checked_add(word(data, *at) as usize);
            let end = start.and_then(|start| start.checked_add(word(data, at + 4) as usize));
            let part = start
                .zip(end)
                .and_then(|(start, end)| data.get(start..end))
                .ok_or_else(|| broken(&format!("{what} lies outside the section")))?;
            for_each_record(part, *smallest, |section_name, record| {
                let name = btf.string(section_name);
                if !sections.contains_key(name) {
                    sections.insert(name.to_owned(), SectionRecords::default());
                }
                let Some(records) = sections.get_mut(name) else { return };
                let offset = u64::from(word(record, 0));
                let (second, third, fourth) = (word(record, 4), word(record, 8), word(record, 12));
                match index {
                    0 => records.functions.push(FuncRecord { offset, type_id: second }),
                    1 => records.lines.push(LineRecord {
                        offset,
                        file_name_off: second,
                        line_off: third,
                        line_col: fourth,
                    }),
                    _ => records.core.push(CoreRecord {
                        offset,
                        type_id: second,
                        access_off: third,
                        kind: fourth,
                    }),
                }
            })
            .map_err(|why| broken(&format!("{what}: {why}")))?;
        }
        for records in sections.values_mut() {
            records.functions.sort_by_key(|record| record.offset);
            records.lines.sort_by_key(|record| record.offset);
            records.core.sort_by_key(|record| record.offset);
        }
        Ok(Self { sections })
    }

    pub(crate) fn section(&self, name: &str) -> Option<&SectionRecords> {
        self.sections.get(name)
    }
}

/// Returns whether CO-RE records are announced. Records whose header cannot be read announce none, as for libbpf.
pub(crate) fn has_relocations(data: &[u8]) -> bool {
    const RELOCATIONS: usize = 28;
    let has_header = data.len() >= RELOCATIONS + 4 && data.starts_with(&MAGIC.to_ne_bytes());
    has_header && word(data, 4) as usize >= RELOCATIONS + 4 && word(data, RELOCATIONS) > 0
}

/// Format: `record size, (section name, count, records…)…`.
fn for_each_record(
    part: &[u8],
    smallest: usize,
    mut each: impl FnMut(u32, &[u8]),
) -> Result<(), &'static str> {
    if part.is_empty() {
        return Ok(());
    }
    let size = word(part, 0) as usize;
    if part.len() < 4 || size < smallest || !size.is_multiple_of(4) {
        return Err("impossible record size");
    }
    let mut rest = &part[4..];
    while !rest.is_empty() {
        if rest.len() < 8 {
            return Err("section header cut off");
        }
        let (name, count) = (word(rest, 0), word(rest, 4) as usize);
        let bytes = count.checked_mul(size).ok_or("impossible number of records")?;
        let records = rest.get(8..8 + bytes).ok_or("records cut off")?;
        records.chunks_exact(size).for_each(|record| each(name, record));
        rest = &rest[8 + bytes..];
    }
    Ok(())
}

pub(crate) fn within<T>(records: &[T], offset: impl Fn(&T) -> u64, start: u64, end: u64) -> &[T] {
    let from = records.partition_point(|record| offset(record) < start);
    let to = records.partition_point(|record| offset(record) < end);
    records.get(from..to).unwrap_or_default()
}
