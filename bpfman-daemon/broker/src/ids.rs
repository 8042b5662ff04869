//! Objects by id: those of the session, and types of the kernel.

use bpfmand_calls::{CallAnswer, CallAttr, Errno, ObjectKind};
use bpfmand_kernel::linux::brokered;

use crate::serve::{Given, SessionCalls, SessionRefusal};

/// Flags with which a map may be opened: for reading or writing alone.
const MAP_FLAGS: u32 = 1 << 3 | 1 << 4;

impl SessionCalls {
    fn is_visible(&self, kind: ObjectKind, id: u32) -> bool {
        self.session.has(kind, id)
            || kind == ObjectKind::Btf
                && brokered::open_object(kind, id, 0).is_ok_and(|btf| brokered::btf_is_of_kernel(&btf))
    }

    pub fn next_id(&self, kind: ObjectKind, mut attr: CallAttr) -> Result<Given, SessionRefusal> {
        let mut after = attr.word(0);
        let next = if kind == ObjectKind::Btf {
            loop {
                after = brokered::next_id(kind, after)?;
                if self.is_visible(kind, after) {
                    break after;
                }
            }
        } else {
            self.session.next_id(kind, after, |id| exists(kind, id)).ok_or(Errno::NOENT)?
        };
        attr.set_word(4, next);
        let answer = CallAnswer { written: vec![true], ..CallAnswer::number(0) };
        Ok(Given { answer, buffers: vec![attr.bytes().to_vec()], ..Given::number(0) })
    }

    /// Opens an object of the session, or types of the kernel. Objects of others do not exist here.
    pub fn open_by_id(&self, kind: ObjectKind, attr: &CallAttr) -> Result<Given, SessionRefusal> {
        let (id, flags) = (attr.word(0), attr.word(8));
        if flags & !MAP_FLAGS != 0 || flags != 0 && kind != ObjectKind::Map {
            return Err(Errno::INVAL.into());
        }
        if !self.is_visible(kind, id) {
            return Err(Errno::NOENT.into());
        }
        Ok(Given::object(brokered::open_object(kind, id, flags)?))
    }
}

pub fn exists(kind: ObjectKind, id: u32) -> bool {
    brokered::open_object(kind, id, 0).is_ok()
}
