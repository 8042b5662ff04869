//! Telling events without waiting for who reads them.
//!
//! A terminal that is halted, or a pager, may not read for a long time. A client that waited for it would answer the daemon no
//! more, and lose its lease.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::{Notify, oneshot};

use super::run_event::{EventLine, RunEvent};
use super::screen::{cell, harmless};
use super::{json_text, yaml_text};
use crate::args::{Global, OutputForm};
use crate::error::CliError;

/// Texts that wait to be written: with more, nothing more is read that could be told.
const MOST_WAITING: usize = 1024;

/// An event with its time, as JSON has it.
#[derive(Serialize)]
struct Timed<'e> {
    time: String,
    #[serde(flatten)]
    event: &'e RunEvent,
}

/// A text on its way.
enum Text {
    Output(String),
    Beside(String),
}

/// What the two sides know of each other.
#[derive(Debug, Default)]
struct Progress {
    waiting: AtomicUsize,
    written: Notify,
    /// Nobody reads the output any more.
    over: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

/// Where events are told: a thread writes them.
#[derive(Debug)]
pub struct RunEventWriter {
    form: OutputForm,
    quiet: bool,
    texts: mpsc::Sender<Text>,
    progress: Arc<Progress>,
    ended: oneshot::Receiver<()>,
}

impl RunEventWriter {
    /// In the form that the user asked for.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(global: &Global) -> Result<Self, CliError> {
        let (texts, received) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let write = move || {
            write_all(&received, &shared);
            // Whoever waited for the end may be gone.
            let _gone = end.send(());
        };
        std::thread::Builder::new().name("events".to_owned()).spawn(write).map_err(CliError::Runtime)?;
        Ok(Self { form: global.output, quiet: global.quiet, texts, progress, ended })
    }

    /// Tells an event. False if nobody reads what is told any more.
    ///
    /// What programs say goes to standard output, and what becomes of them to standard error, unless it is for programs:
    /// then all is on standard output.
    ///
    /// # Errors
    /// It cannot be written as JSON or YAML.
    pub fn tell(&self, event: &RunEvent) -> Result<bool, CliError> {
        let timed = || Timed { time: humantime::format_rfc3339_micros(SystemTime::now()).to_string(), event };
        let text = match self.form {
            OutputForm::Json => Text::Output(json_text::line(&timed())? + "\n"),
            OutputForm::Yaml => Text::Output(format!("---\n{}", yaml_text::document(&timed())?)),
            OutputForm::Table => match event.line() {
                EventLine::Said(line) => Text::Output(format!("{}\n", harmless(&cell(&line)))),
                EventLine::Warned(line) => Text::Beside(format!("warning: {}\n", cell(&line))),
                EventLine::Told(_) if self.quiet => return Ok(true),
                EventLine::Told(line) => Text::Beside(format!("note: {}\n", cell(&line))),
            },
        };
        self.put(text);
        Ok(!self.progress.over.load(Ordering::Relaxed))
    }

    /// Tells the ids of what runs, where only ids are wanted.
    pub fn ids(&self, ids: impl Iterator<Item = u32>) {
        if self.quiet && self.form == OutputForm::Table {
            self.put(Text::Output(ids.map(|id| format!("{id}\n")).collect()));
        }
    }

    fn put(&self, text: Text) {
        self.progress.waiting.fetch_add(1, Ordering::Relaxed);
        // The thread goes on taking texts that nobody reads.
        let _never = self.texts.send(text);
    }

    /// Returns when there is room for more, or nobody reads any more.
    pub async fn room(&self) {
        loop {
            let written = self.progress.written.notified();
            let is_full = self.progress.waiting.load(Ordering::Relaxed) >= MOST_WAITING;
            if !is_full || self.progress.over.load(Ordering::Relaxed) {
                return;
            }
            written.await;
        }
    }

    /// Returns when all is written.
    ///
    /// # Errors
    /// Standard output could not be written. A reader that went away is no failure.
    pub async fn finish(self) -> Result<(), CliError> {
        let Self { texts, progress, ended, .. } = self;
        drop(texts);
        let _ended = ended.await;
        let failure = progress.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), |error| Err(CliError::Output(error)))
    }
}

fn write_all(texts: &mpsc::Receiver<Text>, progress: &Progress) {
    for text in texts {
        match text {
            Text::Output(text) if !progress.over.load(Ordering::Relaxed) => {
                let mut stdout = io::stdout().lock();
                if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
                    progress.over.store(true, Ordering::Relaxed);
                    if error.kind() != io::ErrorKind::BrokenPipe {
                        *progress.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                }
            }
            Text::Output(_) => {}
            Text::Beside(text) => {
                // Whoever closed it does not want to read it.
                let _unread = io::stderr().write_all(text.as_bytes());
            }
        }
        progress.waiting.fetch_sub(1, Ordering::Relaxed);
        progress.written.notify_one();
    }
}
