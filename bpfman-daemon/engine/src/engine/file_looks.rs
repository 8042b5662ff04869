//! Looks at files whose file systems may never answer: each on a thread of its own, with a deadline.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bpfmand_core::{FileIdentity, LinkId, ProcessScope};
use bpfmand_kernel::{FoundFile, Kernel, KernelError};

/// Longest wait for a file system. Local ones answer in microseconds, those of other machines in milliseconds.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Most paths that do not answer. While there are so many, no other file is looked at.
const MAX_HANGING: usize = 8;
/// Time within which a file system answers that does not hold up checks of others.
const QUICK: Duration = Duration::from_millis(200);
/// Pause of checks before they look again at a file that did not answer quickly, or move a probe to a file for which that failed.
const PAUSE: Duration = Duration::from_secs(60);
/// Bytes for a path that is followed, and for a list of libraries.
const STACK: usize = 256 << 10;

/// Result of a look at a path.
#[derive(Debug)]
pub enum FileLook {
    /// This file is there.
    Found(FoundFile),
    /// No file is there, or it cannot be opened.
    Absent(KernelError),
    /// The file system does not answer, or did not answer an earlier look.
    Unanswered,
    /// Nothing is known of it: other file systems do not answer, or it was slow a moment ago.
    NotLooked,
}

/// A path or the name of a library, and the processes by which it is found.
type Looked = (String, Option<u32>, Option<u32>);

/// Looks that wait for an answer, with their beginnings.
#[derive(Debug, Default)]
struct Waiting {
    since: Mutex<HashMap<Looked, Instant>>,
    answered: Condvar,
}

impl Waiting {
    /// Enters a look, unless the file system of this path does not answer, or those of too many others do not.
    fn enter(&self, looked: &Looked) -> Result<(), FileLook> {
        let mut since = lock(&self.since);
        // Another thread may look at the same path: that takes a moment, or for ever.
        while let Some(began) = since.get(looked) {
            let left = MAX_WAIT.checked_sub(began.elapsed()).ok_or(FileLook::Unanswered)?;
            since = self.answered.wait_timeout(since, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if since.values().filter(|began| began.elapsed() >= MAX_WAIT).count() >= MAX_HANGING {
            return Err(FileLook::NotLooked);
        }
        since.insert(looked.clone(), Instant::now());
        Ok(())
    }

    fn leave(&self, looked: &Looked) {
        lock(&self.since).remove(looked);
        self.answered.notify_all();
    }
}

/// Looks at files, and what earlier ones found.
#[derive(Debug, Default)]
pub struct FileLooks {
    waiting: Arc<Waiting>,
    /// Files that answered late, with the time.
    slow: Mutex<HashMap<Looked, Instant>>,
    /// Links whose file was not there at their last check.
    absent: Mutex<HashSet<LinkId>>,
    /// Files to which probes could not be moved, with the time.
    failed: Mutex<HashMap<LinkId, (FileIdentity, Instant)>>,
}

impl FileLooks {
    /// Looks for a check, which looks at many files: not at one that was slow a moment ago.
    pub fn look_in_check<K: Kernel>(&self, kernel: &Arc<K>, target: &str) -> FileLook {
        let looked: Looked = (target.to_owned(), None, None);
        if lock(&self.slow).get(&looked).is_some_and(|at| at.elapsed() < PAUSE) {
            return FileLook::NotLooked;
        }
        let began = Instant::now();
        let look = self.look(kernel, target, &ProcessScope::default());
        // One that does not answer at all is known by what waits for it.
        if matches!(look, FileLook::Found(_) | FileLook::Absent(_)) && began.elapsed() > QUICK {
            lock(&self.slow).insert(looked, Instant::now());
        }
        look
    }

    /// Looks at the file that a path or a library's name leads to. A path whose file system did not answer is looked at again
    /// only after that answer.
    pub fn look<K: Kernel>(&self, kernel: &Arc<K>, target: &str, scope: &ProcessScope) -> FileLook {
        let looked: Looked = (target.to_owned(), scope.pid, scope.container_pid);
        if let Err(look) = self.waiting.enter(&looked) {
            return look;
        }
        let (send, answer) = mpsc::channel();
        let (kernel, waiting) = (Arc::clone(kernel), Arc::clone(&self.waiting));
        let (own, scope) = (looked.clone(), scope.clone());
        let look = move || {
            let found = kernel.binary_identity(&own.0, &scope);
            // A handle of the kernel is not to outlive the engine because of a look.
            drop(kernel);
            waiting.leave(&own);
            // The caller may have given up.
            let _unread = send.send(found);
        };
        let thread = thread::Builder::new().name("file".to_owned()).stack_size(STACK).spawn(look);
        if let Err(error) = thread {
            self.waiting.leave(&looked);
            tracing::warn!(path = target, %error, "cannot look at a probed file");
            return FileLook::NotLooked;
        }
        match answer.recv_timeout(MAX_WAIT) {
            Ok(Ok(found)) => FileLook::Found(found),
            Ok(Err(error)) => FileLook::Absent(error),
            Err(_) => {
                tracing::warn!(path = target, "the file system of a probed file does not answer");
                FileLook::Unanswered
            }
        }
    }

    /// Notes that the file of a link is not there. Returns whether it was not there at the check before either: a package
    /// manager may remove a file a moment before it puts the new one there.
    pub fn note_absence(&self, link: LinkId) -> bool {
        !lock(&self.absent).insert(link)
    }

    /// Notes that a probe could not be moved to a file.
    pub fn note_failure(&self, link: LinkId, file: FileIdentity) {
        lock(&self.failed).insert(link, (file, Instant::now()));
    }

    /// Returns whether a probe could not be moved to this file a moment ago.
    pub fn has_failed(&self, link: LinkId, file: &FileIdentity) -> bool {
        lock(&self.failed).get(&link).is_some_and(|(failed, at)| failed == file && at.elapsed() < PAUSE)
    }

    /// Forgets what is known of links other than these, and of files that were slow long ago.
    pub fn keep(&self, links: &[LinkId]) {
        lock(&self.absent).retain(|link| links.contains(link));
        lock(&self.failed).retain(|link, _| links.contains(link));
        lock(&self.slow).retain(|_, at| at.elapsed() < PAUSE);
    }

    /// Notes that the file of a link is there.
    pub fn forget_absence(&self, link: LinkId) {
        lock(&self.absent).remove(&link);
    }
}

/// A panic leaves a collection whole: each change is one insertion or removal.
fn lock<T>(collection: &Mutex<T>) -> MutexGuard<'_, T> {
    collection.lock().unwrap_or_else(PoisonError::into_inner)
}
