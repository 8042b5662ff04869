//! Memory limit for answers. Memory is charged as bytes arrive, not as announced, and released with the object, or when no later load may use the answer.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use bpfmand_frames::wrong;

/// Limit for all objects together, in charged bytes: a quarter of the daemon's memory limit.
const ALL: usize = 1 << 30;
/// Divisor of the limit for one object.
const SHARE: usize = 4;
/// Charged bytes per byte of content: it is held as received (or as a load changed it), and once more in parsed form.
const CONTENT: usize = 2;
/// Charged bytes per byte of a message: a few bytes of JSON become a structure of some dozens.
const MESSAGE: usize = 8;

#[derive(Debug)]
pub(crate) struct MemoryPool {
    total: usize,
    held: Mutex<usize>,
    freed: Condvar,
}

impl Default for MemoryPool {
    fn default() -> Self {
        Self::new(ALL)
    }
}

impl MemoryPool {
    pub(crate) fn new(total: usize) -> Self {
        Self { total, held: Mutex::default(), freed: Condvar::new() }
    }
}

#[derive(Debug)]
pub(crate) struct MemoryShare {
    all: Arc<MemoryPool>,
    own: AtomicUsize,
}

impl MemoryShare {
    pub(crate) fn of(all: &Arc<MemoryPool>) -> Self {
        Self { all: Arc::clone(all), own: AtomicUsize::new(0) }
    }

    pub(crate) fn held(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    /// Waits for free memory until the deadline.
    pub(crate) fn take(&self, bytes: usize, is_content: bool, until: Instant) -> io::Result<()> {
        let size = bytes.saturating_mul(if is_content { CONTENT } else { MESSAGE });
        // One question at a time charges an object.
        let own = self.own.load(Ordering::Relaxed).saturating_add(size);
        let most = self.all.total / SHARE;
        if own > most {
            return Err(wrong(format!(
                "its variables and programs take more than {} MiB of the daemon's memory, which is what one object may have",
                most >> 20
            )));
        }
        let mut held = self.all.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.saturating_add(size) > self.all.total {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = "too many objects with large variables or programs are read at once; try again";
                return Err(wrong(why.to_owned()));
            }
            held = self.all.freed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *held += size;
        self.own.store(own, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        let mut held = self.all.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = held.saturating_sub(*self.own.get_mut());
        self.all.freed.notify_all();
    }
}
