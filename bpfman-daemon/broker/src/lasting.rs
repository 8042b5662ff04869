//! Attachments without a link, which the kernel keeps without a holder: they end with their session.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use bpfman_model::{HookKind, IfIndex};
use bpfmand_calls::{CallAttr, FieldValue, ObjectKind, command, is_of_interface, layout};
use bpfmand_kernel::linux::brokered;

use crate::bpf_call::BpfCall;
use crate::session::BrokeredSession;

/// Attachment of a program.
#[derive(Debug)]
pub struct LastingAttachment {
    program: u32,
    place: LastingPlace,
    /// Network namespace of an interface; else the cgroup, namespace or map itself.
    held: OwnedFd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastingPlace {
    /// By `BPF_PROG_ATTACH`: the type of attachment, and the index of an interface or 0.
    Call { attach_type: u32, interface: u32 },
    /// By netlink.
    Hook { interface: IfIndex, kind: HookKind },
}

impl LastingAttachment {
    /// Returns the attachment of a call that succeeded.
    pub fn of(call: &BpfCall<'_>) -> Option<Self> {
        let (attr, program) = (&call.attr, brokered::object_id(call.descriptor(4)?)?.id);
        let (interface, held) = match call.namespace {
            Some(namespace) => (attr.word(0), namespace),
            None => (0, call.descriptor(0)?),
        };
        let place = LastingPlace::Call { attach_type: attr.word(8), interface };
        Some(Self { program, place, held: held.try_clone().ok()? })
    }

    /// Returns the attachment of a message.
    pub fn unlinked(
        namespace: &OwnedFd,
        interface: IfIndex,
        kind: HookKind,
        program: u32,
    ) -> io::Result<Self> {
        let place = LastingPlace::Hook { interface, kind };
        Ok(Self { program, place, held: namespace.try_clone()? })
    }

    fn is_at(&self, other: &Self) -> bool {
        (self.program, self.place) == (other.program, other.place) && is_same(&self.held, &other.held)
    }

    /// Detaches the program, if it is still there.
    fn end(self) {
        let ended = match self.place {
            LastingPlace::Hook { interface, kind } => {
                brokered::detach_unlinked(&self.held, interface, kind.direction(), self.program)
                    .map_err(|error| error.to_string())
            }
            LastingPlace::Call { attach_type, interface } => {
                self.detach(attach_type, interface).unwrap_or(Ok(())).map_err(|error| error.to_string())
            }
        };
        if let Err(error) = ended {
            tracing::warn!(program = self.program, error, "what a session attached stays");
        }
    }

    /// Returns `None` if the program is gone, and with it the attachment.
    fn detach(&self, attach_type: u32, interface: u32) -> Option<Result<(), bpfmand_calls::Errno>> {
        let program = brokered::open_object(ObjectKind::Program, self.program, 0).ok()?;
        let layout = layout(command::PROG_DETACH)?;
        let mut bytes = vec![0; layout.known];
        bytes[..4].copy_from_slice(&interface.to_ne_bytes());
        // Marks the program as given.
        bytes[4] = 1;
        bytes[8..12].copy_from_slice(&attach_type.to_ne_bytes());
        let attr = CallAttr::copy(&bytes, layout.known).ok()?;
        let (descriptors, fields, namespace);
        if is_of_interface(attach_type) {
            (descriptors, fields) = (vec![program], vec![FieldValue::Descriptor(0)]);
            namespace = Some(&self.held);
        } else {
            let target = self.held.try_clone().ok()?;
            descriptors = vec![target, program];
            fields = vec![FieldValue::Descriptor(0), FieldValue::Descriptor(1)];
            namespace = None;
        }
        let made = brokered::call_by_layout(layout, attr, &fields, (&[], &descriptors), namespace);
        Some(made.and_then(|made| made.result).map(drop))
    }
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let identity = |held: &OwnedFd| {
        let file = std::fs::File::from(held.try_clone().ok()?).metadata().ok()?;
        Some((file.dev(), file.ino()))
    };
    identity(one).is_some_and(|identified| identity(other) == Some(identified))
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

    /// Returns whether its command made an attachment.
    pub fn holds(&self, attachment: &LastingAttachment) -> bool {
        self.lasting().iter().any(|one| one.is_at(attachment))
    }

    /// Detaches what its command left.
    pub fn end_lasting(&self) {
        std::mem::take(&mut *self.lasting()).into_iter().rev().for_each(LastingAttachment::end);
    }
}
