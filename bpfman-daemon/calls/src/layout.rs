//! Commands of bpf(2), as in `union bpf_attr` of linux/bpf.h: descriptors and pointers of each attribute.

use crate::{CallAttr, Errno, ObjectKind, link};

/// Numbers of commands, as in linux/bpf.h.
#[allow(missing_docs, reason = "named as in linux/bpf.h")]
pub mod command {
    pub const MAP_CREATE: u32 = 0;
    pub const PROG_LOAD: u32 = 5;
    pub const PROG_ATTACH: u32 = 8;
    pub const PROG_DETACH: u32 = 9;
    pub const PROG_TEST_RUN: u32 = 10;
    pub const PROG_GET_NEXT_ID: u32 = 11;
    pub const MAP_GET_NEXT_ID: u32 = 12;
    pub const PROG_GET_FD_BY_ID: u32 = 13;
    pub const MAP_GET_FD_BY_ID: u32 = 14;
    pub const OBJ_GET_INFO_BY_FD: u32 = 15;
    pub const PROG_QUERY: u32 = 16;
    pub const RAW_TRACEPOINT_OPEN: u32 = 17;
    pub const BTF_LOAD: u32 = 18;
    pub const BTF_GET_FD_BY_ID: u32 = 19;
    pub const TASK_FD_QUERY: u32 = 20;
    pub const MAP_FREEZE: u32 = 22;
    pub const BTF_GET_NEXT_ID: u32 = 23;
    pub const LINK_CREATE: u32 = 28;
    pub const LINK_UPDATE: u32 = 29;
    pub const LINK_GET_FD_BY_ID: u32 = 30;
    pub const LINK_GET_NEXT_ID: u32 = 31;
    pub const ENABLE_STATS: u32 = 32;
    pub const LINK_DETACH: u32 = 34;
}

/// Size of the largest buffer of a call, in bytes: the largest verifier log that libraries ask for.
pub const MAX_BUFFER: u64 = 16 << 20;

/// Maximum number of instructions of a program.
const MAX_INSTRUCTIONS: u32 = 1_000_000;
/// Maximum number of programs that one query returns.
const MAX_QUERY: u32 = 4096;
/// Maximum size of a licence, in bytes, with its zero.
const MAX_LICENCE: usize = 128;
/// Maximum size of the name of a tracepoint, in bytes, with its zero.
const MAX_TRACEPOINT: usize = 128;

const ARRAY_OF_MAPS: u32 = 12;
const HASH_OF_MAPS: u32 = 13;
/// `BPF_F_VTYPE_BTF_OBJ_FD`.
const VALUE_TYPE_IN_MODULE: u32 = 1 << 15;

/// A descriptor or pointer of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset in the attribute, in bytes.
    pub at: usize,
    /// Meaning of the value there.
    pub kind: FieldKind,
}

/// Meaning of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Descriptor, of four bytes.
    Descriptor,
    /// Pointer to bytes that the kernel reads.
    Input(u64),
    /// Pointer to bytes that the kernel writes.
    Output(u64),
    /// Pointer to a NUL-terminated text; its maximum size in bytes.
    Text(usize),
    /// Pointer to pointers to texts; their number.
    TextList(u64),
    /// Pointer to the path of a file that the caller has to be able to read.
    File,
    /// Pointer to instructions; their size in bytes.
    Code(u64),
    /// Pointer to the descriptors that instructions name by index.
    CodeDescriptors,
    /// Pointer to the target of an iterator (a map, cgroup or process); its size in bytes.
    IteratorTarget(u64),
}

impl FieldKind {
    /// Returns whether the field is a pointer, of eight bytes.
    #[must_use]
    pub const fn is_pointer(self) -> bool {
        !matches!(self, Self::Descriptor)
    }
}

