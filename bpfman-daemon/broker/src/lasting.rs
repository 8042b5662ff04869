//! Attachments without a link, which the kernel keeps: they end with their session, or a grant keeps them.

use std::io;
use std::os::fd::OwnedFd;

use bpfman_model::{HookKind, IfIndex};
use bpfmand_calls::{CallAttr, Errno, FieldValue, ObjectKind, command, is_of_interface, layout};
use bpfmand_kernel::linux::brokered;

use serde::{Deserialize, Serialize};

use crate::bpf_call::BpfCall;
use crate::held_place::HeldPlace;
use crate::ids::exists;
use crate::record::RecordLine;
use crate::session::BrokeredSession;

/// Maximum number of attachments of a session: each holds a descriptor of the daemon.
const MAX_LASTING: usize = 64;

#[derive(Debug)]
pub struct LastingAttachment {
    record: LastingRecord,
    /// Network namespace of an interface; else the cgroup, namespace or map itself.
    held: OwnedFd,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastingRecord {
    pub program: u32,
    pub place: LastingPlace,
    pub held: HeldPlace,
}

impl LastingRecord {
    pub fn open(self) -> Option<LastingAttachment> {
        let held = self.held.open()?;
        Some(LastingAttachment { record: self, held })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastingPlace {
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
        Self::new(program, place, held).ok()
    }

    /// Returns an attachment that a netlink message made.
    pub fn unlinked(
        namespace: &OwnedFd,
        interface: IfIndex,
        kind: HookKind,
        program: u32,
    ) -> io::Result<Self> {
        Self::new(program, LastingPlace::Hook { interface, kind }, namespace)
    }

    fn new(program: u32, place: LastingPlace, held: &OwnedFd) -> io::Result<Self> {
        let record = LastingRecord { program, place, held: HeldPlace::of(held)? };
        Ok(Self { record, held: held.try_clone()? })
    }

    pub const fn record(&self) -> &LastingRecord {
        &self.record
    }

    pub fn into_record(self) -> LastingRecord {
        self.record
    }

    /// Detaches the program, if it is still there.
    pub fn end(self) {
        let program = self.record.program;
        let ended = match self.record.place {
            LastingPlace::Hook { interface, kind } => {
                brokered::detach_unlinked(&self.held, interface, kind.direction(), program)
                    .map_err(|error| error.to_string())
            }
            LastingPlace::Call { attach_type, interface } => {
                self.detach(attach_type, interface).unwrap_or(Ok(())).map_err(|error| error.to_string())
            }
        };
        if let Err(error) = ended {
            tracing::warn!(program, error, "what a session attached stays");
        }
    }

    /// Returns `None` if the program is gone, and with it the attachment.
    fn detach(&self, attach_type: u32, interface: u32) -> Option<Result<(), bpfmand_calls::Errno>> {
        let program = brokered::open_object(ObjectKind::Program, self.record.program, 0).ok()?;
        let layout = layout(command::PROG_DETACH)?;
        let mut bytes = vec![0; layout.known];
        bytes[..4].copy_from_slice(&interface.to_ne_bytes());
        // Any value but zero: the call replaces it by the program's descriptor.
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

impl BrokeredSession {
    /// Remembers an attachment that the session's command made, unless it is known.
    pub fn keep(&self, attachment: LastingAttachment) {
        if self.holds(&attachment) {
            return;
        }
        let attached = attachment.record.clone();
        self.lasting().push(attachment);
        self.write(&RecordLine::Attached { attached });
    }

    /// Fails if the session has too many attachments. Those whose program is gone do not count.
    pub fn check_lasting(&self) -> Result<(), Errno> {
        let mut lasting = self.lasting();
        if lasting.len() >= MAX_LASTING {
            lasting.retain(|one| exists(ObjectKind::Program, one.record.program));
        }
        if lasting.len() < MAX_LASTING { Ok(()) } else { Err(Errno::TOO_BIG) }
    }

    /// Forgets what is no longer attached at a hook.
    pub fn forget_detached(&self, namespace: &OwnedFd, interface: IfIndex, kind: HookKind) {
        let place = LastingPlace::Hook { interface, kind };
        let Ok(held) = HeldPlace::of(namespace) else { return };
        let Some(there) = brokered::programs_at(namespace, interface, kind) else { return };
        let is_gone = |one: &LastingRecord| {
            one.place == place && one.held == held && !there.contains(&Some(one.program))
        };
        let gone: Vec<_> = self.lasting().extract_if(.., |one| is_gone(&one.record)).collect();
        gone.into_iter().for_each(|one| self.write(&RecordLine::Detached { detached: one.record }));
    }

    /// Forgets an attachment that its command removed.
    pub fn release(&self, attachment: &LastingAttachment) {
        self.write(&RecordLine::Detached { detached: attachment.record.clone() });
        self.lasting().retain(|one| one.record != attachment.record);
    }

    /// Returns whether its command made an attachment.
    pub fn holds(&self, attachment: &LastingAttachment) -> bool {
        self.lasting().iter().any(|one| one.record == attachment.record)
    }

    /// Detaches what its command left.
    pub fn end_lasting(&self) {
        std::mem::take(&mut *self.lasting()).into_iter().rev().for_each(LastingAttachment::end);
    }
}
