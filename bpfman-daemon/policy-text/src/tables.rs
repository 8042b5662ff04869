//! Parser of a text, table by table.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use crate::repair::remove_at;
use crate::{MAX_DEFECTS, TextDefect, TextDefects};

/// Remaining tables of a text, and the defects found so far.
#[derive(Debug)]
pub struct PolicyTables<'t> {
    text: &'t str,
    root: DeTable<'t>,
    /// Lines that are not TOML. Values parsed from them are meaningless.
    broken: BTreeSet<usize>,
    defects: BTreeSet<TextDefect>,
}

/// Parsed table, without its invalid keys.
#[derive(Debug)]
pub struct ReadTable<T> {
    pub value: T,
    /// Offset of the table in the text.
    pub at: usize,
    /// Set if no key was removed. Otherwise a missing key may be a removed one.
    pub whole: bool,
}

impl<'t> PolicyTables<'t> {
    /// Parses a text. Parts that are not TOML are skipped, and recorded as defects.
    #[must_use]
    pub fn parse(text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut tables =
            Self { text, root: root.into_inner(), broken: BTreeSet::new(), defects: BTreeSet::new() };
        for error in errors.iter().take(MAX_DEFECTS) {
            let at = error.span().map_or(0, |span| span.start);
            tables.found(at, one_line(error));
            tables.broken.insert(tables.line(at));
        }
        tables
    }

    /// Records a defect at an offset of the text.
    pub fn found(&mut self, at: usize, reason: impl Display) {
        if self.defects.len() < MAX_DEFECTS {
            self.defects.insert(TextDefect { line: self.line(at), reason: reason.to_string() });
        }
    }

    /// Returns the number of defects so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.defects.len()
    }

    /// Removes and parses the value of a key.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str) -> Option<ReadTable<T>> {
        let value = self.root.remove(key)?;
        self.read(value)
    }

    /// Removes and parses the tables of an array individually: a defect in one does not affect the others.
    pub fn take_each<T: DeserializeOwned>(&mut self, key: &str) -> Vec<ReadTable<T>> {
        let Some(value) = self.root.remove(key) else { return Vec::new() };
        let at = value.span().start;
        match value.into_inner() {
            DeValue::Array(array) => array.iter().filter_map(|one| self.read(one.clone())).collect(),
            other => {
                self.found(at, format!("`{key}` is {}, and has to be tables: [[{key}]]", other.type_str()));
                Vec::new()
            }
        }
    }

    /// Refuses the remaining keys, except those that another parser handles.
    pub fn refuse_others(&mut self, taken: &[&str], by_others: &[&str]) {
        let unknown: Vec<(usize, String)> = self
            .root
            .keys()
            .filter(|key| !by_others.contains(&key.get_ref().as_ref()))
            .map(|key| (key.span().start, key.get_ref().to_string()))
            .collect();
        let known = [taken, by_others].concat().join("`, `");
        for (at, key) in unknown {
            self.found(at, format!("unknown key `{key}`, expected one of `{known}`"));
        }
    }

    /// Finishes parsing; the error has all defects.
    pub fn finish(self) -> Result<(), TextDefects> {
        match self.defects.is_empty() {
            true => Ok(()),
            false => Err(TextDefects(self.defects.into_iter().collect())),
        }
    }

    fn read<T: DeserializeOwned>(&mut self, mut value: Spanned<DeValue<'t>>) -> Option<ReadTable<T>> {
        let at = value.span().start;
        let mut whole = self.broken.is_empty();
        loop {
            let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(read) => return Some(ReadTable { value: read, at, whole }),
                Err(error) => error,
            };
            let span = error.span().unwrap_or(value.span());
            // A missing key may be one that was removed.
            let is_told = !whole && error.message().starts_with("missing field");
            if !is_told && !self.broken.contains(&self.line(span.start)) {
                self.found(span.start, one_line(&error));
            }
            whole = false;
            if self.defects.len() >= MAX_DEFECTS || !remove_at(value.get_mut(), &span) {
                return None;
            }
        }
    }

    /// Returns the line number of an offset, from 1.
    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }
}

/// Returns the message of an error without lines of the text, which only root may see.
fn one_line(error: &Error) -> String {
    error.message().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        name: Spanned<String>,
        #[serde(default)]
        sides: Vec<Spanned<u32>>,
        #[serde(default)]
        edge: Edge,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Edge {
        colour: Option<String>,
    }

    /// Returns the lines of defects, and the names of parsed shapes.
    fn read(text: &str) -> (Vec<usize>, Vec<String>) {
        let mut tables = PolicyTables::parse(text);
        let shapes: Vec<ReadTable<Shape>> = tables.take_each("shapes");
        tables.refuse_others(&["shapes"], &["others"]);
        let name = |shape: ReadTable<Shape>| {
            shape.value.name.into_inner() + &shape.value.edge.colour.unwrap_or_default()
        };
        let names = shapes.into_iter().map(name).collect();
        let lines = tables.finish().err().map(|found| found.0.iter().map(|one| one.line).collect());
        (lines.unwrap_or_default(), names)
    }

    #[test]
    fn each_mistake_is_found_with_its_line() {
        let text = "shape = 1\n[others]\nx = 1\n[[shapes]]\nname = \"a\"\nsize = 3\nsides = [1,\n  -1, 2,\n  \"x\"]\n\
                    [shapes.edge]\ncolor = \"red\"\ncolour = 4\n[[shapes]]\nname = \"b\"\n[[shapes]]\nsides = []\n";
        assert_eq!(read(text), (vec![1, 6, 8, 9, 11, 12, 15], vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn rest_of_text_without_left_out_part_is_read() {
        assert_eq!(read("[[shapes]]\nname = 4\n"), (vec![2], vec![]));
        assert_eq!(read("[[shapes]]\n"), (vec![1], vec![]));
        assert_eq!(read("shapes = 7\n"), (vec![1], vec![]));
    }

    #[test]
    fn text_that_is_no_toml_has_the_other_mistakes_too() {
        let (lines, _) = read("[[shapes]]\nname = \"a\"\nname = \"b\"\n[[shapes]]\nname = \"c\"\nsize = 3\n");
        assert_eq!(lines, [3, 6]);
        assert_eq!(read("name = nothing\n").0, [1, 1]);
        for text in ["[[shapes", "= = =", "\u{0}", "[[shapes]]\nname = \"\"\"a", "a.b.c", "]]"] {
            assert!(!read(text).0.is_empty(), "{text}");
        }
    }

    #[test]
    fn values_are_where_they_stand() {
        let mut tables = PolicyTables::parse("\n[[shapes]]\nname = \"a\"\nsides = [\n  1,\n  2]\n");
        let shapes: Vec<ReadTable<Shape>> = tables.take_each("shapes");
        let [first, second] = &shapes[0].value.sides[..] else { panic!("{shapes:?}") };
        assert!(shapes[0].whole);
        let at = [shapes[0].at, shapes[0].value.name.span().start, first.span().start, second.span().start];
        assert_eq!(at.map(|at| tables.line(at)), [2, 3, 5, 6]);
    }

    #[test]
    fn number_of_mistakes_is_bounded() {
        let keys: String = (0..10_000).map(|number| format!("key{number} = 1\n")).collect();
        let (lines, _) = read(&format!("[[shapes]]\nname = \"a\"\n{keys}"));
        assert_eq!(lines.len(), MAX_DEFECTS);
    }
}
