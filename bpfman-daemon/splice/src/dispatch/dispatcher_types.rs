//! Names and prototypes of a dispatcher's functions, with which the kernel compares replacements.

use crate::dispatch::dispatcher::{DISPATCHER_NAME, dispatcher_slot};

const INT: u32 = 1;
const STRUCT: u32 = 2;
const POINTER: u32 = 3;
const PROTO: u32 = 4;
/// Type id of the first slot's function; those of the other slots follow.
pub(crate) const FIRST_SLOT: u32 = 5;

/// `BTF_KIND_*`.
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_STRUCT: u32 = 4;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
/// Linkage of the slots' functions (`BTF_FUNC_GLOBAL`): only global functions can be replaced.
const GLOBAL: u32 = 1;

pub(crate) const fn entry(slots: usize) -> u32 {
    FIRST_SLOT + slots as u32
}

/// `int progN(struct xdp_md *ctx)` for each slot, and the dispatcher.
pub(crate) fn btf(slots: usize) -> Vec<u8> {
    const MAGIC: u16 = 0xeb9f;
    const VERSION: u8 = 1;
    const HEADER: u32 = 24;
    let mut strings = vec![0_u8];
    let mut string = |text: &str| {
        let at = strings.len() as u32;
        strings.extend(text.bytes());
        strings.push(0);
        at
    };
    let info = |kind: u32, count: u32| kind << 24 | count;
    let mut types = vec![string("int"), info(KIND_INT, 0), 4, 1 << 24 | 32];
    types.extend([string("xdp_md"), info(KIND_STRUCT, 0), 4]);
    types.extend([0, info(KIND_PTR, 0), STRUCT]);
    types.extend([0, info(KIND_FUNC_PROTO, 1), INT, string("ctx"), POINTER]);
    for slot in 0..slots {
        types.extend([string(&dispatcher_slot(slot)), info(KIND_FUNC, GLOBAL), PROTO]);
    }
    types.extend([string(DISPATCHER_NAME), info(KIND_FUNC, GLOBAL), PROTO]);
    let size = types.len() as u32 * 4;
    let mut raw = Vec::new();
    raw.extend(MAGIC.to_ne_bytes());
    raw.extend([VERSION, 0]);
    for word in [HEADER, 0, size, size, strings.len() as u32].iter().chain(&types) {
        raw.extend(word.to_ne_bytes());
    }
    raw.extend(strings);
    raw
}
