//! `BPF_LINK_CREATE`: fields by type of attachment.

use bpfman_model::uapi::attach_type as at;

use crate::layout::{Field, FieldKind, command, descriptor, field, length};
use crate::{CallAttr, Errno};

/// Maximum number of functions of one link.
const MAX_PROBES: u64 = 1 << 16;
/// Maximum size of the target of an iterator, in bytes.
const MAX_ITERATOR_TARGET: u64 = 16;

const BEFORE: u32 = 1 << 3;
const AFTER: u32 = 1 << 4;
/// Flag: the program or link to attach before or after is named by an id, not by a descriptor.
const BY_ID: u32 = 1 << 5;

/// Returns whether a call acts in the network namespace of its thread.
#[must_use]
pub fn needs_namespace(number: u32, attr: &CallAttr) -> bool {
    let is_placed = |attach_type| is_of_interface(attach_type) || attach_type == at::NETFILTER;
    match number {
        command::LINK_CREATE | command::PROG_ATTACH | command::PROG_DETACH => is_placed(attr.word(8)),
        command::PROG_QUERY => is_of_interface(attr.word(4)),
        command::PROG_TEST_RUN => true,
        _ => false,
    }
}

/// Returns whether the target is the index of an interface, in the caller's network namespace.
#[must_use]
pub const fn is_of_interface(attach_type: u32) -> bool {
    matches!(attach_type, at::XDP | at::TCX_INGRESS | at::TCX_EGRESS | at::NETKIT_PRIMARY | at::NETKIT_PEER)
}

/// Returns the program or link before or after which another is attached, if it is a descriptor.
pub(crate) fn relative(attr: &CallAttr, flags: usize, at: usize) -> Option<Field> {
    let flags = attr.word(flags);
    let is_descriptor = flags & (BEFORE | AFTER) != 0 && flags & BY_ID == 0 && attr.word(at) != 0;
    is_descriptor.then(|| descriptor(at))
}

pub(crate) fn fields(attr: &mut CallAttr) -> Result<Vec<Field>, Errno> {
    let attach_type = attr.word(8);
    let mut fields = vec![descriptor(0)];
    // Bytes that a type of attachment does not have must be zero: a kernel that took it for another type would read
    // addresses there.
    let end = match attach_type {
        at::TRACE_KPROBE_MULTI | at::TRACE_KPROBE_SESSION => 48,
        at::TRACE_UPROBE_MULTI | at::TRACE_UPROBE_SESSION => 60,
        _ => 32,
    };
    // Later attach types may have pointers where the known ones have numbers.
    if attach_type > at::TRACE_UPROBE_SESSION {
        return Err(Errno::INVAL);
    }
    if attr.bytes()[end..].iter().any(|byte| *byte != 0) {
        return Err(Errno::TOO_BIG);
    }
    let probes = |count: u64| if count > MAX_PROBES { Err(Errno::TOO_BIG) } else { length(count, 8) };
    match attach_type {
        at::TRACE_ITER => {
            let size = u64::from(attr.word(24));
            if size > MAX_ITERATOR_TARGET {
                return Err(Errno::TOO_BIG);
            }
            fields.push(field(16, FieldKind::IteratorTarget(size)));
        }
        at::TRACE_KPROBE_MULTI | at::TRACE_KPROBE_SESSION => {
            let count = u64::from(attr.word(20));
            let longs = FieldKind::Input(probes(count)?);
            fields.extend([field(24, FieldKind::TextList(count)), field(32, longs), field(40, longs)]);
        }
        at::TRACE_UPROBE_MULTI | at::TRACE_UPROBE_SESSION => {
            let longs = FieldKind::Input(probes(attr.word(48).into())?);
            fields.extend([field(16, FieldKind::File), field(24, longs), field(32, longs), field(40, longs)]);
        }
        at::NETFILTER => {}
        _ if is_of_interface(attach_type) => fields.extend(relative(attr, 12, 16)),
        _ => {
            // A cgroup, perf event, network namespace or program. A program at a kernel function has none.
            if attr.word(4) != 0 {
                fields.push(descriptor(4));
            }
            fields.extend(relative(attr, 12, 16));
        }
    }
    Ok(fields)
}
