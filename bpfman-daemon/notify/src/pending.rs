//! Notifications that were received and not yet answered, in memory that outlives their receiver.

use std::io;
use std::ptr::NonNull;

use crate::listener::{Notification, RawNotification};

/// Room for one notification, in memory that processes forked afterwards share.
///
/// The kernel itself writes the notification there: a receiver that is killed at any moment has either not received it, or
/// leaves it to its successor.
#[derive(Debug)]
pub struct PendingSlot(NonNull<Pending>);

/// A call, and the descriptor that its caller has for it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Pending {
    notification: RawNotification,
    given: i32,
}

// SAFETY: the memory belongs to no thread, and this value is the only one of its process that leads there.
unsafe impl Send for PendingSlot {}

impl PendingSlot {
    /// Creates slots. Their memory is kept until this process and those forked from it have ended.
    pub fn several(count: usize) -> io::Result<Vec<Self>> {
        let length = count * size_of::<Pending>();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: without an address the kernel chooses one that nothing else uses.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(memory.cast::<Pending>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the memory has `count` such structures, aligned as a page is, and is never unmapped.
        Ok((0..count).map(|index| Self(unsafe { first.add(index) })).collect())
    }

    /// Returns the notification that an earlier receiver left.
    #[must_use]
    pub fn left(&self) -> Option<Notification> {
        let raw = self.read().notification;
        (raw.id != 0).then(|| raw.into())
    }

    /// Returns the number of a descriptor that the caller was given for a call that is not answered yet.
    #[must_use]
    pub fn given(&self) -> Option<i32> {
        Some(self.read().given).filter(|number| *number != 0)
    }

    /// Keeps the number of a descriptor that the caller was given. Zero is none: callers have a standard input.
    pub fn keep_given(&mut self, number: i32) {
        // SAFETY: as in `read`, and `self` is borrowed exclusively.
        unsafe { (&raw mut (*self.0.as_ptr()).given).write_volatile(number) };
    }

    /// Empties the slot, once the call is answered.
    pub fn clear(&mut self) {
        // SAFETY: as in `read`, and `self` is borrowed exclusively.
        unsafe { self.0.write_volatile(Pending::default()) };
    }

    fn read(&self) -> Pending {
        // SAFETY: the memory is mapped for ever, and all bytes are valid numbers. Another process writes there only while it is
        // the receiver; its successor reads after its end.
        unsafe { self.0.read_volatile() }
    }

    /// Returns the address to which the kernel writes.
    pub(crate) const fn room(&mut self) -> *mut RawNotification {
        self.0.as_ptr().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_apart_and_shared_with_children() {
        let mut slots = PendingSlot::several(3).unwrap_or_else(|error| panic!("{error}"));
        // SAFETY: the child calls only what a child of a process with threads may.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as in `room`.
            unsafe { slots[1].room().write_volatile(RawNotification::of(7, 4)) };
            slots[1].keep_given(5);
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: the call takes no address.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        let left: Vec<_> = slots.iter().map(|slot| slot.left().map(|one| (one.id, one.thread))).collect();
        assert_eq!(left, [None, Some((7, 4)), None]);
        assert_eq!(slots[1].given(), Some(5));
        slots[1].clear();
        assert_eq!((slots[1].left(), slots[1].given()), (None, None));
    }
}
