//! Writer of events that never waits for its reader: a client that waited for a stopped terminal or a pager would stop
//! answering the daemon, and lose its lease.

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

/// Maximum number of queued texts; if there are more, no further events are read.
const MAX_QUEUED: usize = 1024;

#[derive(Serialize)]
struct Timed<'e> {
    time: String,
    #[serde(flatten)]
    event: &'e RunEvent,
}

enum Text {
    Output(String),
    Beside(String),
}

#[derive(Debug, Default)]
struct Progress {
    waiting: AtomicUsize,
    written: Notify,
    over: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

/// Event writer, with a thread that writes.
#[derive(Debug)]
pub struct RunEventWriter {
    form: OutputForm,
    quiet: bool,
    texts: mpsc::Sender<Text>,
    progress: Arc<Progress>,
    ended: oneshot::Receiver<()>,
}

impl RunEventWriter {
    /// Starts a writer in the user's output form.
    pub fn start(global: &Global) -> Result<Self, CliError> {
        let (texts, received) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let write = move || {
            write_all(&received, &shared);
            // The receiver may be gone.
            let _gone = end.send(());
        };
        std::thread::Builder::new().name("events".to_owned()).spawn(write).map_err(CliError::Runtime)?;
        Ok(Self { form: global.output, quiet: global.quiet, texts, progress, ended })
    }

    /// Queues an event; returns false if the output is closed. In tables, output of programs goes to standard output,
    /// and their state to standard error; in JSON and YAML, everything goes to standard output.
    pub fn tell(&self, event: &RunEvent) -> Result<bool, CliError> {
        let timed = || Timed { time: humantime::format_rfc3339_micros(SystemTime::now()).to_string(), event };
        let text = match self.form {
            OutputForm::Json => Text::Output(json_text::line(&timed())? + "\n"),
            OutputForm::Yaml => Text::Output(format!("---\n{}", yaml_text::document(&timed())?)),
            OutputForm::Table => match event.line() {
                EventLine::Output(line) => Text::Output(format!("{}\n", harmless(&cell(&line)))),
                EventLine::Warning(line) => Text::Beside(format!("warning: {}\n", cell(&line))),
                EventLine::Status(_) if self.quiet => return Ok(true),
                EventLine::Status(line) => Text::Beside(format!("note: {}\n", cell(&line))),
            },
        };
        self.put(text);
        Ok(!self.progress.over.load(Ordering::Relaxed))
    }

    /// Queues the ids of running programs, if only ids are shown.
    pub fn ids(&self, ids: impl Iterator<Item = u32>) {
        if self.quiet && self.form == OutputForm::Table {
            self.put(Text::Output(ids.map(|id| format!("{id}\n")).collect()));
        }
    }

    fn put(&self, text: Text) {
        self.progress.waiting.fetch_add(1, Ordering::Relaxed);
        // The thread receives texts even if the output is closed.
        let _never = self.texts.send(text);
    }

    /// Returns when the queue has space, or the output is closed.
    pub async fn room(&self) {
        loop {
            let written = self.progress.written.notified();
            let is_full = self.progress.waiting.load(Ordering::Relaxed) >= MAX_QUEUED;
            if !is_full || self.progress.over.load(Ordering::Relaxed) {
                return;
            }
            written.await;
        }
    }

    /// Returns when everything is written. A closed pipe is no failure.
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
                // A closed standard error is ignored.
                let _unread = io::stderr().write_all(text.as_bytes());
            }
        }
        progress.waiting.fetch_sub(1, Ordering::Relaxed);
        progress.written.notify_one();
    }
}
