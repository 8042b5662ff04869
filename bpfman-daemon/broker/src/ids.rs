//! Objects by id: those of the session and types of the kernel, or all where a grant is over all owners.

use bpfmand_access::AccessVerb;
use bpfmand_calls::{CallAnswer, CallAttr, Errno, ObjectKind};
use bpfmand_kernel::linux::brokered;

use crate::decide::{self, GrantedObjects, RawObject};
use crate::serve::{Given, SessionCalls, SessionRefusal};

/// Flags with which a map may be opened: for reading or writing alone.
const MAP_FLAGS: u32 = 1 << 3 | 1 << 4;

impl SessionCalls {
    fn is_visible(&self, kind: ObjectKind, id: u32) -> bool {
        self.session.has(kind, id)
            || kind == ObjectKind::Btf
                && brokered::open_object(kind, id, 0).is_ok_and(|btf| brokered::btf_is_of_kernel(&btf))
    }

    /// Returns whether a grant over all owners lets the session open objects of others.
    fn sees_all(&self) -> bool {
        let policy = (self.policy)();
        // Without such a grant, which few have, skip the decision: its denial takes long to write.
        policy.grants.iter().any(|grant| grant.over_all && grant.verbs.contains(&AccessVerb::Raw))
            && decide::decide(&self.session, &policy, &[RawObject::Other(ObjectKind::Program, 0)], None)
                .is_ok()
    }

    pub fn next_id(&self, kind: ObjectKind, mut attr: CallAttr) -> Result<Given, SessionRefusal> {
        let mut after = attr.word(0);
        let next = if self.sees_all() {
            brokered::next_id(kind, after)?
        } else if kind == ObjectKind::Btf {
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

    /// Opens an object of the session, or types of the kernel. Objects of others exist only for a grant over all owners.
    pub fn open_by_id(&self, kind: ObjectKind, attr: &CallAttr) -> Result<Given, SessionRefusal> {
        let (id, flags) = (attr.word(0), attr.word(8));
        if flags & !MAP_FLAGS != 0 || flags != 0 && kind != ObjectKind::Map {
            return Err(Errno::INVAL.into());
        }
        let is_visible = self.is_visible(kind, id);
        if !is_visible && !self.sees_all() {
            return Err(Errno::NOENT.into());
        }
        let opened = brokered::open_object(kind, id, flags)?;
        // The history has entries of maps, which can be changed by their descriptors, and not of what is only described.
        let other = (!is_visible && kind == ObjectKind::Map).then_some(RawObject::Other(kind, id));
        let about = GrantedObjects { objects: other.into_iter().collect(), program: None };
        Ok(Given { about, ..Given::object(opened) })
    }
}

pub fn exists(kind: ObjectKind, id: u32) -> bool {
    brokered::open_object(kind, id, 0).is_ok()
}
