//! Who changed what, and who was refused: one entry each, in files that stay within bounds.
//!
//! - A [`HistoryEntry`] is one line of JSON. [`Journal::record`] hands it to the one thread that writes, which numbers it,
//!   writes it, and says so: whoever answers a change waits for that.
//! - The files are segments named by the first number in them. What a killed or crashed writer left of a line is cut when the
//!   journal is opened. The oldest segment goes when there are too many.
//! - A [`HistoryReader`] reads the files by itself: it waits for no writer, and no writer for it. It pages back from the
//!   newest entry, or forward by a [`JournalCursor`]; a [`WrittenListener`] is told when there is more.
//! - Nothing that the journal does fails a change. What could not be written is counted, and told.

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
mod standing;
mod stranger;
mod writer;

pub use entry::{DaemonPart, EntryActor, EntryFailure, EntryResult, HistoryEntry};
pub use epochs::JournalResumption;
pub use forward::{ForwardPage, JournalCursor, MissedNumbers};
pub use journal::{Journal, WhenWritten};
pub use listeners::WrittenListener;
pub use reader::{HistoryPage, HistoryReader};
pub use refusals::RefusalCount;
pub use settings::{JournalError, JournalSettings, JournalSync};
pub use standing::JournalStanding;
pub use stranger::StrangerActor;
