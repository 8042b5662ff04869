//! Audit log of calls: one entry for each change that a caller requests, whatever the result, and for each refusal.
//!
//! Entries hold no credentials, no values of global variables and no metadata.

mod notes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfman_model::Peer;
use bpfman_proto::{Method, REASON_TRAILER, Reason};
use bpfmand_journal::{EntryActor, EntryFailure, EntryResult, HistoryEntry, Journal, WriteCallback};
use tokio::sync::oneshot;
use tonic::{Code, Status};

use crate::calls::{JournalRule, row_of};

pub(crate) use notes::{
    about_link, about_program, allowed_by, attach, caller, defer_entry, failed, hook, link, load, made,
    made_link, map, matching, method, now, object, origin, owner, peer, program, programs, replacement,
    source,
};

tokio::task_local! {
    static CALL: Arc<Call>;
}

#[derive(Debug)]
pub(crate) struct Call {
    peer: Peer,
    method: Option<Method>,
    journal: Arc<Journal>,
    about: Mutex<CallFacts>,
}

#[derive(Debug, Default)]
struct CallFacts {
    entry: HistoryEntry,
    failed: Option<(Code, String)>,
    /// True if work continues after the answer began: its task then records the entry.
    is_continued: bool,
}

impl Call {
    pub fn new(peer: Peer, path: &str, journal: Arc<Journal>) -> Arc<Self> {
        let method = Method::from_path(path);
        let verb = match method {
            Some(method) => method.name(),
            None => path.rsplit('/').next().unwrap_or_default(),
        };
        let entry = HistoryEntry { verb: verb.to_owned(), ..HistoryEntry::default() };
        Arc::new(Self {
            peer,
            method,
            journal,
            about: Mutex::new(CallFacts { entry, ..CallFacts::default() }),
        })
    }

    pub fn scope<T>(self: Arc<Self>, work: impl Future<Output = T>) -> impl Future<Output = T> {
        CALL.scope(self, work)
    }

    /// Runs work for this call. The entry is in the journal when the answer begins, unless work continues.
    pub async fn follow<B>(
        self: Arc<Self>,
        work: impl Future<Output = http::Response<B>>,
    ) -> http::Response<B> {
        let response = Arc::clone(&self).scope(work).await;
        let is_continued = self.about().is_continued;
        if !is_continued {
            let status = Status::from_header_map(response.headers());
            self.end(status.filter(|status| status.code() != Code::Ok).as_ref()).await;
        }
        response
    }

    /// Records the entry and returns when it is in its file.
    pub async fn end(&self, failed: Option<&Status>) {
        let Some(entry) = self.entry(failed) else { return };
        let (told, written) = oneshot::channel();
        let when_written: WriteCallback = Box::new(move || {
            let _nobody_waits = told.send(());
        });
        self.record(entry, Some(when_written));
        // When the daemon ends, the writer drops the sender.
        let _ended = written.await;
    }

    pub fn refuse(&self, failed: &Status) {
        if let Some(entry) = self.entry(Some(failed)) {
            self.record(entry, None);
        }
    }

    fn record(&self, entry: HistoryEntry, written: Option<WriteCallback>) {
        match (&entry.result, self.journal_rule()) {
            (_, JournalRule::Change) => self.journal.record(entry, written),
            (EntryResult::Done, _) => self.journal.record_access(entry, written),
            _ => self.journal.record_failed_read(entry, written),
        }
    }

    fn entry(&self, failed: Option<&Status>) -> Option<HistoryEntry> {
        let rule = self.journal_rule();
        let about = self.about();
        let failed = failed
            .map(|status| (status.code(), reason(status), status.message()))
            .or_else(|| about.failed.as_ref().map(|(code, why)| (*code, by_code(*code), why.as_str())));
        if failed.is_none() && rule == JournalRule::Refusal {
            return None;
        }
        let result = failed.map_or(EntryResult::Done, |(code, reason, message)| {
            // Count unknown methods as one: names that callers invent must not become labels of a metric.
            let verb = self.method.map_or("other", Method::name);
            self.journal.count_refusal(verb, reason.name());
            result(code, reason, message)
        });
        let mut entry = HistoryEntry { by: EntryActor::of(&self.peer), result, ..about.entry.clone() };
        // A program and its replacement may have the same id.
        entry.programs.dedup();
        Some(entry)
    }

    pub fn of_origin(&self, digest: &str, rule: &str) {
        let entry = &mut self.about().entry;
        (entry.digest, entry.rule) = (digest.to_owned(), rule.to_owned());
    }

    fn journal_rule(&self) -> JournalRule {
        self.method.map_or(JournalRule::Refusal, |method| row_of(method).journal)
    }

    fn about(&self) -> MutexGuard<'_, CallFacts> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reason(status: &Status) -> Reason {
    let named = status.metadata().get(REASON_TRAILER).and_then(|value| value.to_str().ok());
    named.and_then(Reason::from_name).unwrap_or_else(|| by_code(status.code()))
}

const fn by_code(code: Code) -> Reason {
    match code {
        Code::NotFound => Reason::NotFound,
        Code::InvalidArgument | Code::OutOfRange | Code::Cancelled => Reason::Invalid,
        Code::AlreadyExists | Code::FailedPrecondition => Reason::Conflict,
        Code::PermissionDenied | Code::Unauthenticated => Reason::Denied,
        Code::Unimplemented => Reason::Unsupported,
        Code::ResourceExhausted | Code::Unavailable => Reason::Busy,
        Code::Aborted => Reason::KernelRefused,
        _ => Reason::Internal,
    }
}

/// Returns the result of an entry for a failure. Only this function maps reasons to results.
pub(crate) fn result(code: Code, reason: Reason, message: &str) -> EntryResult {
    let failure = EntryFailure {
        code: format!("{code:?}"),
        reason: reason.name().to_owned(),
        message: message.to_owned(),
    };
    match reason {
        Reason::Denied | Reason::Signature => EntryResult::Denied(failure),
        Reason::NotFound
        | Reason::Invalid
        | Reason::Precondition
        | Reason::Conflict
        | Reason::Unsupported
        | Reason::TooLarge
        | Reason::Busy => EntryResult::Refused(failure),
        Reason::KernelRefused | Reason::Registry | Reason::Internal => EntryResult::Failed(failure),
    }
}

pub(crate) fn result_of(failed: Option<&Status>) -> EntryResult {
    failed.map_or(EntryResult::Done, |status| result(status.code(), reason(status), status.message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status;

    #[test]
    fn denial_refusal_and_failure_are_distinguished() {
        let name = |status: &Status| result_of(Some(status)).name();
        assert_eq!(name(&status::denied("no")), "denied");
        assert_eq!(name(&status::too_large("no")), "refused");
        assert_eq!(name(&Status::unimplemented("no")), "refused");
        assert_eq!(name(&Status::internal("no")), "failed");
        assert_eq!(result_of(None), EntryResult::Done);
    }
}