/// Layout of the attribute of a supported command.
#[derive(Clone, Copy, Debug)]
pub struct AttrLayout {
    pub command: u32,
    /// Name of the command, as in linux/bpf.h without its prefix.
    pub name: &'static str,
    /// Size of the known part of the attribute, in bytes.
    pub known: usize,
    /// Function that sets fields that the kernel does not read to zero, and returns the others.
    fields: fn(&mut CallAttr) -> Result<Vec<Field>, Errno>,
    /// Kind of the object whose descriptor the call returns; `None` if it returns a number.
    pub returns: Option<Returned>,
    /// Byte ranges of the attribute that the kernel writes: start, and end (exclusive).
    pub written: &'static [(usize, usize)],
}

/// Descriptor that a call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    New(ObjectKind),
    Existing(ObjectKind),
    /// Anything else.
    Other,
}

impl AttrLayout {
    /// Returns the descriptors and pointers of an attribute, in a fixed order.
    ///
    /// # Errors
    /// `E2BIG` or `EINVAL`: a buffer is too large, or a field is used that is not served.
    pub fn fields(&self, attr: &mut CallAttr) -> Result<Vec<Field>, Errno> {
        (self.fields)(attr)
    }
}

/// Returns the layout of a command; `None` if the command is not served.
#[must_use]
pub fn layout(command: u32) -> Option<&'static AttrLayout> {
    LAYOUTS.iter().find(|layout| layout.command == command)
}

pub(crate) const fn descriptor(at: usize) -> Field {
    Field { at, kind: FieldKind::Descriptor }
}

pub(crate) const fn field(at: usize, kind: FieldKind) -> Field {
    Field { at, kind }
}

/// Returns the product as the length of a buffer.
pub(crate) fn length(count: u64, unit: u64) -> Result<u64, Errno> {
    count.checked_mul(unit).filter(|length| *length <= MAX_BUFFER).ok_or(Errno::TOO_BIG)
}

fn none(_: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    Ok(Vec::new())
}

fn first(_: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    Ok(vec![descriptor(0)])
}

fn map_create(attr: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    let mut fields = Vec::new();
    let mut descriptor_if = |attr: &mut CallAttr, at, is_used| {
        if is_used {
            fields.push(descriptor(at));
        } else {
            attr.set_word(at, 0);
        }
    };
    let of_maps = matches!(attr.word(0), ARRAY_OF_MAPS | HASH_OF_MAPS);
    descriptor_if(attr, 20, of_maps);
    let has_types = [52, 56, 60].into_iter().any(|at| attr.word(at) != 0);
    descriptor_if(attr, 48, has_types);
    let in_module = attr.word(16) & VALUE_TYPE_IN_MODULE != 0;
    descriptor_if(attr, 72, in_module);
    // A map on a network device is refused: only the daemon's rights would decide about its driver.
    if attr.word(44) != 0 { Err(Errno::INVAL) } else { Ok(fields) }
}

fn prog_load(attr: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    if attr.word(4) > MAX_INSTRUCTIONS {
        return Err(Errno::TOO_BIG);
    }
    // A token and a program for a device are refused.
    if attr.word(144) != 0 || attr.word(64) != 0 {
        return Err(Errno::INVAL);
    }
    let long = |at| u64::from(attr.word(at));
    let mut fields = vec![
        field(8, FieldKind::Code(length(long(4), 8)?)),
        field(120, FieldKind::CodeDescriptors),
        field(16, FieldKind::Text(MAX_LICENCE)),
        field(80, FieldKind::Input(length(long(88), long(76))?)),
        field(96, FieldKind::Input(length(long(104), long(92))?)),
        field(128, FieldKind::Input(length(long(116), long(136))?)),
        field(32, FieldKind::Output(length(long(28), 1)?)),
    ];
    fields.extend([72, 112].into_iter().filter(|at| attr.word(*at) != 0).map(descriptor));
    Ok(fields)
}

fn btf_load(attr: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    let size = |at| length(attr.word(at).into(), 1);
    Ok(vec![field(0, FieldKind::Input(size(16)?)), field(8, FieldKind::Output(size(20)?))])
}

fn raw_tracepoint(_: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    Ok(vec![field(0, FieldKind::Text(MAX_TRACEPOINT)), descriptor(8)])
}

