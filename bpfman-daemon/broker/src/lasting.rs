//! Attachments without a link, which the kernel keeps when nobody holds them: they end with their session.

use std::os::fd::{AsRawFd as _, OwnedFd};

use bpfmand_calls::{CallAttr, FieldValue, ObjectKind, command, layout};
use bpfmand_kernel::linux::brokered;

use crate::session::BrokeredSession;

/// Attachment of a program to a cgroup, a network namespace, a map of sockets or an interface.
#[derive(Debug)]
pub struct LastingAttachment {
    program: u32,
    attach_type: u32,
    /// Index of the interface, in the namespace that is held; else the target itself is held.
    interface: u32,
    held: OwnedFd,
}

impl LastingAttachment {
    /// Returns the attachment of a call that succeeded.
    pub fn of(
        attr: &CallAttr,
        fields: &[FieldValue],
        descriptors: &[OwnedFd],
        namespace: Option<&OwnedFd>,
    ) -> Option<Self> {
        let layout_fields = layout(command::PROG_ATTACH)?.fields(&mut attr.clone()).ok()?;
        let at = |offset| {
            let found = layout_fields.iter().zip(fields).find(|(field, _)| field.at == offset)?;
            match found.1 {
                FieldValue::Descriptor(index) => descriptors.get(*index),
                _ => None,
            }
        };
        let program = brokered::object_id(at(4)?)?.id;
        let (interface, held) = match namespace {
            Some(namespace) => (attr.word(0), namespace),
            None => (0, at(0)?),
        };
        Some(Self { program, attach_type: attr.word(8), interface, held: held.try_clone().ok()? })
    }

    fn is_at(&self, other: &Self) -> bool {
        let link = |held: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())).ok();
        (self.program, self.attach_type, self.interface)
            == (other.program, other.attach_type, other.interface)
            && link(&self.held) == link(&other.held)
    }

    /// Detaches the program, if it is still there.
    fn end(self) {
        let Ok(program) = brokered::open_object(ObjectKind::Program, self.program, 0) else { return };
        let Some(layout) = layout(command::PROG_DETACH) else { return };
        let mut bytes = vec![0; layout.known];
        bytes[..4].copy_from_slice(&self.interface.to_ne_bytes());
        // Marks the program as given.
        bytes[4] = 1;
        bytes[8..12].copy_from_slice(&self.attach_type.to_ne_bytes());
        let Ok(attr) = CallAttr::copy(&bytes, layout.known) else { return };
        let (descriptors, fields, namespace);
        if bpfmand_calls::is_of_interface(self.attach_type) {
            (descriptors, fields) = (vec![program], vec![FieldValue::Descriptor(0)]);
            namespace = Some(&self.held);
        } else {
            let Ok(target) = self.held.try_clone() else { return };
            (descriptors, fields) =
                (vec![target, program], vec![FieldValue::Descriptor(0), FieldValue::Descriptor(1)]);
            namespace = None;
        }
        let _gone = brokered::call_by_layout(layout, attr, &fields, (&[], &descriptors), namespace);
    }
}

impl BrokeredSession {
    /// Remembers an attachment that its command made.
    pub fn keep(&self, attachment: LastingAttachment) {
        self.lasting().push(attachment);
    }

    /// Forgets an attachment that its command removed.
    pub fn release(&self, attachment: &LastingAttachment) {
        self.lasting().retain(|one| !one.is_at(attachment));
    }

    /// Detaches what its command left.
    pub fn end_lasting(&self) {
        std::mem::take(&mut *self.lasting()).into_iter().rev().for_each(LastingAttachment::end);
    }
}
