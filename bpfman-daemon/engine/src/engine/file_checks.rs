//! Checks of files whose file systems may never answer: each check runs on a thread of its own, with a deadline.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bpfman_model::{FileIdentity, FileReader, LinkId, ProcessScope};
use bpfmand_kernel::{FoundFile, Kernel, KernelError};

use crate::state::MapGroup;

/// Maximum wait for a file system. Local ones answer within microseconds, remote ones within milliseconds.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Maximum number of paths of one owner that do not answer. While it is reached, no other file of that owner is checked.
const MAX_HANGING_OF_OWNER: usize = 2;
/// Maximum number of such paths of all owners except root and cluster applications: each path holds a thread.
const MAX_HANGING_OF_OWNERS: usize = 32;
/// Maximum number of such paths of root and cluster applications.
const MAX_HANGING_OF_MACHINE: usize = 8;
/// Answer time up to which a file system does not delay the checks of other files.
const QUICK: Duration = Duration::from_millis(200);
/// Pause before a check repeats a slow access, or a failed move of a probe to a file.
const PAUSE: Duration = Duration::from_secs(60);
const STACK: usize = 256 << 10;

#[derive(Debug)]
pub enum FileCheck {
    Found(FoundFile),
    Absent(KernelError),
    /// The file system does not answer this check, or an earlier one.
    Unanswered,
    /// The file was not checked: too many other paths of its owner do not answer, or this one was slow a moment ago.
    NotLooked,
}

type CheckedPath = (String, Option<u32>, Option<u32>, Option<FileReader>);

/// Files that a periodic check found: many links may probe one file.
pub type FoundFiles = HashMap<CheckedPath, FoundFile>;

/// File to check. `owner` limits how many of its paths may hang at a time.
#[derive(Clone, Copy, Debug)]
pub struct CheckedFile<'f> {
    pub owner: &'f MapGroup,
    pub target: &'f str,
    /// User with whose permissions the file is opened; `None` stands for root.
    pub reader: Option<&'f FileReader>,
    /// File that the record expects at the path.
    pub recorded: Option<&'f FileIdentity>,
}

/// Checks that wait for an answer, with their start times and owners.
#[derive(Debug, Default)]
struct Waiting {
    since: Mutex<HashMap<CheckedPath, (Instant, MapGroup)>>,
    answered: Condvar,
}