fn prog_attach(attr: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    let mut fields = Vec::new();
    if !link::is_of_interface(attr.word(8)) {
        fields.push(descriptor(0));
    }
    fields.extend([4, 16].into_iter().filter(|at| attr.word(*at) != 0).map(descriptor));
    fields.extend(link::relative(attr, 12, 20));
    Ok(fields)
}

fn prog_query(attr: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    let count = attr.word(24);
    if count > MAX_QUERY {
        return Err(Errno::TOO_BIG);
    }
    let ids = FieldKind::Output(length(count.into(), 4)?);
    let mut fields: Vec<Field> = [16, 32, 40, 48].into_iter().map(|at| field(at, ids)).collect();
    if !link::is_of_interface(attr.word(4)) {
        fields.push(descriptor(0));
    }
    Ok(fields)
}

fn task_fd_query(attr: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    Ok(vec![field(16, FieldKind::Output(length(attr.word(12).into(), 1)?))])
}

fn test_run(attr: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    let size = |at| length(attr.word(at).into(), 1);
    Ok(vec![
        descriptor(0),
        field(16, FieldKind::Input(size(8)?)),
        field(24, FieldKind::Output(size(12)?)),
        field(48, FieldKind::Input(size(40)?)),
        field(56, FieldKind::Output(size(44)?)),
    ])
}

fn link_update(attr: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    let mut fields = vec![descriptor(0), descriptor(4)];
    // `BPF_F_REPLACE`
    if attr.word(8) & 4 != 0 {
        fields.push(descriptor(12));
    } else {
        attr.set_word(12, 0);
    }
    Ok(fields)
}

