//! Audit log: one entry for each change and refusal, in files of bounded size.
//!
//! - A [`HistoryEntry`] is one line of JSON. [`Journal::record`] hands it to the single writer thread, which numbers and
//!   writes it, and reports that; answers to changes wait for the report.
//! - The files are segments named by their first number. An incomplete line of a killed or crashed writer is cut when the
//!   journal is opened. The oldest segment is removed when there are too many.
//! - A [`HistoryReader`] reads the files independently of the writer. It pages back from the newest entry, or forward with
//!   a [`JournalCursor`]; a [`WrittenListener`] is called for new entries.
//! - A failure of the journal never fails a change. Entries that could not be written are counted and reported.

mod entry;
mod epochs;
mod flood;
mod forward;
mod journal;
mod journald;
mod listeners;
mod log_line;
mod name;
mod open;
mod reader;
mod refusals;
mod segments;
mod settings;
mod state;
mod third_party;
mod writer;

pub use entry::{DaemonPart, EntryActor, EntryFailure, EntryResult, HistoryEntry};
pub use epochs::JournalResumption;
pub use forward::{ForwardPage, JournalCursor, MissedNumbers};
pub use journal::{Journal, WriteCallback};
pub use listeners::WrittenListener;
pub use reader::{HistoryPage, HistoryReader};
pub use refusals::RefusalCount;
pub use settings::{JournalError, JournalSettings, JournalSync};
pub use state::JournalState;
pub use third_party::ThirdPartyActor;