impl Waiting {
    /// Registers a check, unless the path does not answer, or too many other paths of its owner do not.
    fn enter(&self, looked: &CheckedPath, owner: &MapGroup) -> Result<(), FileCheck> {
        let mut since = lock(&self.since);
        // Another thread may be checking the same path, which can take a moment or block forever.
        while let Some((began, _)) = since.get(looked) {
            let left = MAX_WAIT.checked_sub(began.elapsed()).ok_or(FileCheck::Unanswered)?;
            since = self.answered.wait_timeout(since, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let hanging = || since.values().filter(|(began, _)| began.elapsed() >= MAX_WAIT).map(|(_, of)| of);
        let of_owner = hanging().filter(|of| *of == owner).count();
        let is_full = match owner.is_unlimited() {
            true => of_owner >= MAX_HANGING_OF_MACHINE,
            false => {
                of_owner >= MAX_HANGING_OF_OWNER
                    || hanging().filter(|of| !of.is_unlimited()).count() >= MAX_HANGING_OF_OWNERS
            }
        };
        if is_full {
            return Err(FileCheck::NotLooked);
        }
        since.insert(looked.clone(), (Instant::now(), owner.clone()));
        Ok(())
    }

    fn leave(&self, looked: &CheckedPath) {
        lock(&self.since).remove(looked);
        self.answered.notify_all();
    }
}

#[derive(Debug, Default)]
pub struct FileChecks {
    waiting: Arc<Waiting>,
    slow: Mutex<HashMap<CheckedPath, Instant>>,
    absent: Mutex<HashSet<LinkId>>,
    failed: Mutex<HashMap<LinkId, (FileIdentity, Instant)>>,
}

impl FileChecks {
    /// Checks a file as part of a periodic check, which visits many links: skips one that was slow a moment ago.
    pub fn look_in_check<K: Kernel>(
        &self,
        kernel: &Arc<K>,
        file: CheckedFile<'_>,
        found: &mut FoundFiles,
    ) -> FileCheck {
        let looked: CheckedPath = (file.target.to_owned(), None, None, file.reader.cloned());
        // Reuse a found file only if it is the recorded one: look again before a probe moves to another file.
        if let Some(found) = found.get(&looked).filter(|found| file.recorded == Some(&found.identity)) {
            return FileCheck::Found(found.clone());
        }
        if lock(&self.slow).get(&looked).is_some_and(|at| at.elapsed() < PAUSE) {
            return FileCheck::NotLooked;
        }
        let began = Instant::now();
        let look = self.look(kernel, file, &ProcessScope::default());
        if let FileCheck::Found(file) = &look {
            found.insert(looked.clone(), file.clone());
        }
        // A path that does not answer at all is already registered in `waiting`.
        if matches!(look, FileCheck::Found(_) | FileCheck::Absent(_)) && began.elapsed() > QUICK {
            lock(&self.slow).insert(looked, Instant::now());
        }
        look
    }

    /// Resolves a path or a library name to its file. If a file system did not answer, waits for that answer first.
    pub fn look<K: Kernel>(
        &self,
        kernel: &Arc<K>,
        CheckedFile { owner, target, reader, .. }: CheckedFile<'_>,
        scope: &ProcessScope,
    ) -> FileCheck {
        let looked: CheckedPath = (target.to_owned(), scope.pid, scope.container_pid, reader.cloned());
        if let Err(look) = self.waiting.enter(&looked, owner) {
            return look;
        }
        let (send, answer) = mpsc::channel();
        let (kernel, waiting) = (Arc::clone(kernel), Arc::clone(&self.waiting));
        let (own, scope) = (looked.clone(), scope.clone());
        let look = move || {
            let found = kernel.binary_identity(&own.0, &scope, own.3.as_ref());
            // Drop the handle first: a blocked check must not keep the kernel's handle beyond the engine's life.
            drop(kernel);
            waiting.leave(&own);
            let _unread = send.send(found);
        };
        let thread = thread::Builder::new().name("file".to_owned()).stack_size(STACK).spawn(look);
        if let Err(error) = thread {
            self.waiting.leave(&looked);
            tracing::warn!(path = target, %error, "cannot look at a probed file");
            return FileCheck::NotLooked;
        }
        match answer.recv_timeout(MAX_WAIT) {
            Ok(Ok(found)) => FileCheck::Found(found),
            Ok(Err(error)) => FileCheck::Absent(error),
            Err(_) => {
                tracing::warn!(path = target, "the file system of a probed file does not answer");
                FileCheck::Unanswered
            }
        }
    }

    /// Notes that a link's file is absent. Returns whether it was at the previous check, too: a package manager may
    /// remove a file a moment before it writes the new one.
    pub fn note_absence(&self, link: LinkId) -> bool {
        !lock(&self.absent).insert(link)
    }

    pub fn note_failure(&self, link: LinkId, file: FileIdentity) {
        lock(&self.failed).insert(link, (file, Instant::now()));
    }

    pub fn has_failed(&self, link: LinkId, file: &FileIdentity) -> bool {
        lock(&self.failed).get(&link).is_some_and(|(failed, at)| failed == file && at.elapsed() < PAUSE)
    }

    pub fn keep(&self, links: &[LinkId]) {
        lock(&self.absent).retain(|link| links.contains(link));
        lock(&self.failed).retain(|link, _| links.contains(link));
        lock(&self.slow).retain(|_, at| at.elapsed() < PAUSE);
    }

    pub fn forget_absence(&self, link: LinkId) {
        lock(&self.absent).remove(&link);
    }
}

/// Ignores poisoning: each change of a collection is one insertion or removal, so a panic leaves it consistent.
fn lock<T>(collection: &Mutex<T>) -> MutexGuard<'_, T> {
    collection.lock().unwrap_or_else(PoisonError::into_inner)
}