const LAYOUTS: [AttrLayout; 22] = {
    use command as c;
    const fn row(
        command: u32,
        name: &'static str,
        known: usize,
        fields: fn(&mut CallAttr) -> Result<Vec<Field>, Errno>,
        returns: Option<Returned>,
        written: &'static [(usize, usize)],
    ) -> AttrLayout {
        AttrLayout { command, name, known, fields, returns, written }
    }
    const NEW_MAP: Option<Returned> = Some(Returned::New(ObjectKind::Map));
    const NEW_PROGRAM: Option<Returned> = Some(Returned::New(ObjectKind::Program));
    const NEW_TYPES: Option<Returned> = Some(Returned::New(ObjectKind::Btf));
    const NEW_LINK: Option<Returned> = Some(Returned::New(ObjectKind::Link));
    const fn existing(kind: ObjectKind) -> Option<Returned> {
        Some(Returned::Existing(kind))
    }
    const NEXT: &[(usize, usize)] = &[(4, 8)];
    [
        row(c::MAP_CREATE, "MAP_CREATE", 76, map_create, NEW_MAP, &[]),
        row(c::PROG_LOAD, "PROG_LOAD", 152, prog_load, NEW_PROGRAM, &[(140, 144)]),
        row(c::PROG_ATTACH, "PROG_ATTACH", 32, prog_attach, None, &[]),
        row(c::PROG_DETACH, "PROG_DETACH", 32, prog_attach, None, &[]),
        row(c::PROG_TEST_RUN, "PROG_TEST_RUN", 76, test_run, None, &[(4, 8), (12, 16), (36, 40), (44, 48)]),
        row(c::PROG_GET_NEXT_ID, "PROG_GET_NEXT_ID", 12, none, None, NEXT),
        row(c::MAP_GET_NEXT_ID, "MAP_GET_NEXT_ID", 12, none, None, NEXT),
        row(c::BTF_GET_NEXT_ID, "BTF_GET_NEXT_ID", 12, none, None, NEXT),
        row(c::LINK_GET_NEXT_ID, "LINK_GET_NEXT_ID", 12, none, None, NEXT),
        row(c::PROG_GET_FD_BY_ID, "PROG_GET_FD_BY_ID", 12, none, existing(ObjectKind::Program), &[]),
        row(c::MAP_GET_FD_BY_ID, "MAP_GET_FD_BY_ID", 12, none, existing(ObjectKind::Map), &[]),
        row(c::BTF_GET_FD_BY_ID, "BTF_GET_FD_BY_ID", 12, none, existing(ObjectKind::Btf), &[]),
        row(c::LINK_GET_FD_BY_ID, "LINK_GET_FD_BY_ID", 12, none, existing(ObjectKind::Link), &[]),
        row(c::PROG_QUERY, "PROG_QUERY", 64, prog_query, None, &[(12, 16), (24, 28), (56, 64)]),
        row(c::RAW_TRACEPOINT_OPEN, "RAW_TRACEPOINT_OPEN", 24, raw_tracepoint, NEW_LINK, &[]),
        row(c::BTF_LOAD, "BTF_LOAD", 32, btf_load, NEW_TYPES, &[(28, 32)]),
        row(c::TASK_FD_QUERY, "TASK_FD_QUERY", 48, task_fd_query, None, &[(12, 16), (24, 48)]),
        row(c::MAP_FREEZE, "MAP_FREEZE", 4, first, None, &[]),
        row(c::LINK_CREATE, "LINK_CREATE", 64, link::fields, NEW_LINK, &[]),
        row(c::LINK_UPDATE, "LINK_UPDATE", 16, link_update, None, &[]),
        row(c::ENABLE_STATS, "ENABLE_STATS", 4, none, Some(Returned::Other), &[]),
        row(c::LINK_DETACH, "LINK_DETACH", 4, first, None, &[]),
    ]
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A pointer that stayed in the attribute would refer to memory of the process that makes the call.
        #[test]
        fn every_field_lies_apart_within_the_understood_bytes(
            row in 0..LAYOUTS.len(),
            bytes in prop::collection::vec(prop_oneof![Just(0_u8), 0..60_u8, any::<u8>()], MAX_LEN),
        ) {
            let layout = &LAYOUTS[row];
            let mut attr = CallAttr::copy(&bytes[..layout.known], layout.known).unwrap_or_else(|error| panic!("{error}"));
            if let Ok(fields) = layout.fields(&mut attr) {
                let mut used = [false; MAX_LEN];
                for field in fields {
                    let size = if field.kind.is_pointer() { 8 } else { 4 };
                    prop_assert!(field.at + size <= layout.known, "{}: {field:?}", layout.name);
                    for byte in &mut used[field.at..field.at + size] {
                        prop_assert!(!std::mem::replace(byte, true), "{}: {field:?}", layout.name);
                    }
                }
            }
        }
    }

    const MAX_LEN: usize = crate::MAX_ATTR;

    #[test]
    fn fields_do_not_depend_on_pointers_and_descriptors() {
        for layout in &LAYOUTS {
            let given = CallAttr::copy(&[1; MAX_LEN][..layout.known], layout.known)
                .unwrap_or_else(|error| panic!("{error}"));
            let mut first = given.clone();
            let Ok(fields) = layout.fields(&mut first) else { continue };
            for field in &fields {
                match field.kind {
                    // Zero means none where the kernel accepts that.
                    FieldKind::Descriptor => first.set_word(field.at, 1),
                    _ => first.set_long(field.at, 0),
                }
            }
            assert_eq!(layout.fields(&mut first).as_ref(), Ok(&fields), "{}", layout.name);
        }
    }

    #[test]
    fn tokens_and_device_programs_are_refused() {
        for (command, at) in [(command::PROG_LOAD, 144), (command::PROG_LOAD, 64), (command::MAP_CREATE, 44)]
        {
            let layout = layout(command).unwrap_or_else(|| panic!("{command}"));
            let mut attr = CallAttr::copy(&vec![0; layout.known], layout.known)
                .unwrap_or_else(|error| panic!("{error}"));
            assert!(layout.fields(&mut attr).is_ok());
            attr.set_word(at, 3);
            assert_eq!(layout.fields(&mut attr), Err(Errno::INVAL));
        }
    }
}
