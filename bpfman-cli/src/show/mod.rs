//! Standard output: tables for people, JSON and YAML for programs, ids for scripts.

pub mod access;
pub mod amounts;
pub mod applications;
pub mod applied;
pub mod block;
mod call_words;
pub mod chain;
pub mod chain_drawing;
mod chain_pieces;
pub mod chain_tick;
pub mod changed;
pub mod checked;
pub mod console;
pub mod diagnosis;
pub mod drops;
pub mod entry;
pub mod entry_stream;
pub mod entry_value;
pub mod event_writer;
pub mod features;
pub mod history;
pub mod hook_answers;
pub mod hooks;
pub mod journal_event;
pub mod json;
pub(crate) mod json_shape;
mod json_text;
pub mod kernel;
pub mod link;
pub mod maps;
pub mod matching;
pub mod origin;
pub mod pinned;
pub mod policy;
pub mod program;
pub mod radar;
mod radar_proposals;
pub mod removed;
pub mod run_event;
pub mod screen;
pub mod session;
pub(crate) mod standing;
pub mod strays;
pub mod table;
pub mod top_table;
pub mod traced;
pub mod tried;
pub mod value;
pub mod verified;
pub mod waited;
pub(crate) mod watched;
pub mod xdp_mode;
mod yaml_text;

use std::io::{self, Write};

use serde::Serialize;

use crate::args::{Global, OutputForm};
use crate::error::CliError;
use crate::show::screen::Screen;

/// Output of a command, in all forms that a user can choose. The JSON and YAML are a stable interface.
pub trait CommandOutput: Serialize {
    /// Returns the table; empty for commands without output on success.
    fn table(&self, _screen: Screen) -> String {
        String::new()
    }

    /// Returns the ids that `--quiet` prints, one per line.
    fn ids(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Writes an answer to standard output in the user's form. `--quiet` applies only to tables.
pub fn answer(global: &Global, answer: &impl CommandOutput) -> Result<(), CliError> {
    if !watched::is_on() {
        return write(&form(global, answer)?);
    }
    let text = tick(global, answer)?;
    if watched::is_new_answer(&text) { write(&text) } else { Ok(()) }
}

/// Returns an answer in the user's form.
pub fn form(global: &Global, answer: &impl CommandOutput) -> Result<String, CliError> {
    Ok(match global.output {
        OutputForm::Table if global.quiet => {
            answer.ids().iter().map(|id| format!("{}\n", screen::cell(id))).collect::<String>()
        }
        OutputForm::Table => {
            let screen = Screen::of_stdout();
            screen.harmless(&answer.table(screen))
        }
        OutputForm::Json => json_text::document(answer)?,
        OutputForm::Yaml => yaml_text::document(answer)?,
    })
}

/// Returns one of several answers.
pub fn tick(global: &Global, answer: &impl CommandOutput) -> Result<String, CliError> {
    let document = match global.output {
        OutputForm::Json => json_text::line(answer)?,
        _ => form(global, answer)?,
    };
    Ok(repeated(global.output, document))
}

/// Returns a document as one of several: a terminal's table replaces the previous one; JSON is a line.
pub fn repeated(form: OutputForm, document: String) -> String {
    match form {
        OutputForm::Json => document.replace('\n', "") + "\n",
        OutputForm::Yaml => format!("---\n{document}"),
        OutputForm::Table if Screen::of_stdout() != Screen::PLAIN && !screen::is_plain_terminal() => {
            format!("\x1b[H\x1b[2J{document}")
        }
        OutputForm::Table => document,
    }
}

/// Writes text to standard output. A closed pipe, as with `head`, is no failure.
pub fn write(text: &str) -> Result<(), CliError> {
    write_while_read(text.as_bytes()).map(|_somebody_reads| ())
}

/// Writes a note to standard error.
pub fn note(text: &str) {
    beside("note", text);
}

/// Writes a warning to standard error.
pub fn warn(text: &str) {
    if watched::is_new_warning(text) {
        beside("warning", text);
    }
}

fn beside(kind: &str, text: &str) {
    let line = format!("{kind}: {}\n", screen::cell(text));
    // A failed write to standard error cannot be reported.
    let _unread = io::stderr().write_all(line.as_bytes());
}

/// Writes text to standard output, and returns whether it still has a reader.
pub fn write_while_read(text: &[u8]) -> Result<bool, CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::Output(error)),
        Ok(()) => Ok(true),
    }
}
