//! Answers about objects of recent loads: a load of the same bytes needs no reader.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bpfmand_engine::LinkAhead;

use crate::first_answer::FirstAnswer;

/// Maximum size of a kept object, in bytes. Reading is a small part of the load of a larger one.
const MAX_OBJECT: usize = 128 << 10;
/// Memory of all kept objects and answers, as [`MemoryShare`](crate::memory_limit::MemoryShare) charges it, in bytes.
const MAX_MEMORY: usize = 2 << 20;

/// Kept answers, least recently used first.
#[derive(Debug, Default)]
pub(crate) struct RecentAnswers(Mutex<VecDeque<RecentAnswer>>);

#[derive(Debug)]
struct RecentAnswer {
    bytes: Arc<[u8]>,
    ahead: LinkAhead,
    first: Arc<FirstAnswer>,
}

impl RecentAnswer {
    fn is_for(&self, bytes: &[u8], ahead: &LinkAhead) -> bool {
        self.ahead == *ahead && *self.bytes == *bytes
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.first.memory()
    }
}

impl RecentAnswers {
    /// Returns the answer to the same question.
    pub fn find(&self, bytes: &[u8], ahead: &LinkAhead) -> Option<Arc<FirstAnswer>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|recent| recent.is_for(bytes, ahead))?;
        let found = all.remove(at)?;
        let answer = Arc::clone(&found.first);
        all.push_back(found);
        Some(answer)
    }

    /// Keeps an answer if it has everything that a load needs.
    pub fn add(&self, bytes: Arc<[u8]>, ahead: &LinkAhead, first: Arc<FirstAnswer>) {
        if bytes.len() > MAX_OBJECT || !first.is_complete() {
            return;
        }
        let recent = RecentAnswer { bytes, ahead: ahead.clone(), first };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.memory() > MAX_MEMORY || all.iter().any(|other| other.is_for(&recent.bytes, ahead)) {
            return;
        }
        all.push_back(recent);
        while all.iter().map(RecentAnswer::memory).sum::<usize>() > MAX_MEMORY {
            all.pop_front();
        }
    }
}
