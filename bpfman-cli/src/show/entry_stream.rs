//! Map entries as one document that is written in pieces: they may exceed the memory.

use std::fmt::Write as _;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::printable::one_line;

use super::entry::ShownEntry;
use super::maps::ListedMap;
use super::{json_text, yaml_text};
use crate::args::OutputForm;
use crate::error::CliError;

#[derive(Debug)]
pub struct EntryStream {
    form: OutputForm,
    per_cpu: bool,
    is_empty: bool,
    /// Buffer of one line in tables, reused because there are many.
    line: String,
}

impl EntryStream {
    /// Creates a document in this form.
    #[must_use]
    pub const fn new(form: OutputForm, per_cpu: bool) -> Self {
        Self { form, per_cpu, is_empty: true, line: String::new() }
    }

    /// Returns the text before the entries.
    pub fn begin(&self, map: &ext::Map, described: &ext::MapDescription) -> Result<String, CliError> {
        let map = ListedMap::new(map, described);
        Ok(match self.form {
            OutputForm::Table => String::new(),
            OutputForm::Json => format!("{{\n\"map\": {},\n\"entries\": [", json_text::line(&map)?),
            OutputForm::Yaml => format!("{}entries:", yaml_text::field("map", &map)?),
        })
    }

    pub fn entry(&mut self, entry: &ShownEntry, text: &mut String) -> Result<(), CliError> {
        let is_first = std::mem::take(&mut self.is_empty);
        match self.form {
            OutputForm::Table => {
                self.line.clear();
                let written = match (&entry.key, self.per_cpu) {
                    (Some(key), false) => write!(self.line, "{key} = {}", entry.value),
                    (Some(key), true) => write!(self.line, "{key} = {}", entry.value_text(true)),
                    (None, _) => write!(self.line, "{}", entry.value),
                };
                written.map_err(|error| CliError::Encode(error.to_string()))?;
                text.push_str(&one_line(&self.line));
                text.push('\n');
            }
            OutputForm::Json => {
                text.push_str(if is_first { "\n" } else { ",\n" });
                text.push_str(&json_text::line(entry)?);
            }
            OutputForm::Yaml => {
                if is_first {
                    text.push('\n');
                }
                text.push_str(&yaml_text::item(entry)?);
            }
        }
        Ok(())
    }

    /// Returns the text after the entries.
    pub fn end(&self, cut_short: bool) -> Result<String, CliError> {
        let mut text = String::new();
        let written = match self.form {
            OutputForm::Table => Ok(()),
            OutputForm::Json => writeln!(text, "\n],\n\"cut_short\": {cut_short}\n}}"),
            OutputForm::Yaml if self.is_empty => writeln!(text, " []\ncut_short: {cut_short}"),
            OutputForm::Yaml => writeln!(text, "cut_short: {cut_short}"),
        };
        written.map_err(|error| CliError::Encode(error.to_string()))?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::entry_value::EntryValue;
    use crate::show::value::TypedValue;

    fn document(form: OutputForm, entries: u32) -> String {
        let mut stream = EntryStream::new(form, false);
        let mut text = stream.begin(&ext::Map::default(), &ext::MapDescription::default()).unwrap();
        for number in 0..entries {
            let value = EntryValue { total: TypedValue::Text("a\u{1b}b".to_owned()), each: None };
            let key = TypedValue::Natural(number.into());
            stream.entry(&ShownEntry::new(Some(key), value), &mut text).unwrap();
        }
        text + &stream.end(true).unwrap()
    }

    #[test]
    fn a_document_is_whole_however_many_entries_there_are() {
        for entries in [0, 1, 3] {
            let json: serde_json::Value = serde_json::from_str(&document(OutputForm::Json, entries)).unwrap();
            let yaml: serde_json::Value =
                serde_norway::from_str(&document(OutputForm::Yaml, entries)).unwrap();
            assert_eq!(json, yaml);
            assert_eq!(json["entries"].as_array().unwrap().len(), entries as usize);
            assert_eq!(json["cut_short"], true);
        }
        assert_eq!(document(OutputForm::Table, 1), "0 = a\\u{1b}b\n");
    }
}
